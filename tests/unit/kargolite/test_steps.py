"""Promotion steps on local Git repositories, and how the runner takes what they say."""

import pytest

from labkit.asynckube.objects import now
from labkit.kargolite.runner import STEPS, STEPS_ELSEWHERE

from .recordings import recording
from .repositories import clone, git, gitops_repository, push_elsewhere, run, step

CLEAR = step("git-clear", "clear", {"path": "./out"})
SET = step(
    "kustomize-set-image",
    "set",
    {"path": "./src/overlays/dev", "images": [{"image": "127.0.0.1:3000/lab/frontend", "tag": "1.0.0"}]},
)
COMMIT = step(
    "git-commit", "commit", {"path": "./out", "message": "to ${{ ctx.stage }}\n\nby ${{ ctx.meta.promotion.actor }}"}
)
PUSH = step("git-push", "push", {"path": "./out"})


@pytest.fixture
def bare(tmp_path):
    return gitops_repository(tmp_path)


@pytest.fixture
def work(tmp_path):
    return tmp_path / "work"


def write(work, name="a.yaml", text="a: 1\n"):
    (work / "out" / name).write_text(text)


def statuses(progress):
    return {record["alias"]: record["status"] for record in progress.steps}


def test_clone_commit_and_push(bare, work):
    first = run(work, clone(bare), CLEAR)
    assert first.state["clone"]["commits"] == {
        "./src": git(bare, "rev-parse", "main"),
        "./out": git(bare, "rev-parse", "stage/dev"),
    }
    write(work)
    done = run(work, COMMIT, PUSH, state=first.state)
    assert (done.phase, done.message) == ("Succeeded", "")
    assert done.state["push"] == {"branch": "stage/dev", "commit": git(bare, "rev-parse", "stage/dev")}
    assert (
        git(bare, "log", "-1", "--format=%an <%ae>|%B", "stage/dev")
        == "Kargo <no-reply@kargo.io>|to dev\n\nby developer"
    )


def test_clearing_removes_what_the_branch_had(bare, work):
    push_elsewhere(bare, "stage/dev", "old.yaml", "old: 1\n")
    run(work, clone(bare), CLEAR)
    assert [path.name for path in (work / "out").iterdir()] == [".git"]


def test_nothing_to_commit_is_skipped(bare, work):
    done = run(work, clone(bare), COMMIT)
    assert statuses(done) == {"clone": "Succeeded", "commit": "Skipped"}
    assert done.phase == "Succeeded"
    assert done.state["commit"]["commit"] == git(bare, "rev-parse", "stage/dev")


def test_others_pushed_in_the_meantime(bare, work):
    run(work, clone(bare))
    write(work)
    push_elsewhere(bare, "stage/dev", "other.yaml", "b: 1\n")
    done = run(work, COMMIT, PUSH)
    assert done.phase == "Succeeded"
    assert sorted(git(bare, "ls-tree", "--name-only", "stage/dev").split()) == ["a.yaml", "other.yaml"]


def test_a_conflict_fails_the_promotion(bare, work):
    run(work, clone(bare))
    write(work)
    push_elsewhere(bare, "stage/dev", "a.yaml", "a: 2\n")
    done = run(work, COMMIT, PUSH)
    assert (done.phase, done.message) == ("Failed", 'step "push": merge conflict')


def test_a_generated_branch_leaves_the_stage_branch_alone(bare, work):
    before = git(bare, "rev-parse", "stage/dev")
    run(work, clone(bare))
    write(work)
    done = run(work, COMMIT, step("git-push", "push", {"path": "./out", "generateTargetBranch": True}))
    branch = "kargo/promotion/dev.01x.fffffff"
    assert done.state["push"] == {"branch": branch, "commit": git(bare, "rev-parse", branch)}
    assert git(bare, "rev-parse", "stage/dev") == before


