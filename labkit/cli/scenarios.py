"""Commands that tell a whole story, each in one call."""

from __future__ import annotations

import click

from labkit.cli.shared import cli, output, show
from labkit.config import load_lab
from labkit.lock import changing


@cli.group()
def scenario() -> None:
    """Whole stories on the running lab: what happens, what is measured, what is left."""


@scenario.command()
@click.option("--defect", default="failing-names", show_default=True, help="As in `labkit defect list`.")
@output
def rollback(defect: str, output: str) -> None:
    """A defect that only PROD shows: page, automatic rollback, fix through the whole pipeline."""
    # Tables take longer to import than all else together, and most commands do without.
    from labkit.scenarios.rollback import rollback_story

    lab = load_lab()
    with changing(lab):
        show(rollback_story(lab, defect=defect), output)


@scenario.command()
@click.option("--feature", default="gift wrapping", show_default=True, help="What is new; the page announces it.")
@output
def feature(feature: str, output: str) -> None:
    """A branch with its preview, and its release through DEV and PRE to PROD."""
    from labkit.scenarios.feature import feature_story

    lab = load_lab()
    with changing(lab):
        show(feature_story(lab, feature=feature), output)


@scenario.command()
@click.option("--reason", default="orders put markup on everybody's page", show_default=True, help="Why at once.")
@output
def hotfix(reason: str, output: str) -> None:
    """What PROD runs with a fix in it, by the short way, and the fix into the main line."""
    from labkit.scenarios.hotfix import hotfix_story

    lab = load_lab()
    with changing(lab):
        show(hotfix_story(lab, reason=reason), output)


@scenario.command()
@output
def told(output: str) -> None:
    """The stories that were told on this lab, and what the records say of each."""
    from labkit.scenarios.told import told_stories

    show(told_stories(load_lab()), output)
