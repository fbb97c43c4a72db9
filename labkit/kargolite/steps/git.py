"""git-clone, git-clear, git-commit and git-push."""

from __future__ import annotations

import asyncio
import os
import random
import re
import shlex
import shutil
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from labkit.asynckube.objects import Obj
from labkit.kargolite.credentials import Credentials
from labkit.kargolite.steps.base import Field, Step, StepContext, StepError, StepFailure, StepResult
from labkit.kargolite.urls import normalize_git, without_password

USER_NAME, USER_EMAIL = "Kargo", "no-reply@kargo.io"
_NON_FAST_FORWARD = re.compile(r"\(non-fast-forward\)|\(fetch first\)|cannot lock ref")
_ATTEMPTS = 10
_FIRST_PAUSE, _GROWTH, _LONGEST_PAUSE = 1.0, 1.5, 30.0
_PASSED_ON = ("PATH", "http_proxy", "https_proxy", "no_proxy", "TMPDIR", "LANG")
_URL_KEY, _HOME_KEY = "kargo.originalURL", "kargo.repoHomeDir"

_push_locks: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)


class GitError(Exception):
    """A git command failed."""

    def __init__(self, command: str, output: str, code: int) -> None:
        self.output = output
        self.code = code
        super().__init__(without_password(f"error executing cmd [{command}]: {output}"))


