"""Evidence: what a Promotion did, who asked, who let it pass, and what was measured; kept for an auditor."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from labkit.clusters import kube
from labkit.config import PROJECT, Lab
from labkit.promotion.freight import Freight, freight_table, time_of
from labkit.promotion.gate import GateTable, gate_table
from labkit.promotion.promotion import Promotion, get_promotion, promotion_table
from labkit.promotion.pull_request import PullRequest, pull_request
from labkit.promotion.verification import MetricTable, Verification, metric_table, verification_table
from labkit.rules import rules
from labkit.services.kargo import KARGO_API
from labkit.tables import Record, Table
from labkit.templates import render


@dataclass(frozen=True, repr=False)
class Step(Record):
    """One step of a Promotion.

    Attributes:
        step: Its alias.
        status: Kargo's word for how it went.
        started: When it began; nothing where it was skipped.
        seconds: How long it took; -1 while it runs.
    """

    step: str
    status: str
    started: datetime | None
    seconds: float


class StepTable(Table[Step]):
    """The steps of a Promotion."""

    title = "Steps"
    columns = ("step", "status", "started", "seconds")


@dataclass(frozen=True)
class Evidence:
    """The record of one Promotion.

    Attributes:
        promotion: The Promotion: who asked for what, when, why, how it ended.
        freight: The Freight that it took.
        replaces: The Freight that ran in the Stage before; nothing where there was none.
        digests: Digest of each image, by tier.
        commits: Commits by what they are: `source` (the app), `pushed`, `synced`.
        steps: The steps, with their durations.
        gates: The gates and how they stand; none where the Stage has none.
        pull_request: The pull request; nothing where there was none.
        verification: The verification that followed; nothing where there was none (yet).
        metrics: What it measured.
        exceptions: What this Promotion was allowed that others are not.
    """

    promotion: Promotion
    freight: Freight | None
    replaces: Freight | None
    digests: Mapping[str, str]
    commits: Mapping[str, str]
    steps: StepTable
    gates: GateTable
    pull_request: PullRequest | None
    verification: Verification | None
    metrics: MetricTable
    exceptions: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether nothing more will be known: it has ended, and what followed it is verified or not."""
        if not self.promotion.done:
            return False
        return self.promotion.phase != "Succeeded" or (self.verification is not None and self.verification.done)

    def as_json(self) -> dict[str, Any]:
        """The record as plain values."""
        tables: dict[str, Table[Any]] = {"steps": self.steps, "gates": self.gates, "metrics": self.metrics}
        rows = {"promotion": self.promotion, "freight": self.freight, "replaces": self.replaces}
        more = {"pull_request": self.pull_request, "verification": self.verification}
        return {
            **{name: asdict(row) if row else None for name, row in {**rows, **more}.items()},
            "digests": dict(self.digests),
            "commits": dict(self.commits),
            **{name: table.as_json() for name, table in tables.items()},
            "exceptions": list(self.exceptions),
            "complete": self.complete,
        }

    def _parts(self) -> list[tuple[str, Any]]:
        parts: list[tuple[str, Any]] = [
            ("Promotion", self.promotion),
            ("Freight", self.freight),
            ("Replaces", self.replaces),
            ("Digests", Pairs(self.digests)),
            ("Commits", Pairs(self.commits)),
            ("Gates", self.gates),
            ("Pull request", self.pull_request),
            ("Steps", self.steps),
            ("Verification", self.verification),
            ("Metrics", self.metrics),
        ]
        exceptions = [("Exceptions", Pairs(dict(enumerate(self.exceptions, start=1))))] if self.exceptions else []
        return [*exceptions, *((title, part) for title, part in parts if part)]

    def __repr__(self) -> str:
        return "\n\n".join(part if title == "" else f"{title}\n{part!r}" for title, part in self._parts())

    def _repr_html_(self) -> str:
        return "".join(f"<h4>{html.escape(title)}</h4>{part._repr_html_()}" for title, part in self._parts())


@dataclass(frozen=True, repr=False)
class Pairs:
    """Names and values."""

    values: Mapping[Any, str]

    def __bool__(self) -> bool:
        return bool(self.values)

    def __repr__(self) -> str:
        return "\n".join(f"{name}  {value}" for name, value in self.values.items())

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(str(name))}</th><td>{html.escape(value)}</td></tr>"
            for name, value in self.values.items()
        )
        return f"<table>{rows}</table>"


