"""Commands on what is measured: what has reached whom, taking a page, building the dashboards."""

from __future__ import annotations

import json

import click

from labkit.cli.shared import cli, output, show
from labkit.config import load_lab
from labkit.observability.dashboards import FOLDER, write_dashboards
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


@cli.group()
def dashboards() -> None:
    """Grafana's dashboards."""


@dashboards.command("build")
@output
def dashboards_build(output: str) -> None:
    """Write the dashboards' JSON files anew, from the panels that labkit has."""
    files = [str(file) for file in write_dashboards(load_lab(), FOLDER)]
    click.echo(json.dumps(files, indent=2) if output == "json" else "\n".join(files))
