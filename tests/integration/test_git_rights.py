"""Who may write which branch of the gitops repo: tried with git and with Gitea's API, on the running lab."""

import pytest
from _gitea import gitea_server  # noqa: F401 (the fixture)
from _labkit import rollout_state

from labkit.config import BOT, GITOPS_REPO
from labkit.delivery.git import repo_path, working_copy
from labkit.delivery.gitea import ADMIN, gitea_as
from labkit.errors import LabError
from labkit.wait import wait_for

REPO = repo_path(GITOPS_REPO)
STAGES = ("stage/dev", "stage/pre", "stage/prod")
PEOPLE = ("developer", "qa", "release-manager", ADMIN)


@pytest.fixture
def heads(lab):
    """The heads of the branches; a test must leave them as they were."""
    gitea = gitea_as(lab, ADMIN)

    def now():
        return {branch: gitea.branch_commit(REPO, branch) for branch in (*STAGES, "main")}

    before = now()
    yield before
    assert now() == before, "a refused change arrived"


def _push(lab, user, branch, *arguments):
    """Push an empty commit on top of a branch; gives what git said."""
    copy = working_copy(lab, GITOPS_REPO, user, branch)
    copy.git("commit", "--quiet", "--allow-empty", "--message", "Tried by hand")
    with pytest.raises(LabError) as caught:
        copy.git("push", *arguments, "origin", f"HEAD:refs/heads/{branch}")
    return caught.value.seen


@pytest.mark.parametrize("user", PEOPLE)
@pytest.mark.parametrize("branch", STAGES)
def test_people_cannot_push_to_a_stage_branch(lab, heads, user, branch):
    assert f"Not allowed to push to protected branch {branch}" in _push(lab, user, branch)


def test_not_even_the_bot_pushes_to_prod(lab, heads):
    assert "Not allowed to push to protected branch stage/prod" in _push(lab, BOT, "stage/prod")


def test_nobody_rewrites_or_deletes_prods_branch(lab, heads):
    for user in (BOT, ADMIN):
        assert "protected branch" in _push(lab, user, "stage/prod", "--force"), user
        copy = working_copy(lab, GITOPS_REPO, user, "stage/prod")
        with pytest.raises(LabError) as caught:
            copy.git("push", "origin", ":refs/heads/stage/prod")
        assert "protected" in caught.value.seen, user


def test_a_viewer_pushes_nowhere(lab, heads):
    copy = working_copy(lab, GITOPS_REPO, "viewer")
    copy.git("commit", "--quiet", "--allow-empty", "--message", "Tried by hand")
    with pytest.raises(LabError) as caught:
        copy.git("push", "origin", "HEAD:refs/heads/viewer-was-here")
    assert "User permission denied for writing" in caught.value.seen


@pytest.mark.parametrize("branch", ["stage/dev", "stage/pre"])
def test_the_bot_pushes_to_the_branches_of_dev_and_pre(gitea_server, branch):  # noqa: F811
    """With a Gitea of its own: in the lab, Kargo would rightly call a Stage unhealthy whose branch moved by hand."""
    copy = working_copy(gitea_server.lab, GITOPS_REPO, BOT, branch)
    copy.git("commit", "--quiet", "--allow-empty", "--message", "As a promotion does")
    copy.git("push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
    assert gitea_server.admin.branch_commit(REPO, branch) == copy.git("rev-parse", "HEAD")


def _pushes(lab, branch):
    """Who has pushed to a branch since it was created, newest first, as Gitea recorded it."""
    feed = gitea_as(lab, ADMIN).request("GET", f"/repos/{REPO}/activities/feeds", limit=50)
    acts = [act for act in feed if act["ref_name"] == f"refs/heads/{branch}" and act["op_type"] == "commit_repo"]
    return [act["act_user"]["login"] for act in acts if act["act_user"]["login"] != ADMIN]


@pytest.mark.parametrize(
    ("branch", "writer"), [("stage/dev", BOT), ("stage/pre", BOT), ("stage/prod", "release-manager")]
)
def test_a_stage_branch_was_written_by_its_one_writer_only(lab, branch, writer):
    assert set(_pushes(lab, branch)) == {writer}, f"who moved {branch} since it was created"


@pytest.fixture
def pull_request(lab, heads):
    """A pull request into stage/prod that could be merged; closed afterwards, its branch deleted."""
    branch = "tried-by-hand"
    copy = working_copy(lab, GITOPS_REPO, "developer", "stage/prod")
    copy.write({"note.txt": b"not from a promotion\n"})
    copy.commit_and_push("Tried by hand", branch)
    developer = gitea_as(lab, "developer")
    opened = developer.request(
        "POST", f"/repos/{REPO}/pulls", {"head": branch, "base": "stage/prod", "title": "Tried by hand"}
    )
    number = opened["number"]
    path = f"/repos/{REPO}/pulls/{number}"
    wait_for("the pull request to be mergeable", lambda: developer.request("GET", path)["mergeable"], timeout=30)
    yield number
    developer.request("PATCH", path, {"state": "closed"})
    developer.request("DELETE", f"/repos/{REPO}/branches/{branch}")


def test_a_pull_request_into_prod_is_merged_by_the_release_manager_only(lab, pull_request):
    before = rollout_state(lab, "prod")
    for user in ("developer", "qa", "viewer", BOT, ADMIN):
        with pytest.raises(LabError, match="Gitea refused") as caught:
            gitea_as(lab, user).merge(REPO, pull_request)
        assert "405" in caught.value.what or "403" in caught.value.what, f"{user}: {caught.value}"
        assert "not allowed to merge" in caught.value.seen.lower() or "permission" in caught.value.seen.lower(), (
            f"{user} was refused for another reason: {caught.value}"
        )
    assert rollout_state(lab, "prod") == before


def test_what_runs_in_prod_was_merged_by_the_release_manager(lab):
    gitea = gitea_as(lab, "viewer")
    merged = [pull for pull in gitea.pull_requests(REPO, "closed") if pull["merged"]]
    assert merged, "PROD runs something, but no pull request was merged"
    by = {pull["number"]: gitea.request("GET", f"/repos/{REPO}/pulls/{pull['number']}")["merged_by"] for pull in merged}
    assert {number: user["login"] for number, user in by.items()} == dict.fromkeys(by, "release-manager")
    assert rollout_state(lab, "prod")["revision"] in {pull["merge_commit_sha"] for pull in merged}
