"""Pull requests into a gated branch: what they change is written into them, and each gate is a commit status."""

from __future__ import annotations

import logging

from labkit.config import GATE_BOT, Lab
from labkit.delivery.gitea import gitea_as
from labkit.guard.pull_request_text import full_text
from labkit.promotion.gate import gate_table
from labkit.promotion.promotion import Promotion, promotion_table
from labkit.promotion.pull_request import REPO, PullRequest, open_pull_requests
from labkit.rules import GATES, rules

log = logging.getLogger("labkit.guard")


def publish_gates(lab: Lab) -> None:
    """Bring the texts and gates of all open pull requests into a gated branch up to date."""
    branches = {lab.destination(stage).branch for stage in rules().gates}
    waiting = [pull for pull in open_pull_requests(lab) if pull.target in branches]
    if not waiting:
        return
    promotions = {row.pull_request: row for row in promotion_table(lab) if row.pull_request}
    for pull in waiting:
        promotion = promotions.get(pull.number)
        if promotion is not None and promotion.promotion == pull.promotion:
            _explain(lab, pull, promotion)
            _publish(lab, pull, {row.gate: (row.state, row.why) for row in gate_table(lab, promotion)})
        elif not pull.promotion:
            _publish(lab, pull, dict.fromkeys(GATES, ("failure", "no Promotion opened this pull request")))
        # Else Kargo has opened it, and is about to say so.


def _publish(lab: Lab, pull: PullRequest, gates: dict[str, tuple[str, str]]) -> None:
    gitea = gitea_as(lab, GATE_BOT)
    shown = {
        status["context"]: (status["status"], status["description"], (status["creator"] or {}).get("login"))
        for status in gitea.request("GET", f"/repos/{REPO}/commits/{pull.head}/status")["statuses"] or []
    }
    for gate, (state, why) in gates.items():
        # A status that another account has set is overwritten: who may write to the repo could forge one.
        if shown.get(gate) != (state, why, GATE_BOT):
            log.info("pull request %s: %s is %s: %s", pull.number, gate, state, why)
            gitea.set_commit_status(REPO, pull.head, gate, state, why, pull.url)


def _explain(lab: Lab, pull: PullRequest, promotion: Promotion) -> None:
    text = full_text(lab, pull, promotion)
    if text != pull.text:
        gitea_as(lab, GATE_BOT).request("PATCH", f"/repos/{REPO}/pulls/{pull.number}", {"body": text})