def test_a_missing_branch_is_named_and_can_be_created(bare, work, tmp_path):
    done = run(work, clone(bare, "stage/new"))
    assert done.phase == "Errored"
    assert 'remote branch "stage/new"' in done.message
    creating = clone(bare, "stage/new")
    creating["config"]["checkout"][1]["create"] = True
    assert run(tmp_path / "second", creating).phase == "Succeeded"
    assert git(bare, "log", "--format=%s", "stage/new") == "Initial commit"


def test_an_unreachable_repository_is_an_error_without_its_password(work):
    done = run(
        work,
        step("git-clone", "clone", {"repoURL": "http://bot:s3cret@127.0.0.1:1/x.git", "checkout": [{"path": "./a"}]}),
    )
    assert done.phase == "Errored"
    assert "error cloning http://***@127.0.0.1:1/x.git" in done.message
    assert "s3cret" not in done.message


def test_images_are_set_and_others_kept(bare, work):
    done = run(work, clone(bare), SET)
    message = "Updated ./src/overlays/dev to use new image\n\n- 127.0.0.1:3000/lab/frontend:1.0.0"
    assert done.state["set"] == {"commitMessage": message}
    text = (work / "src/overlays/dev/kustomization.yaml").read_text()
    assert 'newTag: "1.0.0"' in text
    assert 'name: "other"' in text


def test_without_a_list_the_images_are_those_of_the_freight(bare, work):
    done = run(work, clone(bare), step("kustomize-set-image", "set", {"path": "./src/overlays/dev"}))
    assert done.state["set"]["commitMessage"].endswith("- 127.0.0.1:3000/lab/frontend:1.0.0@sha256:abc")


def test_a_path_that_does_not_exist_errors_as_recorded(bare, work):
    done = run(work, clone(bare), step("kustomize-set-image", "set", {"path": "./src/overlays/nowhere"}), PUSH)
    recorded = recording("14")["objects"][0]["status"]
    assert (done.phase, done.message) == (recorded["phase"], recorded["message"])
    assert statuses(done) == {"clone": "Succeeded", "set": "Errored", "push": "Skipped"}


def test_an_unknown_step_errors_as_recorded(bare, work):
    done = run(work, clone(bare), step("no-such-step", "x"), PUSH)
    recorded = recording("15")["objects"][0]["status"]
    assert (done.phase, done.message) == (recorded["phase"], recorded["message"])
    assert done.steps[1:] == [recorded["stepExecutionMetadata"][1], {"alias": "push", "status": "Skipped"}]


def test_a_step_that_only_kargo_has_says_so(work):
    assert not STEPS_ELSEWHERE & STEPS.keys()
    done = run(work, step("helm-template", "render"))
    assert done.message == 'step kind "helm-template" is not part of kargolite; the genuine Kargo engine has it'


def test_a_value_that_only_kargo_follows_says_so(bare, work):
    sparse = clone(bare)
    sparse["config"]["checkout"][0]["sparse"] = ["base"]
    done = run(work, sparse)
    assert done.phase == "Errored"
    assert (
        done.message
        == "checkout.sparse of step kind git-clone is not part of kargolite; the genuine Kargo engine has it"
    )


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({}, "(root): path is required"),
        ({"path": "./out", "unknown": 1}, "(root): Additional property unknown is not allowed"),
        ({"path": 5}, "path: Invalid type. Expected: string, given: integer"),
        ({"path": ""}, "path: String length must be greater than or equal to 1"),
    ],
)
def test_a_wrong_configuration_fails_the_promotion(work, config, problem):
    done = run(work, step("git-clear", "clear", config))
    assert (done.phase, done.message) == ("Failed", f'step "clear": invalid git-clear config: {problem}')


def test_paths_cannot_leave_the_working_folder(bare, work):
    done = run(work, clone(bare), step("git-clear", "clear", {"path": "../../other"}))
    assert done.phase == "Errored"
    assert "leads out of" in done.message


