"""`labkit report`: the lab in one page, and the record of one Promotion."""

from __future__ import annotations

from pathlib import Path

import click

from labkit import promotion
from labkit.cli.shared import cli, output, show
from labkit.config import load_lab


@cli.group(invoke_without_command=True)
@click.option("--output", "file", type=click.Path(path_type=Path, dir_okay=False), help="Where to write the page.")
@click.option("--minutes", default=15.0, show_default=True, help="How far back what was measured is drawn.")
@click.option("--hours", default=24.0, show_default=True, help="The window of the delivery metrics.")
@click.option(
    "--pictures", type=click.Path(path_type=Path, file_okay=False), help="Write a few charts as pictures here instead."
)
@click.pass_context
def report(context: click.Context, file: Path | None, minutes: float, hours: float, pictures: Path | None) -> None:
    """The lab in one page that opens offline: its state, all charts, delivery metrics, incidents."""
    if context.invoked_subcommand:
        return
    # Tables and charts take longer to import than all else together, and most commands do without.
    from labkit.report import write_pictures, write_report

    lab = load_lab()
    if pictures:
        for picture in write_pictures(lab, pictures):
            click.echo(picture)
        return
    click.echo(write_report(lab, file or lab.home.report, minutes=minutes, hours=hours))


@report.command("promotion")
@click.argument("name")
@output
def report_promotion(name: str, output: str) -> None:
    """The evidence of one Promotion: who, what, from, gates, approver, durations."""
    lab = load_lab()
    record = promotion.evidence(lab, name)
    page = promotion.write_evidence(lab, record)
    show(record, output)
    click.echo(f"Written: {page} and {page.with_suffix('.json').name}", err=True)
