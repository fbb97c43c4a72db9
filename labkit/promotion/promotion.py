"""Promotions: a Stage is asked to take a Freight."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from labkit.clusters import kube
from labkit.config import EMERGENCY, PROJECT, REASON, ROLLED_BACK_FROM, WAREHOUSE, Lab
from labkit.errors import LabError, UsageError
from labkit.promotion.freight import Freight, find_freight, freight_aliases, time_of
from labkit.promotion.refresh import refresh
from labkit.promotion.stage import find_stage
from labkit.rules import rules
from labkit.services.kargo import KARGO_API
from labkit.tables import Record, Table
from labkit.wait import wait_for

FINAL = ("Succeeded", "Failed", "Errored", "Aborted")
STAGE_LABEL = "kargo.akuity.io/stage"


@dataclass(frozen=True, repr=False)
class Promotion(Record):
    """One Promotion, as Kargo describes it.

    Attributes:
        promotion: Its name.
        stage: The Stage that takes the Freight.
        freight: Alias of the Freight.
        freight_name: Name of the Freight.
        phase: Kargo's word for how far it is.
        step: The step that runs now, or ran last; of a Promotion that failed, the step that failed.
        message: What Kargo says of it.
        actor: Who asked for it, as Kargo writes it (`kubernetes:developer`).
        requester: Who asked for it; empty where Kargo did by itself.
        reason: Why it was asked for or rejected, where somebody said so.
        emergency: Why it may pass a freeze, where somebody said so.
        rolled_back_from: Name of the Freight that it rolls back from, where it is a rollback.
        commit: The commit that it pushed.
        opens_pull_request: Whether its steps open a pull request.
        pull_request: Number of the pull request it opened; 0 where it opened none.
        created: When it was asked for.
        seconds: From request to end; nothing while it runs.
    """

    promotion: str
    stage: str
    freight: str
    freight_name: str
    phase: str
    step: str
    message: str
    actor: str
    requester: str
    reason: str
    emergency: str
    rolled_back_from: str
    commit: str
    opens_pull_request: bool
    pull_request: int
    created: datetime
    seconds: float | None

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any], aliases: Mapping[str, str]) -> Promotion:
        """A Promotion as the API server has it.

        Source: CustomResourceDefinition `promotions.kargo.akuity.io` of Kargo v1.11.2.

        Args:
            manifest: The object.
            aliases: Alias of each Freight by its name.
        """
        spec, status, metadata = manifest["spec"], manifest.get("status") or {}, manifest["metadata"]
        created, finished = time_of(metadata["creationTimestamp"]), status.get("finishedAt")
        annotations = metadata.get("annotations") or {}
        actor = annotations.get("kargo.akuity.io/create-actor", "")
        begun = [item["alias"] for item in status.get("stepExecutionMetadata") or [] if item.get("status") != "Skipped"]
        return cls(
            promotion=metadata["name"],
            stage=spec["stage"],
            freight=aliases.get(spec.get("freight", ""), ""),
            freight_name=spec.get("freight", ""),
            phase=status.get("phase", "Pending"),
            step=begun[-1] if begun else "",
            message=status.get("message", ""),
            actor=actor,
            requester=actor.removeprefix("kubernetes:"),
            reason=annotations.get(REASON, ""),
            emergency=annotations.get(EMERGENCY, ""),
            rolled_back_from=annotations.get(ROLLED_BACK_FROM, ""),
            commit=_output(status, "push", "commit"),
            opens_pull_request=any(item.get("uses") == "git-open-pr" for item in spec.get("steps") or []),
            pull_request=_pull_request_number(status.get("state") or {}),
            created=created,
            seconds=(time_of(finished) - created).total_seconds() if finished else None,
        )

    @property
    def finished(self) -> datetime:
        """When it came to its end; only of one that has."""
        assert self.seconds is not None, f"{self.promotion} runs"
        return self.created + timedelta(seconds=self.seconds)

    @property
    def done(self) -> bool:
        """Whether it has come to an end."""
        return self.phase in FINAL


class PromotionTable(Table[Promotion]):
    """Promotions of the lab's Project, newest first."""

    title = "Promotions"
    columns = ("promotion", "stage", "freight", "phase", "step", "actor", "seconds", "message", "reason")


