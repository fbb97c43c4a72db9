"""What every command shares: the root, how results are shown, who acts."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import click
from rich.console import Console

out = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
output = click.option("--output", type=click.Choice(["text", "json"]), default="text", help="For people or programs.")

as_user = click.option("--as", "person", default="", help="Who acts: developer, qa, release-manager, …")


def show(shown: Any, output: str) -> None:
    """Show a result to people or to programs."""
    if output == "json":
        click.echo(json.dumps(shown.as_json(), indent=2, default=str))
    else:
        out.print(shown)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-v", "--verbose", is_flag=True, help="Log every change that is waited for.")
def cli(verbose: bool) -> None:
    """A lab for promoting with Kargo and Argo CD through DEV, PRE and PROD."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("labkit").setLevel(logging.INFO if verbose else logging.WARNING)
