"""What has happened in a lab, from everybody who writes it down: Git, CI, Kargo, Argo Rollouts, Argo CD, the pager.

The functions `…_events` are pure: objects as their API has them, to events. `read_events` asks for the objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from labkit.clusters import kube
from labkit.config import APPLICATION, ARGOCD_NAMESPACE, GITOPS_REPO, PROJECT, SOURCE_REPO, Lab
from labkit.delivery.git import repo_path
from labkit.delivery.gitea import Gitea, gitea_as
from labkit.observability.pages import Notice, notice_table
from labkit.promotion import Freight, Promotion, freight_table, promotion_table
from labkit.promotion.freight import time_of, versions_of
from labkit.promotion.promotion import STAGE_LABEL
from labkit.promotion.verification import ROLLOUTS_API
from labkit.rules import rules
from labkit.services.argocd import APPLICATION_API
from labkit.services.kargo import KARGO_API
from labkit.tables import Record, Table

GIT, CI, KARGO, ROLLOUTS, ARGOCD, PAGER = "Git", "CI", "Kargo", "Argo Rollouts", "Argo CD", "pager"
SOURCES = (GIT, CI, KARGO, ROLLOUTS, ARGOCD, PAGER)

_CI_CONTEXT = "ci/"
_VALIDATION_CONTEXT = "validation/"

Object = Mapping[str, Any]


@dataclass(frozen=True, repr=False)
class Event(Record):
    """Something that has happened.

    Attributes:
        time: When, or when it began.
        end: When it was over; nothing where it was a moment, or lasts.
        source: Who has written it down: one of `SOURCES`.
        environment: Where; empty where it belongs to none.
        event: What.
        actor: Who did it; empty where nobody is named.
        detail: What it was about.
    """

    time: datetime
    end: datetime | None
    source: str
    environment: str
    event: str
    actor: str
    detail: str


class EventTable(Table[Event]):
    """What has happened, in order of time."""

    title = "Timeline"
    columns = ("time", "end", "source", "environment", "event", "actor", "detail")


def commit_events(
    commits: Iterable[Object], repo: str, environment: str = "", *, merges: Iterable[str] = ()
) -> Iterator[Event]:
    """Commits of a branch, as they were committed.

    Args:
        commits: As Gitea lists them (`Commit` of its API).
        repo: The repo's name.
        environment: Whose branch it is; empty where it is nobody's.
        merges: Commits that merged a pull request: those are told by `pull_request_events`.
    """
    told = set(merges)
    for item in commits:
        if item["sha"] not in told:
            commit = item["commit"]
            first_line = commit["message"].partition("\n")[0]
            detail = f"{repo} {item['sha'][:7]}: {first_line}"
            time = time_of(commit["committer"]["date"])
            yield Event(time, None, GIT, environment, "commit", commit["author"]["name"], detail)


def pull_request_events(pulls: Iterable[Object], repo: str, environments: Mapping[str, str]) -> Iterator[Event]:
    """Pull requests that were merged, or closed without that: from being opened to that.

    Args:
        pulls: As Gitea has them, one by one (`PullRequest` of its API).
        repo: The repo's name.
        environments: Environments by their branch.
    """
    for item in pulls:
        merged = bool(item["merged"])
        over = item["merged_at"] if merged else item["closed_at"]
        if over:
            yield Event(
                time_of(item["created_at"]),
                time_of(over),
                GIT,
                environments.get(item["base"]["label"], ""),
                "pull request merged" if merged else "pull request closed",
                (item["merged_by"] or {}).get("login", "") if merged else "",
                f"{repo} #{item['number']}: {item['title']}",
            )


def review_events(reviews: Iterable[Object], repo: str, pull: Object, environment: str) -> Iterator[Event]:
    """What people said of a pull request: approvals, and requests for changes.

    Args:
        reviews: As Gitea lists them (`PullReview` of its API).
        repo: The repo's name.
        pull: The pull request.
        environment: Whose branch it would be merged into.
    """
    words = {"APPROVED": "approved", "REQUEST_CHANGES": "changes requested"}
    for item in reviews:
        if item["state"] in words:
            time, actor = time_of(item["submitted_at"]), (item["user"] or {}).get("login", "")
            detail = f"{repo} #{pull['number']}: {item['body']}"
            yield Event(time, None, GIT, environment, words[item["state"]], actor, detail)


def status_events(statuses: Iterable[Object], commit: str) -> Iterator[Event]:
    """What CI said of a commit: for each of its checks, from its first word to its last.

    Args:
        statuses: As Gitea lists them (`CommitStatus` of its API), in any order.
        commit: The commit.
    """
    checks: dict[str, list[Object]] = {}
    for item in statuses:
        if item["context"].startswith(_CI_CONTEXT):
            checks.setdefault(item["context"], []).append(item)
    for context, said in checks.items():
        said.sort(key=lambda item: (time_of(item["created_at"]), item["id"]))
        last = said[-1]
        done = last["status"] != "pending"
        yield Event(
            time_of(said[0]["created_at"]),
            time_of(last["created_at"]) if done else None,
            CI,
            "",
            f"{context} {last['status']}",
            (last["creator"] or {}).get("login", ""),
            f"{commit[:7]}: {last['description']}",
        )


def validation_events(statuses: Iterable[Object], environment: str) -> Iterator[Event]:
    """Sign-offs of what runs in an environment.

    Args:
        statuses: As Gitea lists them (`CommitStatus` of its API).
        environment: The environment.
    """
    for item in statuses:
        if item["context"] == f"{_VALIDATION_CONTEXT}{environment}":
            event = "validated" if item["status"] == "success" else "validation refused"
            actor = (item["creator"] or {}).get("login", "")
            yield Event(time_of(item["created_at"]), None, GIT, environment, event, actor, item["description"])


def freight_events(freight: Iterable[Object]) -> Iterator[Event]:
    """Freight that was discovered, and Freight that was approved for a Stage by hand.

    Args:
        freight: Freight as the API server has it.
    """
    for item in freight:
        versions = ", ".join(f"{tier} {tag}" for tier, tag in versions_of(item.get("images") or []).items())
        detail = f"{item.get('alias', '')}: {versions}"
        yield Event(time_of(item["metadata"]["creationTimestamp"]), None, KARGO, "", "Freight discovered", "", detail)
        for stage, approval in ((item.get("status") or {}).get("approvedFor") or {}).items():
            if approval.get("approvedAt"):
                yield Event(time_of(approval["approvedAt"]), None, KARGO, stage, "Freight approved", "", detail)


def promotion_events(promotions: Iterable[Promotion]) -> Iterator[Event]:
    """Promotions, from request to end."""
    for row in promotions:
        what = "rollback" if row.rolled_back_from else "Promotion"
        detail = f"Freight {row.freight}" + (f": {row.reason}" if row.reason else "")
        yield Event(
            row.created,
            row.finished if row.done and row.seconds is not None else None,
            KARGO,
            row.stage,
            f"{what} {row.phase}",
            row.requester,
            detail,
        )


def verification_events(runs: Iterable[Object], freight: Iterable[Freight] = ()) -> Iterator[Event]:
    """AnalysisRuns of Stages, from begin to end, with what failed.

    Args:
        runs: AnalysisRuns as the API server has them.
        freight: For its aliases.
    """
    aliases = {item.name: item.alias for item in freight}
    for run in runs:
        metadata, status = run["metadata"], run.get("status") or {}
        red = [
            item["name"] for item in status.get("metricResults") or [] if item["phase"] not in ("Successful", "Running")
        ]
        names = [owner["name"] for owner in metadata.get("ownerReferences") or [] if owner["kind"] == "Freight"]
        about = f"Freight {', '.join(aliases.get(name, name[:7]) for name in names)}" if names else metadata["name"]
        done = status.get("completedAt")
        yield Event(
            time_of(status.get("startedAt") or metadata["creationTimestamp"]),
            time_of(done) if done else None,
            ROLLOUTS,
            (metadata.get("labels") or {}).get(STAGE_LABEL, ""),
            f"verification {status.get('phase') or 'Pending'}",
            "",
            f"{about}: {', '.join(red)}" if red else about,
        )


def sync_events(application: Object, environment: str) -> Iterator[Event]:
    """The syncs that an Application remembers.

    Args:
        application: The Application as the API server has it.
        environment: Where.

    Source: `status.history` of Argo CD's Applications.
    """
    for item in (application.get("status") or {}).get("history") or []:
        begun = item.get("deployStartedAt") or item["deployedAt"]
        by = item.get("initiatedBy") or {}
        yield Event(
            time_of(begun),
            time_of(item["deployedAt"]),
            ARGOCD,
            environment,
            "sync",
            by.get("username", "") or ("Argo CD" if by.get("automated") else ""),
            f"revision {item.get('revision', '')[:7]}",
        )


def notice_events(notices: Iterable[Notice]) -> Iterator[Event]:
    """Alerts, from firing to being over; whom they reached, and who took them."""
    reached = {"page": "paged", "chat": "in the chat", "log": "in the log"}
    for row in notices:
        event, detail = f"alert {row.alert}", row.summary
        yield Event(row.started, row.resolved, PAGER, row.environment, event, "", detail)
        yield Event(
            row.received, None, PAGER, row.environment, reached[row.channel], ", ".join(row.notified), row.alert
        )
        if row.acknowledged:
            yield Event(row.acknowledged, None, PAGER, row.environment, "acknowledged", row.acknowledged_by, row.alert)
        if row.resolved:
            yield Event(row.resolved, None, PAGER, row.environment, "resolved", "", row.alert)


def in_order(events: Iterable[Event], since: datetime | None, until: datetime) -> EventTable:
    """Events of a time, in order.

    Args:
        events: In any order.
        since: Begin; what had not ended by then is in it. From the first on where there is none.
        until: End; not part of it.
    """
    wanted = (
        item
        for item in events
        if item.time < until and (since is None or item.time >= since or (item.end is not None and item.end >= since))
    )
    return EventTable(tuple(sorted(wanted, key=lambda item: (item.time, SOURCES.index(item.source), item.event))))


def read_events(lab: Lab, *, since: datetime | None = None, until: datetime | None = None) -> EventTable:
    """Everything that has happened in a lab, in order of time.

    Of each branch and of each repo's pull requests the newest are asked for, a page that Gitea gives at once; Kargo and
    Argo CD forget what is old.

    Args:
        lab: The lab.
        since: Begin, with its zone; from the first on where there is none.
        until: End, with its zone; now where there is none.

    Raises:
        LabError: Kargo, an Argo CD, Gitea or the pager does not answer.
    """
    gitea = gitea_as(lab, "viewer")
    events = (
        *_in_git(gitea, lab, since),
        *_said_of_commits(gitea, lab, since),
        *_in_kargo(lab),
        *_in_argocd(lab),
        *notice_events(notice_table(lab)),
    )
    return in_order(events, since, until or datetime.now(UTC))


def _in_git(gitea: Gitea, lab: Lab, since: datetime | None) -> Iterator[Event]:
    environments = {item.branch: item.stage for item in lab.destinations if item.project == PROJECT}
    for repo, branches in ((SOURCE_REPO, {"main": ""}), (GITOPS_REPO, {"main": "", **environments})):
        path = f"/repos/{repo_path(repo)}/pulls"
        listed = [item for item in gitea.pull_requests(repo_path(repo), "all") if _recent(item["updated_at"], since)]
        # Who has merged it, only the pull request itself says, and no list.
        pulls = [gitea.request("GET", f"{path}/{item['number']}") for item in listed]
        yield from pull_request_events(pulls, repo, environments)
        for pull in pulls:
            reviews = gitea.request("GET", f"{path}/{pull['number']}/reviews")
            yield from review_events(reviews, repo, pull, environments.get(pull["base"]["label"], ""))
        merges = {item["merge_commit_sha"] for item in pulls if item["merged"]}
        for branch, environment in branches.items():
            yield from commit_events(gitea.commits(repo_path(repo), branch), repo, environment, merges=merges)


def _said_of_commits(gitea: Gitea, lab: Lab, since: datetime | None) -> Iterator[Event]:
    repo = repo_path(SOURCE_REPO)
    for commit in gitea.commits(repo, "main"):
        if _recent(commit["commit"]["committer"]["date"], since):
            yield from status_events(gitea.all_statuses(repo, commit["sha"]), commit["sha"])
    repo = repo_path(GITOPS_REPO)
    for stage in sorted(rules().validation_stages):
        # What came there long ago may have been signed off just now.
        for commit in gitea.commits(repo, lab.destination(stage).branch):
            yield from validation_events(gitea.all_statuses(repo, commit["sha"]), stage)


def _recent(text: str, since: datetime | None) -> bool:
    return since is None or time_of(text) >= since


def _in_kargo(lab: Lab) -> Iterator[Event]:
    api = kube(lab, lab.control)
    yield from freight_events(api.list(KARGO_API, "Freight", PROJECT))
    yield from promotion_events(promotion_table(lab))
    yield from verification_events(
        api.list(ROLLOUTS_API, "AnalysisRun", PROJECT, selector=STAGE_LABEL), freight_table(lab)
    )


def _in_argocd(lab: Lab) -> Iterator[Event]:
    for environment in lab.environments:
        application = kube(lab, environment).need(APPLICATION_API, "Application", APPLICATION, ARGOCD_NAMESPACE)
        yield from sync_events(application, environment.name)