def _output(status: Mapping[str, Any], step: str, name: str) -> str:
    output = (status.get("state") or {}).get(step)
    return str(output.get(name, "")) if isinstance(output, Mapping) else ""


def _pull_request_number(state: Mapping[str, Any]) -> int:
    for output in state.values():
        if isinstance(output, Mapping) and isinstance(output.get("pr"), Mapping):
            return int(output["pr"]["id"])
    return 0


def promotion_table(lab: Lab, stage: str | None = None) -> PromotionTable:
    """The Promotions of the lab's Project, or of one Stage, newest first."""
    project = lab.project_of(stage) if stage else PROJECT
    aliases = freight_aliases(lab, project=project)
    found = kube(lab, lab.control).list(
        KARGO_API, "Promotion", project, selector=f"{STAGE_LABEL}={stage}" if stage else None
    )
    rows = [Promotion.from_manifest(item, aliases) for item in found]
    return PromotionTable(tuple(sorted(rows, key=lambda row: (row.created, row.promotion), reverse=True)))


def get_promotion(lab: Lab, name: str) -> Promotion:
    """One Promotion of the lab's Project."""
    manifest = kube(lab, lab.control).need(KARGO_API, "Promotion", name, PROJECT)
    return Promotion.from_manifest(manifest, freight_aliases(lab))


def request_promotion(
    lab: Lab,
    stage: str,
    freight: Freight | None,
    *,
    as_user: str = "",
    reason: str = "",
    emergency: str = "",
    rolled_back_from: str = "",
) -> Promotion:
    """Ask for a Promotion; Kargo's admission fills in its name and steps, or refuses.

    Args:
        lab: The lab.
        stage: The Stage that is to take the Freight.
        freight: The Freight; what the Stage would take by itself where none is given.
        as_user: Who asks (Kubernetes impersonation); the lab's requester where nobody is named.
        reason: Why, where that is worth keeping.
        emergency: Why it may pass a freeze.
        rolled_back_from: Name of the Freight that is left behind, where this is a rollback.

    Returns:
        The Promotion, just created.

    Raises:
        LabError: Kargo refused it; `seen` holds Kargo's own words.
    """
    marks = {REASON: reason, EMERGENCY: emergency, ROLLED_BACK_FROM: rolled_back_from}
    wanted = {"freight": freight.name} if freight else {"origin": {"kind": "Warehouse", "name": WAREHOUSE}}
    manifest = kube(lab, lab.control, as_user=as_user or rules().requester).create(
        {
            "apiVersion": KARGO_API,
            "kind": "Promotion",
            "metadata": {
                "generateName": f"{stage}-",
                "namespace": PROJECT,
                "annotations": {key: value for key, value in marks.items() if value},
            },
            "spec": {"stage": stage, **wanted},
        }
    )
    return Promotion.from_manifest(manifest, freight_aliases(lab))


def ensure_promotion(lab: Lab, stage: str, freight: Freight, *, emergency: str = "") -> Promotion:
    """The Promotion that brings a Freight to a Stage: the one under way or done, else a new one.

    Args:
        lab: The lab.
        stage: The Stage.
        freight: The Freight.
        emergency: Why a new one may pass a freeze; it is recorded.

    Returns:
        The Promotion, once it is done or waits for its pull request to be merged.
    """
    for promotion in promotion_table(lab, stage):
        if promotion.freight_name == freight.name and promotion.phase not in ("Failed", "Errored", "Aborted"):
            return wait_for_promotion(lab, promotion, until_pull_request=True)
    return wait_for_promotion(lab, request_promotion(lab, stage, freight, emergency=emergency), until_pull_request=True)


