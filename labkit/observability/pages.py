"""What the pager has received: looking at it, and acknowledging a page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from labkit.config import Lab
from labkit.errors import LabError
from labkit.services.alerting import pager_url
from labkit.tables import Record, Table
from labkit.wait import wait_for


@dataclass(frozen=True, repr=False)
class Notice(Record):
    """One alert that has reached somebody.

    Attributes:
        channel: `page` (PROD), `chat` (PRE) or `log` (DEV).
        alert: The alert's name.
        environment: Where.
        state: `firing`, `acknowledged` or `resolved`.
        summary: One line.
        notified: Who was called, in that order; of pages only.
        acknowledged_by: Who has taken it.
        started: When the alert began to fire.
        received: When it reached the pager.
        acknowledged: When somebody took it; nothing where nobody has.
        resolved: When it was over; nothing while it lasts.
        runbook: Address of what to do.
        dashboard: Address of what to look at.
        id: The pager's id of it.
    """

    channel: str
    alert: str
    environment: str
    state: str
    summary: str
    notified: tuple[str, ...]
    acknowledged_by: str
    started: datetime
    received: datetime
    acknowledged: datetime | None
    resolved: datetime | None
    runbook: str
    dashboard: str
    id: str


class NoticeTable(Table[Notice]):
    """What the pager has received, newest first."""

    title = "Notices"
    columns = ("channel", "state", "alert", "environment", "summary", "notified", "acknowledged_by", "received")


def notice_table(lab: Lab) -> NoticeTable:
    """What the pager has received, newest first."""
    return NoticeTable(tuple(map(_notice, _ask(lab, "GET", "/notices"))))


def acknowledge(lab: Lab, alert: str, *, by: str = "") -> Notice:
    """Take a page: nobody else is called for it.

    Args:
        lab: The lab.
        alert: The alert's name, or the page's id.
        by: Who takes it; whoever was called last where nobody is named.

    Raises:
        LabError: No such page is firing.
    """
    for notice in notice_table(lab):
        if notice.channel == "page" and notice.state == "firing" and alert in (notice.alert, notice.id):
            body = {"by": by or notice.notified[-1]}
            return _notice(_ask(lab, "POST", f"/notices/{notice.id}/acknowledge", body))
    raise LabError(f"No page {alert!r} is firing", todo="`labkit pages` lists what the pager has received")


def wait_for_notice(
    lab: Lab, alert: str, environment: str, state: str = "firing", *, timeout: float | None = None
) -> Notice:
    """Wait until an alert of an environment has reached the pager, and is in a state there.

    Args:
        lab: The lab.
        alert: The alert's name.
        environment: The environment.
        state: `firing`, `acknowledged` or `resolved`.
        timeout: Seconds to wait; the lab's limit for a Promotion where none is given.
    """

    def newest() -> Notice | None:
        return next((row for row in notice_table(lab) if (row.alert, row.environment) == (alert, environment)), None)

    found = wait_for(
        f"alert {alert} of {environment} to be {state}",
        newest,
        lambda now: now is not None and now.state == state,
        describe=lambda now: now.state if now else "not received",
        timeout=timeout or lab.limits.promotion_seconds,
        todo=f"see {pager_url(lab)}, and `labkit logs alertmanager`",
    )
    assert found is not None
    return found


def _ask(lab: Lab, method: str, path: str, body: Any = None) -> Any:
    try:
        answer = httpx.request(method, f"{pager_url(lab)}{path}", json=body, timeout=10, trust_env=False)
    except httpx.HTTPError as error:
        raise LabError("The pager does not answer", seen=str(error), todo="`labkit up` starts it") from error
    if answer.is_error:
        raise LabError("The pager refused", seen=answer.json()["error"])
    return answer.json()


def _notice(item: dict[str, Any]) -> Notice:
    return Notice(
        channel=item["channel"],
        alert=item["alert"],
        environment=item["environment"],
        state=item["state"],
        summary=item["summary"],
        notified=tuple(item["notified"]),
        acknowledged_by=item["acknowledged_by"],
        started=datetime.fromisoformat(item["started"]),
        received=datetime.fromtimestamp(item["received"], UTC),
        acknowledged=_moment(item["acknowledged"]),
        resolved=_moment(item["resolved"]),
        runbook=item["runbook"],
        dashboard=item["dashboard"],
        id=item["id"],
    )


def _moment(seconds: float) -> datetime | None:
    """A time as the pager writes it: 0 where it has not come."""
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
