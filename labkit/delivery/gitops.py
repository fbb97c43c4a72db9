"""The gitops repo: `main` says what each Stage's place should look like, `stage/<stage>` what was promoted there.

Each Stage has a branch of its own with rendered manifests. With one branch for all, promoting DEV would
move the revision under PROD's Argo CD.
"""

from __future__ import annotations

from labkit.config import BOT, GITOPS_REPO, ORGANISATION, SOURCE_REPO, Lab
from labkit.delivery.git import repo_path, working_copy
from labkit.delivery.gitea import ADMIN, gitea_as
from labkit.paths import DATA
from labkit.rules import GATES, rules
from labkit.templates import render


def ensure_repos(lab: Lab) -> None:
    """The organisation's two repos, the gitops repo with its branches and their protection."""
    gitea = gitea_as(lab, ADMIN)
    gitea.ensure_repo(ORGANISATION, SOURCE_REPO, "Source and tests of the demo app")
    gitea.ensure_repo(ORGANISATION, GITOPS_REPO, "What runs where: manifests of the demo app")
    repo = repo_path(GITOPS_REPO)
    if not gitea.branch_commit(repo, "main"):
        _seed_main(lab)
    for destination in lab.destinations:
        if not gitea.branch_commit(repo, destination.branch):
            _seed_stage_branch(lab, destination.branch)
    for destination in lab.destinations:
        gitea.ensure_branch_protection(repo, destination.branch, _protection(destination.stage))


def gitops_files(lab: Lab) -> dict[str, bytes]:
    """What the gitops repo begins with: the content of each file by its path."""
    root = DATA / "gitops"
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    values = {"registry": lab.registry, "acceptance": lab.acceptance}
    return {file: render(f"gitops/{file}", **values).encode() for file in files}


def _seed_main(lab: Lab) -> None:
    copy = working_copy(lab, GITOPS_REPO, ADMIN)
    copy.replace_tree(gitops_files(lab))
    copy.commit_and_push("Describe the demo app in DEV, PRE and PROD")


def _seed_stage_branch(lab: Lab, branch: str) -> None:
    copy = working_copy(lab, GITOPS_REPO, ADMIN, branch)
    copy.git("commit", "--quiet", "--allow-empty", "--message", f"Nothing was promoted to {branch} yet")
    copy.git("push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")


def _protection(stage: str) -> dict[str, object]:
    """Only Kargo's bot writes a Stage's branch; PROD's moves by pull request alone, once its gates are open.

    Source: CreateBranchProtectionOption of Gitea's API.
    """
    gate = rules().gates.get(stage)
    return {
        "enable_push": gate is None,
        "enable_push_whitelist": gate is None,
        "push_whitelist_usernames": [] if gate else [BOT],
        "enable_merge_whitelist": True,
        "merge_whitelist_usernames": [*gate.approvers, gate.robot] if gate else [],
        "enable_status_check": gate is not None,
        "status_check_contexts": list(GATES) if gate else [],
        "block_admin_merge_override": True,
    }