@dataclass(frozen=True)
class Refusal:
    """A Promotion that Kargo's admission refused, in Kargo's own words."""

    stage: str
    freight: str
    words: str

    def __str__(self) -> str:
        return f"Promotion of Freight {self.freight} to {self.stage} was refused: {self.words}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return (
            f"<p><b>Promotion of Freight {self.freight} to {self.stage} was refused:</b> {html.escape(self.words)}</p>"
        )


def try_promotion(
    lab: Lab, stage: str, freight: Freight, *, as_user: str = "", emergency: str = ""
) -> Promotion | Refusal:
    """Ask for a Promotion that may be refused.

    Args:
        lab: The lab.
        stage: The Stage that is to take the Freight.
        freight: The Freight.
        as_user: Who asks; the lab's requester where nobody is named.
        emergency: Why it may pass a freeze.

    Returns:
        The Promotion, or Kargo's refusal.
    """
    try:
        return request_promotion(lab, stage, freight, as_user=as_user, emergency=emergency)
    except LabError as error:
        return Refusal(stage, freight.alias, error.seen)


def freight_to_promote(lab: Lab, source: str, target: str) -> Freight:
    """The Freight that `--from source --to target` means: what runs in `source` now.

    Raises:
        UsageError: `target` does not take Freight from `source`, or `source` has none.
    """
    upstream = find_stage(lab, target).takes_from
    if source not in upstream:
        raise UsageError(
            f"Stage {target} does not take Freight from {source}",
            todo=f"it takes it from: {', '.join(upstream)}",
        )
    current = find_stage(lab, source).freight_name
    if not current:
        raise UsageError(f"Stage {source} has no Freight yet", todo="`labkit deploy` brings the demo app there")
    return find_freight(lab, current)


def wait_for_promotion(
    lab: Lab, promotion: Promotion, *, until_pull_request: bool = False, timeout: float | None = None
) -> Promotion:
    """Wait until a Promotion has succeeded, or has opened its pull request.

    Args:
        lab: The lab.
        promotion: The Promotion.
        until_pull_request: Whether an open pull request is enough.
        timeout: Seconds to wait; the lab's limit for a Promotion where none is given.

    Raises:
        LabError: It failed; says at which step and why.
    """

    def ready(now: Promotion) -> bool:
        return now.phase == "Succeeded" or (until_pull_request and now.pull_request > 0 and not now.done)

    until = "open its pull request" if until_pull_request and promotion.opens_pull_request else "be through"
    return wait_for(
        f"Promotion {promotion.promotion} to {until}",
        lambda: get_promotion(lab, promotion.promotion),
        ready,
        failed=lambda now: now.done and now.phase != "Succeeded",
        describe=lambda now: " ".join(filter(None, (now.phase, now.step and f"at step {now.step}", now.message))),
        timeout=timeout or lab.limits.promotion_seconds,
        todo=f"`kubectl --context {lab.control.context} -n {PROJECT} describe promotion {promotion.promotion}`",
    )


def wait_for_pull_request(lab: Lab, promotion: Promotion) -> Promotion:
    """Wait until a Promotion has opened its pull request; until it is done, where it opens none."""
    return wait_for_promotion(lab, promotion, until_pull_request=True)


def refresh_promotion(lab: Lab, promotion: Promotion) -> None:
    """Ask Kargo to look at a waiting Promotion now."""
    refresh(lab, "Promotion", promotion.promotion)


def waiting_promotion(lab: Lab, stage: str) -> Promotion:
    """The Promotion of a Stage that waits for its pull request.

    Raises:
        LabError: None waits.
    """
    for promotion in promotion_table(lab, stage):
        if not promotion.done and promotion.pull_request:
            return promotion
    raise LabError(
        f"No Promotion of {stage} waits for approval",
        todo=f"`labkit promote --from pre --to {stage}` asks for one",
    )
