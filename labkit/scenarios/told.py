"""Stories that were told on a lab, however they were: found in what Git and Kargo have recorded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from labkit.config import HOTFIX, PRODUCTION, Lab
from labkit.delivery.branches import commit_time, merged_branches
from labkit.delivery.tags import FEATURE_BRANCHES
from labkit.promotion import freight_table, promotion_table
from labkit.rules import rules
from labkit.scenarios.feature import feature_facts
from labkit.scenarios.hotfix import hotfix_commit, hotfix_facts
from labkit.scenarios.rollback import rollback_facts
from labkit.scenarios.story import FactTable
from labkit.tables import Table, as_text

NEWEST = 3


@dataclass(frozen=True)
class Told:
    """A story that was told.

    Attributes:
        story: Which of the three.
        about: What it was about.
        began: When its commit was made; of a rollback, when the Promotion was asked for that was taken back.
        facts: What the records say of it.
    """

    story: str
    about: str
    began: datetime
    facts: FactTable

    @property
    def measured(self) -> str:
        """The facts in a line."""
        return ", ".join(f"{row.fact} {row.value:g} {row.unit}" for row in self.facts)


class ToldTable(Table[Told]):
    """The stories that were told, newest first."""

    title = "Stories"
    columns = ("story", "about", "began", "measured")


def told_stories(lab: Lab, *, newest: int = NEWEST) -> ToldTable:
    """The stories that were told on a lab, with what was measured of each.

    A feature is a pull request that merged a feature branch; a hotfix is Freight with a build of a branch that Stage
    `hotfix` has taken; a rollback is one of PROD that nobody has asked for.

    Args:
        lab: The lab, with its Stages.
        newest: How many of each kind at most.

    Raises:
        LabError: Kargo, Gitea, Prometheus or the pager does not answer.
    """
    found = (*_features(lab, newest), *_hotfixes(lab, newest), *_rollbacks(lab, newest))
    return ToldTable(tuple(sorted(found, key=lambda told: told.began, reverse=True)))


def _features(lab: Lab, newest: int) -> Iterator[Told]:
    for merge in merged_branches(lab, FEATURE_BRANCHES)[:newest]:
        yield Told("feature", merge.title, commit_time(lab, merge.head), feature_facts(lab, merge))


def _hotfixes(lab: Lab, newest: int) -> Iterator[Told]:
    freight = {item.name: item for item in freight_table(lab)}
    taken = dict.fromkeys(row.freight_name for row in promotion_table(lab, HOTFIX) if row.phase == "Succeeded")
    fixes = [freight[name] for name in taken if name in freight and hotfix_commit(freight[name])]
    for fix in fixes[:newest]:
        about = f"Freight {fix.alias}: {as_text(fix.versions)}"
        yield Told("hotfix", about, commit_time(lab, hotfix_commit(fix)), hotfix_facts(lab, fix))


def _rollbacks(lab: Lab, newest: int) -> Iterator[Told]:
    freight = {item.name: item for item in freight_table(lab)}
    promotions = [row for row in promotion_table(lab, PRODUCTION) if row.phase == "Succeeded"]
    robot = rules().rollback_bot
    undone = [row for row in promotions if row.rolled_back_from in freight and row.requester == robot]
    for broken in list(dict.fromkeys(row.rolled_back_from for row in undone))[:newest]:
        brought = max(row.created for row in promotions if row.freight_name == broken)
        yield Told("rollback", f"from Freight {freight[broken].alias}", brought, rollback_facts(lab, freight[broken]))
