"""git-open-pr and git-wait-for-pr, against Gitea."""

from __future__ import annotations

import shutil
from urllib.parse import urlsplit

from labkit.asynckube.objects import Obj
from labkit.kargolite.durations import parse_duration
from labkit.kargolite.gitea import Gitea, GiteaError, PullRequest
from labkit.kargolite.steps.base import Field, Step, StepContext, StepError, StepFailure, StepResult
from labkit.kargolite.steps.git import GitError, Repository, clone
from labkit.kargolite.urls import without_password

_LOOK_AGAIN = 120.0
_SHORTEST_INTERVAL = 10.0


def _provider(context: StepContext, config: Obj) -> Gitea:
    url, provider = config["repoURL"], config.get("provider")
    if provider not in (None, "gitea") or (provider is None and "gitea" not in urlsplit(url).netloc):
        raise StepError(
            f"Git provider {provider or 'of ' + without_password(url)} is not part of kargolite, "
            "only gitea; the genuine Kargo engine has more"
        )
    credentials = context.git_credentials(url)
    try:
        return Gitea(url, credentials.password if credentials else "")
    except GiteaError as error:
        raise StepError(f"error creating git provider service: {error}") from error


async def _open(context: StepContext, config: Obj) -> StepResult:
    known = (context.state.get(context.alias) or {}).get("pr") or {}
    if known.get("id"):
        return StepResult(output={"pr": known})
    url, source, target = config["repoURL"], config["sourceBranch"], config["targetBranch"]
    gitea = _provider(context, config)
    try:
        repository = await clone(
            url, context.work, context.git_credentials(url), "--depth=1", f"--branch={source}", bare=False
        )
    except GitError as error:
        raise StepError(f"error cloning {without_password(url)}: {error}") from error
    try:
        return await _open_from(repository, gitea, config, source, target)
    except GitError as error:
        raise StepError(str(error)) from error
    finally:
        shutil.rmtree(repository.folder.parent, ignore_errors=True)


async def _open_from(repository: Repository, gitea: Gitea, config: Obj, source: str, target: str) -> StepResult:
    try:
        existing = await gitea.find_open(source=source, target=target, commit=await repository.head())
    except GiteaError as error:
        raise StepError(f"error determining if pull request already exists: {error}") from error
    if existing:
        return _opened(existing)
    if not await repository.remote_has(target):
        raise StepError(f'target branch "{target}" does not exist')
    await repository.git("fetch", "--depth=1", "origin", f"{target}:refs/remotes/origin/{target}")
    if not (await repository.git("diff", "--name-only", f"origin/{target}", "HEAD")).strip():
        return StepResult(status="Skipped")
    message = (await repository.git("log", "-1", "--pretty=format:%B")).strip()
    subject, _, rest = message.partition("\n")
    title = config.get("title") or subject
    description = config.get("description") or (message if config.get("title") else rest)
    try:
        created = await gitea.create(
            source=source, target=target, title=title, description=description, labels=config.get("labels") or []
        )
    except GiteaError as error:
        raise StepError(f"error creating pull request: {error}") from error
    return _opened(created)


def _opened(request: PullRequest) -> StepResult:
    return StepResult(output={"pr": {"id": request.number, "url": request.url}})


async def _wait(context: StepContext, config: Obj) -> StepResult:
    number = config["prNumber"]
    gitea = _provider(context, config)
    try:
        request = await gitea.get(number)
    except GiteaError as error:
        raise StepError(f"error getting pull request {number}: {error}") from error
    output: Obj = {"pr": {"id": request.number, "url": request.url, "open": request.open, "merged": request.merged}}
    if request.merge_commit:
        output["commit"] = request.merge_commit
    if request.open:
        interval = parse_duration(config["pollInterval"]) if config.get("pollInterval") else _LOOK_AGAIN
        return StepResult(status="Running", output=output, look_again=max(interval, _SHORTEST_INTERVAL))
    if not request.merged:
        raise StepFailure(f"pull request {number} was closed without being merged", output)
    return StepResult(output=output)


_PROVIDER = Field(choices=("azure", "bitbucket", "gitea", "github", "gitlab"))
PULL_REQUEST_STEPS = {
    "git-open-pr": Step(
        {
            "repoURL": Field(required=True),
            "sourceBranch": Field(required=True),
            "targetBranch": Field(required=True),
            "provider": _PROVIDER,
            "title": Field(),
            "description": Field(),
            "labels": Field("array"),
            "createTargetBranch": Field("boolean", elsewhere=True),
            "insecureSkipTLSVerify": Field("boolean", elsewhere=True),
        },
        _open,
    ),
    "git-wait-for-pr": Step(
        {
            "repoURL": Field(required=True),
            "prNumber": Field("integer", required=True),
            "provider": _PROVIDER,
            "pollInterval": Field(),
            "insecureSkipTLSVerify": Field("boolean", elsewhere=True),
        },
        _wait,
    ),
}
