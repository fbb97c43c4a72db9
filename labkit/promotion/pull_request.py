"""The pull requests that Promotions open: PROD's branch moves when one of them is merged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labkit.config import GITOPS_REPO, Lab
from labkit.delivery.git import repo_path
from labkit.delivery.gitea import gitea_as
from labkit.promotion.promotion import Promotion
from labkit.tables import Record, Table

REPO = repo_path(GITOPS_REPO)
_BRANCHES = "kargo/promotion/"


@dataclass(frozen=True, repr=False)
class PullRequest(Record):
    """A pull request of the gitops repo, as Gitea describes it.

    Attributes:
        number: Its number.
        title: Its title.
        state: `open`, `closed` or `merged`.
        promotion: Name of the Promotion that opened it; empty where a person did.
        source: The branch with what would be merged.
        target: The branch it would be merged into.
        head: The commit at the head of `source`.
        author: Who opened it.
        merged_by: Who merged it.
        url: Its page.
        text: What it says.
    """

    number: int
    title: str
    state: str
    promotion: str
    source: str
    target: str
    head: str
    author: str
    merged_by: str
    url: str
    text: str

    @classmethod
    def from_gitea(cls, found: Mapping[str, Any]) -> PullRequest:
        """A pull request as Gitea has it.

        Source: `PullRequest` of Gitea's API; Kargo v1.11.2 pushes a Promotion to `kargo/promotion/<its name>`.
        """
        source = found["head"]["label"]
        return cls(
            number=found["number"],
            title=found["title"],
            state="merged" if found["merged"] else found["state"],
            promotion=source.removeprefix(_BRANCHES) if source.startswith(_BRANCHES) else "",
            source=source,
            target=found["base"]["label"],
            head=found["head"]["sha"],
            author=found["user"]["login"],
            merged_by=(found["merged_by"] or {}).get("login", ""),
            url=found["html_url"],
            text=found["body"] or "",
        )


class PullRequestTable(Table[PullRequest]):
    """Pull requests of the gitops repo."""

    title = "Pull requests"
    columns = ("number", "title", "state", "source", "target", "author", "merged_by", "url")


def open_pull_requests(lab: Lab) -> PullRequestTable:
    """The pull requests of the gitops repo that nobody has merged or closed, newest first."""
    return PullRequestTable(tuple(map(PullRequest.from_gitea, gitea_as(lab, "viewer").pull_requests(REPO))))


def get_pull_request(lab: Lab, number: int) -> PullRequest:
    """One pull request of the gitops repo."""
    return PullRequest.from_gitea(gitea_as(lab, "viewer").request("GET", f"/repos/{REPO}/pulls/{number}"))


def pull_request(lab: Lab, promotion: Promotion) -> PullRequestTable:
    """The pull request that a Promotion opened; an empty table where it opened none."""
    if not promotion.pull_request:
        return PullRequestTable(())
    return PullRequestTable((get_pull_request(lab, promotion.pull_request),))
