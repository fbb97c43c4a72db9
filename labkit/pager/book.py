"""What was received, and what became of it. No network and no clock of its own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from labkit.errors import LabError

CHANNELS = ("page", "chat", "log")


@dataclass(frozen=True)
class Notice:
    """One alert, as it came and as it is.

    Attributes:
        id: Alertmanager's fingerprint of the alert, and when it began: the same alert again is another notice.
        channel: `log`, `chat` or `page`.
        alert: The alert's name.
        environment: Where.
        severity: How bad.
        summary: One line.
        runbook: Address of what to do.
        dashboard: Address of what to look at.
        started: When the alert began to fire, as Alertmanager writes it.
        received: When it came here, in seconds since 1970.
        notified: Whom it has reached: the on-call people, in the order in which they were called; of pages only.
        escalate_at: When the next of them is called; 0 where nobody will be.
        acknowledged_by: Who has taken it; empty where nobody has.
        acknowledged: When, in seconds since 1970; 0 where nobody has.
        resolved: When it was over, in seconds since 1970; 0 while it lasts.
    """

    id: str
    channel: str
    alert: str
    environment: str
    severity: str
    summary: str
    runbook: str
    dashboard: str
    started: str
    received: float
    notified: tuple[str, ...] = ()
    escalate_at: float = 0
    acknowledged_by: str = ""
    acknowledged: float = 0
    resolved: float = 0

    @property
    def state(self) -> str:
        """`resolved`, `acknowledged` or `firing`."""
        if self.resolved:
            return "resolved"
        return "acknowledged" if self.acknowledged else "firing"


class Book:
    """All notices of a lab, kept in a file.

    Args:
        file: Where they are kept.
        on_call: Who is called for a page, and who next.
        escalate_seconds: How long each of them has to acknowledge it.
    """

    def __init__(self, file: Path, on_call: Iterable[str], escalate_seconds: float) -> None:
        self._file = file
        self._on_call = tuple(on_call)
        self._patience = escalate_seconds
        self._notices: dict[str, Notice] = {}
        if file.exists():
            for item in json.loads(file.read_text()):
                notice = Notice(**{**item, "notified": tuple(item["notified"])})
                self._notices[notice.id] = notice

    def all(self) -> list[Notice]:
        """All notices, newest first."""
        return sorted(self._notices.values(), key=lambda notice: notice.received, reverse=True)

    def receive(self, channel: str, payload: Mapping[str, Any], now: float) -> list[Notice]:
        """Take what Alertmanager sends to a channel's webhook.

        Source: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config.

        Args:
            channel: `log`, `chat` or `page`.
            payload: The JSON.
            now: The time, in seconds since 1970.

        Returns:
            The notices that are new, or have changed.

        Raises:
            LabError: It is no such JSON.
        """
        try:
            found = [self._taken(channel, alert, now) for alert in payload["alerts"]]
        except (KeyError, TypeError, AttributeError) as error:
            raise LabError("That is no webhook of Alertmanager's", seen=f"{type(error).__name__}: {error}") from error
        changed = [notice for notice in found if self._notices.get(notice.id) != notice]
        self._keep(changed)
        return changed

    def _taken(self, channel: str, alert: Mapping[str, Any], now: float) -> Notice:
        labels, notes = alert["labels"], alert["annotations"]
        key = f"{alert['fingerprint']}-{alert['startsAt']}"
        known = self._notices.get(key)
        notice = known or Notice(
            id=key,
            channel=channel,
            alert=labels["alertname"],
            environment=labels.get("environment", ""),
            severity=labels["severity"],
            summary="",
            runbook=notes.get("runbook_url", ""),
            dashboard=notes.get("dashboard", ""),
            started=alert["startsAt"],
            received=now,
        )
        if known is None and channel == "page":
            notice = self._call_next(notice, now)
        resolved = notice.resolved or (now if alert["status"] == "resolved" else 0)
        summary = notes.get("summary", "") if alert["status"] == "firing" or not notice.summary else notice.summary
        return replace(notice, summary=summary, resolved=resolved)

    def _call_next(self, notice: Notice, now: float) -> Notice:
        notified = self._on_call[: len(notice.notified) + 1]
        more = len(notified) < len(self._on_call)
        return replace(notice, notified=notified, escalate_at=now + self._patience if more else 0)

    def acknowledge(self, key: str, by: str, now: float) -> Notice:
        """Somebody has taken a page.

        Raises:
            LabError: There is no such page, or it is over, or somebody else has taken it.
        """
        notice = self._notices.get(key)
        if notice is None or notice.channel != "page":
            raise LabError(f"There is no page {key!r}", todo="`labkit pages` lists them")
        if notice.state != "firing":
            by_whom = f" by {notice.acknowledged_by}" if notice.acknowledged_by else ""
            raise LabError(f"Page {notice.alert} in {notice.environment} is {notice.state} already{by_whom}")
        taken = replace(notice, acknowledged_by=by, acknowledged=now, escalate_at=0)
        self._keep([taken])
        return taken

    def escalate(self, now: float) -> list[Notice]:
        """Call the next on call for pages that nobody has taken in time.

        Returns:
            Those pages.
        """
        late = [
            self._call_next(notice, now)
            for notice in self._notices.values()
            if notice.state == "firing" and 0 < notice.escalate_at <= now
        ]
        self._keep(late)
        return late

    def _keep(self, changed: Iterable[Notice]) -> None:
        for notice in changed:
            self._notices[notice.id] = notice
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps([asdict(notice) for notice in self._notices.values()], indent=1))
        new.replace(self._file)