@dataclass(frozen=True)
class Repository:
    """A clone or working tree: where it is, and the home folder with its user and password."""

    folder: Path
    home: Path
    credentials: Credentials | None = None

    async def git(self, *arguments: str) -> str:
        """Run git here, and nothing of the caller's own git settings.

        Raises:
            GitError: It ended with another code than 0.
        """
        program = shutil.which("git")
        if program is None:
            raise StepError("git is not on PATH")
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        environment |= {
            "HOME": str(self.home),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_HTTP_LOW_SPEED_LIMIT": "1000",
            "GIT_HTTP_LOW_SPEED_TIME": "30",
        }
        if self.credentials and self.credentials.password:
            environment |= {"GIT_ASKPASS": str(_askpass(self.home)), "GIT_PASSWORD": self.credentials.password}
        process = await asyncio.create_subprocess_exec(
            program,
            *arguments,
            cwd=self.folder,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await process.communicate()
        except asyncio.CancelledError:
            process.terminate()
            await process.wait()
            raise
        text = output.decode(errors="replace")
        if process.returncode:
            raise GitError(" ".join([program, *arguments]), text, process.returncode)
        return text

    async def head(self) -> str:
        """The commit that is checked out."""
        return (await self.git("rev-parse", "HEAD")).strip()

    async def branch(self) -> str:
        """The branch that is checked out."""
        return (await self.git("branch", "--show-current")).strip()

    async def remote_has(self, branch: str) -> bool:
        """Whether the remote repository has that branch."""
        try:
            await self.git("ls-remote", "--heads", "--exit-code", "origin", f"refs/heads/{branch}")
        except GitError as error:
            if error.code == 2:
                return False
            raise
        return True


async def clone(url: str, base: Path, credentials: Credentials | None, *options: str, bare: bool = True) -> Repository:
    """Clone a repository into a new folder under `base`.

    Raises:
        GitError: git could not.
    """
    parent = Path(tempfile.mkdtemp(prefix="repo-", dir=base))
    home = parent / "home"
    home.mkdir()
    folder = parent / "repo"
    start = Repository(parent, home, credentials)
    for key, value in (("user.name", USER_NAME), ("user.email", USER_EMAIL), ("safe.directory", "*")):
        await start.git("config", "--global", key, value)
    await start.git("clone", *(("--bare",) if bare else ()), *options, _access_url(url, credentials), str(folder))
    repository = Repository(folder, home, credentials)
    await repository.git("config", _URL_KEY, url)
    await repository.git("config", _HOME_KEY, str(home))
    if bare:
        await repository.git("config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
    return repository


async def _git_clone(context: StepContext, config: Obj) -> StepResult:
    url = config["repoURL"]
    context.work.mkdir(parents=True, exist_ok=True)
    try:
        repository = await clone(url, context.work, context.git_credentials(url))
    except GitError as error:
        raise StepError(f"error cloning {without_password(url)}: {error}") from error
    commits = {}
    for checkout in config["checkout"]:
        path = checkout["path"]
        commits[checkout.get("as") or path] = await _check_out(context, repository, url, checkout)
    return StepResult(output={"commits": commits})


async def _check_out(context: StepContext, repository: Repository, url: str, checkout: Obj) -> str:
    path, folder = checkout["path"], context.path(checkout["path"])
    branch = checkout.get("branch")
    reference = branch or checkout.get("commit") or checkout.get("tag") or ""
    shown = without_password(url)
    try:
        if branch and not await repository.remote_has(branch):
            if not checkout.get("create"):
                raise StepError(
                    f"error ensuring existence of remote branch {branch}: "
                    f'remote branch "{branch}" of repo {shown} does not exist; set create=true if you\'d like a '
                    "non-existent remote branch to be automatically created at checkout"
                )
            await _create_branch(repository, branch)
        await repository.git("worktree", "add", str(folder), *((reference,) if reference else ()))
        return await Repository(folder, repository.home).head()
    except GitError as error:
        raise StepError(f"error adding work tree {path} to repo {shown}: {error}") from error


async def _create_branch(repository: Repository, branch: str) -> None:
    """An orphan branch with one empty commit, made without a working tree (`git worktree --orphan` is too new)."""
    tree = (await repository.git("hash-object", "-w", "-t", "tree", os.devnull)).strip()
    commit = (await repository.git("commit-tree", tree, "-m", "Initial commit")).strip()
    await repository.git("push", "origin", f"{commit}:refs/heads/{branch}")
    await repository.git("update-ref", f"refs/heads/{branch}", commit)


async def _working_tree(context: StepContext, path: str) -> Repository:
    folder = context.path(path)
    try:
        if not folder.is_dir():
            raise StepError(f"error loading working tree from {path}: no such directory")
        tree = Repository(folder, context.work)
        home = Path((await tree.git("config", _HOME_KEY)).strip())
        url = (await tree.git("config", _URL_KEY)).strip()
    except GitError as error:
        raise StepError(f"error loading working tree from {path}: {error}") from error
    return Repository(folder, home, context.git_credentials(url))


async def _git_clear(context: StepContext, config: Obj) -> StepResult:
    tree = await _working_tree(context, config["path"])
    try:
        await tree.git("add", ".")
        await tree.git("rm", "-rf", "--ignore-unmatch", ".")
    except GitError as error:
        raise StepError(f"error clearing working tree at {config['path']}: {error}") from error
    tree.folder.mkdir(exist_ok=True)
    return StepResult()


async def _git_commit(context: StepContext, config: Obj) -> StepResult:
    tree = await _working_tree(context, config["path"])
    try:
        await tree.git("add", ".")
        changed = bool((await tree.git("status", "--porcelain")).strip())
        if changed:
            await tree.git("commit", "-m", config["message"])
        commit = await tree.head()
    except GitError as error:
        raise StepError(f"error committing to working tree: {error}") from error
    return StepResult(status="Succeeded" if changed else "Skipped", output={"commit": commit})


async def _git_push(context: StepContext, config: Obj) -> StepResult:
    tree = await _working_tree(context, config["path"])
    generated, given = config.get("generateTargetBranch"), config.get("targetBranch")
    if generated and given:
        raise StepFailure("invalid git-push config: (root): Must validate one and only one schema (oneOf)")
    force = bool(generated or config.get("force"))
    try:
        branch = f"kargo/promotion/{context.promotion}" if generated else given or await tree.branch()
        url = (await tree.git("config", _URL_KEY)).strip()
        async with _push_locks[normalize_git(url), branch]:
            await _push(tree, branch, force=force, attempts=config.get("maxAttempts") or _ATTEMPTS)
        return StepResult(output={"branch": branch, "commit": await tree.head()})
    except GitError as error:
        raise StepError(f"error pushing commits to remote: error pushing branch: {error}") from error


async def _push(tree: Repository, branch: str, *, force: bool, attempts: int) -> None:
    pause = _FIRST_PAUSE
    for attempt in range(1, attempts + 1):
        if not force and await tree.remote_has(branch):
            await _rebase(tree, branch)
        try:
            await tree.git("push", "origin", f"HEAD:{branch}", *(("--force",) if force else ()))
            return
        except GitError as error:
            if not _NON_FAST_FORWARD.search(error.output):
                raise
        if attempt < attempts:
            await asyncio.sleep(pause * random.uniform(1.0, 1.5))
            pause = min(pause * _GROWTH, _LONGEST_PAUSE)
    raise StepError("error pushing commits to remote: error pushing branch: non-fast-forward")


async def _rebase(tree: Repository, branch: str) -> None:
    try:
        await tree.git("pull", "--rebase", "origin", branch)
    except GitError as error:
        folder = Path((await tree.git("rev-parse", "--absolute-git-dir")).strip())
        if (folder / "rebase-merge").exists() or (folder / "rebase-apply").exists():
            raise StepFailure("merge conflict") from error
        raise StepError(f"error pushing commits to remote: error pulling and rebasing branch: {error}") from error


def _access_url(url: str, credentials: Credentials | None) -> str:
    if not credentials or not url.lower().startswith(("http://", "https://")):
        return url
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(credentials.username, safe='')}@{host}"))


def _askpass(home: Path) -> Path:
    script = home / "askpass"
    if not script.exists():
        script.write_text(f'#!/bin/sh\nexec printf %s {shlex.quote("")}"$GIT_PASSWORD"\n')
        script.chmod(0o700)
    return script


_AUTHOR = Field("object", elsewhere=True)
GIT_STEPS = {
    "git-clone": Step(
        {
            "repoURL": Field(required=True),
            "checkout": Field(
                "array",
                required=True,
                items={
                    "path": Field(required=True),
                    "branch": Field(),
                    "commit": Field(),
                    "tag": Field(),
                    "as": Field(),
                    "create": Field("boolean"),
                    "sparse": Field("array", elsewhere=True),
                },
            ),
            "author": _AUTHOR,
            "blobless": Field("boolean", elsewhere=True),
            "recurseSubmodules": Field("boolean", elsewhere=True),
            "insecureSkipTLSVerify": Field("boolean", elsewhere=True),
        },
        _git_clone,
    ),
    "git-clear": Step({"path": Field(required=True)}, _git_clear),
    "git-commit": Step({"path": Field(required=True), "message": Field(required=True), "author": _AUTHOR}, _git_commit),
    "git-push": Step(
        {
            "path": Field(required=True),
            "targetBranch": Field(),
            "generateTargetBranch": Field("boolean"),
            "force": Field("boolean"),
            "maxAttempts": Field("integer"),
            "provider": Field(choices=("azure", "bitbucket", "gitea", "github", "gitlab")),
            "tag": Field(elsewhere=True),
        },
        _git_push,
    ),
}
