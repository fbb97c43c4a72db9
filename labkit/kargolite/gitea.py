"""Pull requests in Gitea (https://docs.gitea.com/api/1.25/)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from labkit.kargolite.urls import normalize_git

_PAGE = 50


class GiteaError(Exception):
    """Gitea refused, or could not be reached."""


@dataclass(frozen=True)
class PullRequest:
    """A pull request as the promotion steps see it."""

    number: int
    url: str
    open: bool
    merged: bool
    merge_commit: str
    head: str
    head_branch: str
    base_branch: str


class Gitea:
    """One repository in Gitea."""

    def __init__(self, repo_url: str, token: str) -> None:
        parts = urlsplit(normalize_git(repo_url))
        owner_and_name = parts.path.strip("/")
        if owner_and_name.count("/") != 1:
            raise GiteaError(f'could not extract repository owner and name from URL "{repo_url}"')
        self._root = f"{parts.scheme}://{parts.netloc}/api/v1/repos/{owner_and_name}"
        self._headers = {"Authorization": f"token {token}"} if token else {}

    async def create(self, *, source: str, target: str, title: str, description: str, labels: list[str]) -> PullRequest:
        """Open a pull request.

        Raises:
            GiteaError: Gitea refused, or a label is not known.
        """
        body = {
            "head": source,
            "base": target,
            "title": title,
            "body": description,
            "labels": await self._label_ids(labels),
        }
        return _read(await self._call("POST", "/pulls", body))

    async def get(self, number: int) -> PullRequest:
        """Read a pull request."""
        return _read(await self._call("GET", f"/pulls/{number}"))

    async def find_open(self, *, source: str, target: str, commit: str) -> PullRequest | None:
        """The open pull request for that commit, if there is one."""
        for item in await self._all("/pulls", state="open"):
            found = _read(item)
            if (found.head, found.head_branch, found.base_branch) == (commit, source, target):
                return found
        return None

    async def _label_ids(self, labels: list[str]) -> list[int]:
        if not labels:
            return []
        known = {item["name"]: int(item["id"]) for item in await self._all("/labels")}
        if missing := [label for label in labels if label not in known]:
            repository = self._root.partition("/repos/")[2]
            raise GiteaError(f"labels not found in repository {repository}: {', '.join(missing)}")
        return [known[label] for label in dict.fromkeys(labels)]

    async def _all(self, path: str, **params: str) -> list[Any]:
        items: list[Any] = []
        page = 1
        while True:
            found = await self._call("GET", path, params=params | {"page": str(page), "limit": str(_PAGE)})
            items += found
            if len(found) < _PAGE:
                return items
            page += 1

    async def _call(self, method: str, path: str, body: Any = None, *, params: dict[str, str] | None = None) -> Any:
        try:
            async with httpx.AsyncClient(headers=self._headers, timeout=20.0, trust_env=False) as client:
                response = await client.request(method, self._root + path, json=body, params=params)
        except httpx.HTTPError as error:
            raise GiteaError(str(error) or type(error).__name__) from error
        if response.status_code >= 400:
            raise GiteaError(_message(response))
        return response.json()


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return f"{response.status_code} {response.reason_phrase}"


def _read(item: Any) -> PullRequest:
    return PullRequest(
        number=int(item["number"]),
        url=item["html_url"],
        open=item["state"] == "open",
        merged=bool(item["merged"]),
        merge_commit=item.get("merge_commit_sha") or "",
        head=item["head"]["sha"],
        head_branch=item["head"]["ref"],
        base_branch=item["base"]["ref"],
    )
