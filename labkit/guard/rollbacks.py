"""Automatic rollback, by the rules in `data/rules.yaml`: Kargo itself has none.

Source: `autoRollback` is ignored by open-source Kargo v1.11.2.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta

from labkit.config import Lab
from labkit.delivery.gitea import gitea_as
from labkit.errors import UsageError
from labkit.promotion.approval import merge_pull_request
from labkit.promotion.freight import time_of
from labkit.promotion.gate import gate_table
from labkit.promotion.promotion import Promotion, promotion_table
from labkit.promotion.pull_request import REPO, get_pull_request
from labkit.promotion.rollback import freight_to_roll_back_to, request_rollback
from labkit.promotion.stage import Stage, stage_table
from labkit.promotion.verification import Verification, measured_since, request_verification, verification_table
from labkit.rules import GATES, AutomaticRollback, rules

log = logging.getLogger("labkit.guard")


def trouble(
    stage: Stage, newest: Promotion, verification: Verification | None, rule: AutomaticRollback, now: datetime
) -> str:
    """What is wrong with a Stage that its newest Promotion is to blame for; empty where nothing is.

    Args:
        stage: The Stage.
        newest: Its newest Promotion.
        verification: The newest verification of what it runs.
        rule: The Stage's rule.
        now: The time, with its zone.
    """
    if stage.promoting or newest.phase != "Succeeded" or newest.freight_name != stage.freight_name:
        return ""
    if newest.rolled_back_from:
        return ""  # never a rollback of a rollback
    if now - newest.finished > timedelta(minutes=rule.maximum_age_minutes):
        return ""
    if "verification" in rule.after and verification is not None and verification.phase == "Failed":
        return f"Freight {stage.freight} failed its verification: {verification.message or verification.phase}"
    sick = [word for word in stage.applications if word in ("Degraded", "Missing")]
    if "health" in rule.after and stage.health == "Unhealthy" and sick:
        return f"Freight {stage.freight} made the Application {sick[0]}"
    return ""


class AutomaticRollbacks:
    """Watches the Stages that have a rule, and takes them back when a Promotion turns out bad."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._settled: set[str] = set()

    def look(self, lab: Lab) -> None:
        """One look at all Stages that have a rule, and at the rollbacks under way."""
        stages = {row.stage: row for row in stage_table(lab)}
        promotions = promotion_table(lab)
        for name, rule in rules().automatic_rollback.items():
            newest = next((row for row in promotions if row.stage == name), None)
            if name in stages and newest is not None and newest.promotion not in self._settled:
                self._judge(lab, stages[name], newest, rule)
        for promotion in promotions:
            if promotion.requester == rules().rollback_bot:
                self._finish(lab, promotion, stages[promotion.stage])

    def _judge(self, lab: Lab, stage: Stage, newest: Promotion, rule: AutomaticRollback) -> None:
        verification = next(iter(verification_table(lab, stage.stage, freight_name=stage.freight_name)), None)
        found = trouble(stage, newest, verification, rule, datetime.now(UTC))
        if not found:
            self._since.pop(newest.promotion, None)
            return
        since = self._since.setdefault(newest.promotion, time.monotonic())
        if time.monotonic() - since < rule.settle_seconds:
            return
        self._settled.add(newest.promotion)
        try:
            freight = freight_to_roll_back_to(lab, stage.stage)
        except UsageError as error:
            log.error("%s: %s, and there is nothing to go back to: %s", stage.stage, found, error)
            return
        reason = f"automatic rollback: {found}"
        log.warning("%s: %s; going back to Freight %s", stage.stage, reason, freight.alias)
        request_rollback(lab, stage.stage, freight, as_user=rules().rollback_bot, reason=reason)

    def _finish(self, lab: Lab, rollback: Promotion, stage: Stage) -> None:
        """Merge the pull request once its gates let it pass; have what came back verified afresh."""
        if not rollback.done:
            if rollback.pull_request and _may_merge(lab, rollback):
                merge_pull_request(lab, rollback, as_user=rules().rollback_bot)
            return
        runs_there = stage.last_promotion == rollback.promotion and not stage.promoting
        if rollback.phase == "Succeeded" and runs_there and rollback.promotion not in self._settled:
            self._verify_afresh(lab, rollback)

    def _verify_afresh(self, lab: Lab, rollback: Promotion) -> None:
        newest = next(iter(verification_table(lab, rollback.stage, freight_name=rollback.freight_name)), None)
        if newest is None or time_of(newest.started) < rollback.finished:
            return  # Kargo has not come to it yet
        self._settled.add(rollback.promotion)
        if not measured_since(lab, newest, rollback.finished):
            request_verification(lab, rollback.stage)


def _may_merge(lab: Lab, promotion: Promotion) -> bool:
    """Whether Gitea shows that the gates let it pass, and they still do."""
    pull = get_pull_request(lab, promotion.pull_request)
    if pull.state != "open":
        return False
    shown = gitea_as(lab, "viewer").commit_statuses(REPO, pull.head)
    return all(shown.get(gate) == "success" for gate in GATES) and gate_table(lab, promotion).open