def evidence(lab: Lab, name: str) -> Evidence:
    """Everything that is known about a Promotion, read from Kargo, Gitea and the AnalysisRun.

    Args:
        lab: The lab.
        name: The Promotion.

    Raises:
        LabError: There is no such Promotion.
    """
    promotion = get_promotion(lab, name)
    manifest = kube(lab, lab.control).need(KARGO_API, "Promotion", name, PROJECT)
    status = manifest.get("status") or {}
    freight = {item.name: item for item in freight_table(lab)}
    verification = _verification(lab, promotion)
    images = (status.get("freight") or {}).get("images") or []
    chosen = freight.get(promotion.freight_name)
    commits = {
        "source": chosen.revision if chosen else "",
        "pushed": promotion.commit,
        "synced": _synced(status),
    }
    return Evidence(
        promotion=promotion,
        freight=chosen,
        replaces=freight.get(_replaced(lab, promotion)),
        digests={image["repoURL"].rpartition("/")[2]: image["digest"] for image in images if image.get("digest")},
        commits={what: commit for what, commit in commits.items() if commit},
        steps=_steps(status),
        gates=gate_table(lab, promotion),
        pull_request=next(iter(pull_request(lab, promotion)), None),
        verification=verification,
        metrics=metric_table(lab, verification.analysis_run) if verification else MetricTable(()),
        exceptions=_exceptions(lab, promotion, chosen),
    )


def _exceptions(lab: Lab, promotion: Promotion, freight: Freight | None) -> tuple[str, ...]:
    found = []
    order = [environment.name for environment in lab.environments]
    before = order[: order.index(promotion.stage)] if promotion.stage in order else []
    skipped = [name for name in before if freight is not None and name not in freight.verified_in]
    if freight is not None and skipped:
        instead = ", ".join(name for name in freight.verified_in if name not in order) or "nowhere else"
        found.append(f"not verified in {', '.join(skipped)}, but in {instead}")
    if promotion.emergency:
        found.append(f"an emergency may pass a freeze: {promotion.emergency}")
    if promotion.requester == rules().rollback_bot and promotion.stage in rules().gates:
        found.append(f"{rules().rollback_bot} is pre-authorised for Freight that was verified in {promotion.stage}")
    return tuple(found)


def _replaced(lab: Lab, promotion: Promotion) -> str:
    earlier = (
        row
        for row in promotion_table(lab, promotion.stage)
        if row.phase == "Succeeded" and (row.created, row.promotion) < (promotion.created, promotion.promotion)
    )
    return next((row.freight_name for row in earlier), "")


def _synced(status: Mapping[str, Any]) -> str:
    for check in status.get("healthChecks") or []:
        for app in (check.get("config") or {}).get("apps") or []:
            if app.get("desiredRevisions"):
                return str(app["desiredRevisions"][0])
    return ""


def _steps(status: Mapping[str, Any]) -> StepTable:
    rows = []
    for item in status.get("stepExecutionMetadata") or []:
        started = time_of(item["startedAt"]) if item.get("startedAt") else None
        finished = time_of(item["finishedAt"]) if item.get("finishedAt") else None
        seconds = (finished - started).total_seconds() if started and finished else -1
        rows.append(Step(item["alias"], item.get("status", ""), started, seconds))
    return StepTable(tuple(rows))


def _verification(lab: Lab, promotion: Promotion) -> Verification | None:
    """The verification that followed a Promotion: the newest of its Freight, until another Promotion succeeded.

    Kargo counts an earlier one when Freight comes back to a Stage: then that is what there is.
    """
    if promotion.phase != "Succeeded":
        return None
    later = [
        row
        for row in promotion_table(lab, promotion.stage)
        if row.phase == "Succeeded" and (row.created, row.promotion) > (promotion.created, promotion.promotion)
    ]
    until = min((row.created for row in later), default=None)
    return next(
        (
            row
            for row in verification_table(lab, promotion.stage, freight_name=promotion.freight_name)
            if until is None or time_of(row.started) <= until
        ),
        None,
    )


def write_evidence(lab: Lab, record: Evidence) -> Path:
    """Keep a record in `$LABKIT_HOME/evidence`, as JSON and as a page.

    Returns:
        The page.
    """
    folder, name = lab.home.evidence, record.promotion.promotion
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(record.as_json(), indent=2, default=str))
    page = folder / f"{name}.html"
    page.write_text(render("report/evidence.html", promotion=name, body=record._repr_html_()))
    return page
