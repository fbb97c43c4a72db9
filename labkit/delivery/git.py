"""Git working copies of the lab's people: commits carry their names, pushes their passwords."""

from __future__ import annotations

import base64
import shutil
from dataclasses import dataclass
from pathlib import Path

from labkit.config import ORGANISATION, Lab
from labkit.passwords import password
from labkit.process import run


@dataclass(frozen=True)
class WorkingCopy:
    """A clone of one of the lab's repos, used by one of its people."""

    folder: Path
    user: str
    _environment: dict[str, str]

    def git(self, *arguments: str) -> str:
        """Run git in this working copy, as its user."""
        return run(["git", *arguments], cwd=self.folder, env=self._environment).strip()

    @property
    def head(self) -> str:
        """The commit that is checked out; empty in a repo without commits."""
        return self.git("rev-list", "-1", "--all", "HEAD") if self.git("branch", "--list") else ""

    def replace_tree(self, files: dict[str, bytes]) -> None:
        """Make these files the whole content of the working copy."""
        for path in self.folder.iterdir():
            if path.name != ".git":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.write(files)

    def write(self, files: dict[str, bytes]) -> None:
        """Write files, keeping the others."""
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def commit_and_push(self, message: str, branch: str = "main") -> str:
        """Commit what changed and push it.

        Returns:
            The commit at the branch's head; where nothing changed, the one that was there.
        """
        self.git("add", "--all")
        if self.git("status", "--porcelain"):
            self.git("commit", "--quiet", "--message", message)
        self.git("push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
        return self.git("rev-parse", "HEAD")


def working_copy(lab: Lab, repo: str, user: str, branch: str = "main") -> WorkingCopy:
    """A fresh clone of a repo under `$LABKIT_HOME/work`, at the head of a branch.

    Args:
        lab: The lab.
        repo: Its name in the organisation.
        user: One of the lab's people or robots: author of commits, owner of pushes.
        branch: The branch to check out; a new one where the repo has none of that name.
    """
    folder = lab.home.work / user / repo
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    copy = WorkingCopy(folder, user, _as(lab, user))
    copy.git("init", "--quiet", "--initial-branch", branch)
    copy.git("remote", "add", "origin", lab.repo_url(repo))
    copy.git("fetch", "--quiet", "--tags", "origin")
    if copy.git("branch", "--remotes", "--list", f"origin/{branch}"):
        copy.git("checkout", "--quiet", "-B", branch, f"origin/{branch}")
    return copy


def _as(lab: Lab, user: str) -> dict[str, str]:
    return git_environment(lab.gitea_url, user, password(lab, user))


def git_environment(url: str, user: str, secret: str) -> dict[str, str]:
    """Identity and credentials for git, by environment: they stand in no file and on no command line.

    Args:
        url: Gitea's address, without a slash at the end.
        user: The account.
        secret: Its password or token.
    """
    login = base64.b64encode(f"{user}:{secret}".encode()).decode()
    config = {
        f"http.{url}/.extraHeader": f"Authorization: Basic {login}",
        "user.name": user,
        "user.email": f"{user}@lab.invalid",
        "credential.helper": "",
        f"http.{url}/.proxy": "",  # Gitea is on this machine
    }
    variables = {"GIT_CONFIG_COUNT": str(len(config)), "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1"}
    variables["GIT_CONFIG_GLOBAL"] = "/dev/null"
    for number, (key, value) in enumerate(config.items()):
        variables[f"GIT_CONFIG_KEY_{number}"] = key
        variables[f"GIT_CONFIG_VALUE_{number}"] = value
    return variables


def repo_path(repo: str) -> str:
    """`organisation/name` of one of the lab's repos."""
    return f"{ORGANISATION}/{repo}"
