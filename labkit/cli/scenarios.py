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
