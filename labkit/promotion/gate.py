"""The gates of a Promotion that waits for its pull request: what has to hold before anybody may merge it.

Each gate is computed from what people did, and published as a commit status that Gitea requires for a merge.
"""

from __future__ import annotations

from dataclasses import dataclass

from labkit.config import Lab
from labkit.delivery.gitea import gitea_as
from labkit.promotion.freight import find_freight
from labkit.promotion.promotion import Promotion
from labkit.promotion.pull_request import REPO, get_pull_request
from labkit.promotion.validation import validation_of
from labkit.rules import APPROVED, GATES, VALIDATED, Gate, rules
from labkit.tables import Record, Table


@dataclass(frozen=True, repr=False)
class GateState(Record):
    """One gate of one Promotion.

    Attributes:
        gate: The context of its commit status.
        state: `success`, `pending` or `failure`, as Gitea calls them.
        by: Who opened or closed it.
        why: One line.
    """

    gate: str
    state: str
    by: str
    why: str


class GateTable(Table[GateState]):
    """The gates of a Promotion."""

    title = "Gates"
    columns = ("gate", "state", "by", "why")

    @property
    def open(self) -> bool:
        """Whether nothing stands in the way of a merge."""
        return all(row.state == "success" for row in self.rows)


def gate_table(lab: Lab, promotion: Promotion) -> GateTable:
    """The gates of a Promotion, computed from what people did; empty where its Stage has none, or it opened none."""
    gate = rules().gates.get(promotion.stage)
    if gate is None:
        return GateTable(())
    if not promotion.pull_request:
        return GateTable(())
    head = get_pull_request(lab, promotion.pull_request).head
    if head != promotion.commit:
        why = f"commit {head[:7]} is not what the Promotion pushed"
        return GateTable(tuple(GateState(name, "failure", "", why) for name in GATES))
    if _pre_authorised(lab, gate, promotion):
        why = f"a rollback to Freight that was verified in {gate.stage} before"
        return GateTable(tuple(GateState(name, "success", gate.robot, why) for name in GATES))
    return GateTable((_validated(lab, gate, promotion), _approved(lab, gate, promotion)))


def _pre_authorised(lab: Lab, gate: Gate, promotion: Promotion) -> bool:
    return promotion.requester == gate.robot and gate.stage in find_freight(lab, promotion.freight_name).verified_in


def _validated(lab: Lab, gate: Gate, promotion: Promotion) -> GateState:
    said = validation_of(lab, gate.validation_stage, promotion.freight_name)
    if said is None:
        why = f"{' or '.join(gate.validators)} has not signed it off in {gate.validation_stage}"
        return GateState(VALIDATED, "pending", "", why)
    return GateState(VALIDATED, said.state, said.by, said.words)


def _approved(lab: Lab, gate: Gate, promotion: Promotion) -> GateState:
    """The last word of each reviewer counts, and the requester's never."""
    path = f"/repos/{REPO}/pulls/{promotion.pull_request}/reviews"
    last = {
        review["user"]["login"]: review["state"]
        for review in gitea_as(lab, "viewer").request("GET", path)
        if review["state"] in ("APPROVED", "REQUEST_CHANGES") and not review["dismissed"]
    }
    for person, word in last.items():
        if word == "REQUEST_CHANGES":
            return GateState(APPROVED, "failure", person, f"{person} asks for changes")
    approvers = [name for name, word in last.items() if word == "APPROVED" and name in gate.approvers]
    others = [name for name in approvers if name != promotion.requester]
    if others:
        return GateState(APPROVED, "success", others[0], f"approved by {others[0]}, requested by {promotion.requester}")
    if approvers:
        why = f"{promotion.requester} requested this Promotion: another person has to approve it"
        return GateState(APPROVED, "failure", promotion.requester, why)
    return GateState(APPROVED, "pending", "", f"{' or '.join(gate.approvers)} has not approved it")