def test_conditions_decide_which_steps_run(bare, work):
    broken = step("git-clear", "broken", {"path": "./nowhere"})
    done = run(
        work,
        step("git-clear", "skipped", {"path": "./x"}, **{"if": "${{ ctx.stage == 'other' }}"}),
        broken,
        step("git-clear", "after", {"path": "./x"}),
        clone(bare) | {"if": "${{ failure() && status('broken') == 'Errored' }}"},
        step("git-clear", "always", {"path": "./out"}, **{"if": "${{ always() }}"}),
    )
    assert statuses(done) == {
        "skipped": "Skipped",
        "broken": "Errored",
        "after": "Skipped",
        "clone": "Succeeded",
        "always": "Succeeded",
    }
    assert done.phase == "Errored"


def test_going_on_without_a_failed_step(bare, work):
    done = run(work, step("git-clear", "broken", {"path": "./nowhere"}, continueOnError=True), clone(bare))
    assert statuses(done) == {"broken": "Errored", "clone": "Succeeded"}
    assert done.phase == "Succeeded"


def test_variables_of_promotion_and_step(bare, work):
    run(work, clone(bare))
    write(work)
    commit = step(
        "git-commit",
        "commit",
        {"path": "${{ vars.where }}", "message": "${{ vars.text }}"},
        vars=[{"name": "text", "value": "${{ vars.where }} for ${{ ctx.stage }}"}],
    )
    done = run(work, commit, variables=[{"name": "where", "value": "./out"}])
    assert done.phase == "Succeeded"
    assert git(work / "out", "log", "-1", "--format=%s") == "./out for dev"


def test_errors_below_the_threshold_are_tried_again(work):
    metadata, broken = [], step("git-clear", "broken", {"path": "./nowhere"}, retry={"errorThreshold": 2})
    first = run(work, broken, metadata=metadata)
    assert (first.phase, first.retry, metadata[0]["errorCount"]) == ("Running", True, 1)
    assert metadata[0]["message"].endswith("; step will be retried")
    second = run(work, broken, metadata=metadata)
    assert second.phase == "Errored"
    assert 'step "broken" met error threshold of 2' in second.message


def test_a_step_that_ran_is_in_the_state_even_without_output(work):
    """Kargo writes an empty state then, and none where no step ran (recordings 21 and 25)."""
    ran = run(work, step("git-clear", "broken", {"path": "./nowhere"}))
    assert (ran.phase, ran.state) == ("Errored", {"broken": None})
    for not_run in (step("no-such-step", "x"), step("git-clear", "x") | {"if": "${{ false }}"}):
        assert run(work, not_run).state == {}


def test_the_output_of_an_earlier_try_does_not_outlive_an_error(work):
    state = {"broken": {"commit": "of the first try"}}
    run(work, step("git-clear", "broken", {"path": "./nowhere"}), state=state)
    assert state == {"broken": None}


def test_a_step_times_out(work):
    broken = step("git-clear", "broken", {"path": "./x"}, retry={"errorThreshold": 9, "timeout": "1m0s"})
    metadata = [{"alias": "broken", "startedAt": "2020-01-01T00:00:00Z", "status": "Running"}]
    assert run(work, broken, metadata=metadata).message == 'step "broken" timed out after 1m0s'
    metadata = [{"alias": "broken", "startedAt": now(), "status": "Running"}]
    assert run(work, broken, metadata=metadata).deadline == pytest.approx(60, abs=3)


def test_an_expression_that_cannot_be_evaluated_errors_the_step(work):
    done = run(work, step("git-clear", "clear", {"path": "${{ outputs.none.path }}"}))
    assert done.phase == "Errored"
    assert "failed to build step context: failed to get step config: cannot fetch path from <nil>" in done.message


def test_an_application_that_does_not_exist_errors_the_step(work):
    done = run(work, step("argocd-update", "sync", {"apps": [{"name": "demo-app"}]}))
    assert done.message.endswith('unable to find Argo CD Application "demo-app" in namespace "argocd"')
