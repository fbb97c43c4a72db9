"""Who decides what about a promotion, and what the lab does by itself: `data/rules.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import yaml

from labkit.paths import DATA

# The commit statuses that Gitea requires for a merge into a gated branch.
VALIDATED = "gate/validated"
APPROVED = "gate/approved"
GATES = (VALIDATED, APPROVED)


@dataclass(frozen=True)
class Gate:
    """What has to hold before a pull request into a Stage's branch may be merged.

    Attributes:
        stage: The Stage whose branch it guards.
        validation_stage: The Stage in which the Freight's manual validation is signed off.
        validators: Who may sign off.
        approvers: Who may approve, unless they asked for the Promotion.
        robot: Needs neither for Freight that was verified in `stage` before.
    """

    stage: str
    validation_stage: str
    validators: tuple[str, ...]
    approvers: tuple[str, ...]
    robot: str


@dataclass(frozen=True)
class AutomaticRollback:
    """When a Stage is rolled back without anybody asking.

    Attributes:
        stage: The Stage.
        after: What goes wrong: `verification`, `health`.
        settle_seconds: How long the trouble must have lasted.
        maximum_age_minutes: How long after the Promotion trouble is blamed on it.
    """

    stage: str
    after: tuple[str, ...]
    settle_seconds: int
    maximum_age_minutes: int


@dataclass(frozen=True)
class Rules:
    """The rules of the lab.

    Attributes:
        requester: Asks for Promotions, where nobody else is named.
        validator: Signs off, where nobody else is named.
        approver: Approves and merges, where nobody else is named.
        rollback_bot: The robot that rolls back.
        gates: The gate of each Stage that has one.
        automatic_rollback: The rule of each Stage that has one.
    """

    requester: str
    validator: str
    approver: str
    rollback_bot: str
    gates: Mapping[str, Gate]
    automatic_rollback: Mapping[str, AutomaticRollback]

    @property
    def validation_stages(self) -> frozenset[str]:
        """The Stages in which somebody's sign-off is a gate further on."""
        return frozenset(gate.validation_stage for gate in self.gates.values())


@cache
def rules() -> Rules:
    """The rules as `data/rules.yaml` states them."""
    data = yaml.safe_load((DATA / "rules.yaml").read_text())
    people, automatic = data["people"], data["automaticRollback"]
    return Rules(
        requester=people["requests"],
        validator=people["validates"],
        approver=people["approves"],
        rollback_bot=automatic["by"],
        gates={
            stage: Gate(
                stage=stage,
                validation_stage=gate["validated"]["stage"],
                validators=tuple(gate["validated"]["by"]),
                approvers=tuple(gate["approved"]["by"]),
                robot=gate["preAuthorised"]["requester"],
            )
            for stage, gate in data["gates"].items()
        },
        automatic_rollback={
            stage: AutomaticRollback(
                stage=stage,
                after=tuple(rule["after"]),
                settle_seconds=automatic["settleSeconds"],
                maximum_age_minutes=automatic["maximumAgeMinutes"],
            )
            for stage, rule in automatic["stages"].items()
        },
    )
