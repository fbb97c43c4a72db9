"""Commands on what is measured: what has reached whom, taking a page, the demo app's log, building the dashboards."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import click

from labkit.cli.shared import cli, output, show
from labkit.config import load_lab
from labkit.observability.dashboards import FOLDER, write_dashboards
from labkit.observability.events import read_events
from labkit.observability.pages import acknowledge as acknowledge_page
from labkit.observability.pages import notice_table


@cli.command()
@output
def pages(output: str) -> None:
    """What the pager has received: pages of PROD, messages of PRE, lines of DEV."""
    show(notice_table(load_lab()), output)


@cli.command()
@click.argument("alert")
@click.option("--as", "person", default="", help="Who takes it; whoever was called last where nobody is named.")
@output
def acknowledge(alert: str, person: str, output: str) -> None:
    """Take a page, so that nobody else is called for it."""
    show(acknowledge_page(load_lab(), alert, by=person), output)


_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _seconds(context: click.Context, parameter: click.Parameter, value: str) -> int:
    found = re.fullmatch(r"([0-9]{1,9})([smhd])", value)
    if value and not found:
        raise click.BadParameter(f"{value!r} is no time such as 90s, 10m, 2h or 1d")
    return int(found[1]) * _SECONDS[found[2]] if found else 0


@cli.command("app-logs")
@click.argument("environment")
@click.option("--tier", default="", help="One of the tiers; all of them where none is named.")
@click.option("--level", default="", help="Lines of this level (debug, info, warning, error), and of more urgent ones.")
@click.option("--since", default="", callback=_seconds, help="How far to look back: 90s, 10m, 2h, …")
@click.option("--request-id", default="", help="Lines about this request, in all tiers.")
@click.option("--lines", default=100, show_default=True, type=click.IntRange(min=1), help="How many of the last lines.")
@output
def app_logs(environment: str, tier: str, level: str, since: int, request_id: str, lines: int, output: str) -> None:
    """The last lines that the demo app's pods have written, of all tiers in order of time."""
    # Tables take longer to import than all else together, and most commands do without.
    from labkit.observability.logs import app_logs as read_logs

    found = read_logs(
        load_lab(),
        environment,
        tier=tier,
        level=level,
        since_seconds=since,
        request_id=request_id,
        limit=lines,
    )
    if output == "json":
        rows = found.astype(object).where(found.notna(), None).to_dict("records")
        click.echo(json.dumps(rows, indent=2, default=lambda time: time.isoformat()))
        return
    if found.empty:
        click.echo("There are no such lines", err=True)
    for row in found.itertuples():
        click.echo(f"{row.pod}  {row.text}")


@cli.command()
@click.option(
    "--since", "minutes", default=0, type=click.FloatRange(min=0), help="How many minutes to look back; all where 0."
)
@output
def timeline(minutes: float, output: str) -> None:
    """What has happened, in order of time: Git, CI, Kargo, verification, Argo CD, alerts."""
    since = datetime.now(UTC) - timedelta(minutes=minutes) if minutes else None
    show(read_events(load_lab(), since=since), output)


@cli.group()
def dashboards() -> None:
    """Grafana's dashboards."""


@dashboards.command("build")
@output
def dashboards_build(output: str) -> None:
    """Write the dashboards' JSON files anew, from the panels that labkit has."""
    files = [str(file) for file in write_dashboards(load_lab(), FOLDER)]
    click.echo(json.dumps(files, indent=2) if output == "json" else "\n".join(files))
