"""Freeze: a Stage takes no Promotion until a given time. The API server refuses, by a ValidatingAdmissionPolicy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from labkit.clusters import kube
from labkit.config import PROJECT, Lab
from labkit.errors import UsageError
from labkit.promotion.freight import freight_table, time_of
from labkit.rules import rules
from labkit.tables import Record, Table

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


@dataclass(frozen=True, repr=False)
class Freeze(Record):
    """Whether a Stage takes Promotions.

    Attributes:
        stage: The Stage.
        frozen: Whether it is frozen now.
        until: When the freeze ends, or ended; nothing where there was none.
        by: Who froze it.
        reason: Why.
        verified: Names of the Freight that a rollback may still go to.
    """

    not_shown = frozenset({"verified"})

    stage: str
    frozen: bool
    until: datetime | None
    by: str
    reason: str
    verified: tuple[str, ...]


class FreezeTable(Table[Freeze]):
    """The freezes of the lab's Stages."""

    title = "Freezes"
    columns = ("stage", "frozen", "until", "by", "reason")


def freeze_table(lab: Lab) -> FreezeTable:
    """Which Stages are frozen."""
    return FreezeTable(tuple(_freeze(lab, environment.name) for environment in lab.environments))


def _name(stage: str) -> str:
    return f"freeze-{stage}"


def _freeze(lab: Lab, stage: str) -> Freeze:
    data = kube(lab, lab.control).need("v1", "ConfigMap", _name(stage), PROJECT)["data"]
    until = time_of(data["until"]) if data.get("until") else None
    return Freeze(
        stage=stage,
        frozen=until is not None and until > datetime.now(UTC),
        until=until,
        by=data.get("by", ""),
        reason=data.get("reason", ""),
        verified=tuple(data.get("verified", "").split()),
    )


def end_of_freeze(text: str, now: datetime) -> datetime:
    """When a freeze ends.

    Args:
        text: A duration (`90m`, `1d12h`), a time of today or tomorrow (`18:00`), or a date and time (ISO 8601);
            times without a zone are this machine's.
        now: The time that a duration counts from, with its zone.

    Raises:
        UsageError: It is none of these, or not in the future.
    """
    duration = _DURATION.fullmatch(text)
    try:
        if text and duration:
            days, hours, minutes, seconds = (int(part or 0) for part in duration.groups())
            end = now + timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        elif re.fullmatch(r"\d{1,2}:\d{2}", text):
            hour, minute = map(int, text.split(":"))
            end = now.astimezone().replace(hour=hour, minute=minute, second=0, microsecond=0)
            end = end if end > now else end + timedelta(days=1)
        else:
            end = datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{text!r} is no end of a freeze",
            seen=str(error),
            todo="give a duration (90m), a time (18:00) or a date and time (2026-12-24T18:00)",
        ) from error
    if end <= now:
        raise UsageError(f"A freeze until {text} would be over already", todo="give a time in the future")
    return end.astimezone(UTC).replace(microsecond=0)


def freeze(lab: Lab, stage: str, until: str, *, reason: str = "", as_user: str = "") -> Freeze:
    """Freeze a Stage: Promotions to it are refused with the reason, until the time is over.

    Args:
        lab: The lab.
        stage: The Stage.
        until: See `end_of_freeze`.
        reason: Why; whoever is refused will read it.
        as_user: Who freezes; the lab's approver where nobody is named.

    Raises:
        UsageError: There is no such Stage, or `until` is no time in the future.
        LabError: That person may not freeze.
    """
    lab.environment(stage)
    end = end_of_freeze(until, datetime.now(UTC))
    person = as_user or rules().approver
    # While a Stage is frozen nothing new is verified in it, but what an emergency brings: this list stays right.
    verified = [item.name for item in freight_table(lab) if stage in item.verified_in]
    data = {
        "until": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "by": person,
        "reason": reason or "no reason given",
        "verified": " ".join(verified),
    }
    kube(lab, lab.control, as_user=person).patch("v1", "ConfigMap", _name(stage), {"data": data}, PROJECT)
    return _freeze(lab, stage)


def unfreeze(lab: Lab, stage: str, *, as_user: str = "") -> Freeze:
    """End the freeze of a Stage now; a no-op where it is not frozen.

    Args:
        lab: The lab.
        stage: The Stage.
        as_user: Who ends it; the lab's approver where nobody is named.

    Raises:
        UsageError: There is no such Stage.
        LabError: That person may not end it.
    """
    lab.environment(stage)
    data = dict.fromkeys(("until", "by", "reason", "verified"))
    change = {"data": data}
    kube(lab, lab.control, as_user=as_user or rules().approver).patch("v1", "ConfigMap", _name(stage), change, PROJECT)
    return _freeze(lab, stage)
