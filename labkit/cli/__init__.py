"""`labkit`, the lab in a terminal. Exit codes: 0 done, 1 failed, 2 wrong usage."""

from __future__ import annotations

import sys

import click

from labkit.cli import board, lab, observability, promotions, reports, scenarios
from labkit.cli.shared import cli
from labkit.errors import LabError

# Importing these modules is what gives `cli` its commands.
__all__ = ["board", "cli", "lab", "main", "observability", "promotions", "reports", "scenarios"]


def main() -> None:
    """Run the command line; failures end with one clear message."""
    try:
        cli.main(standalone_mode=False)
    except LabError as error:
        click.echo(f"labkit: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("labkit: stopped; `labkit up` goes on from here, `labkit down` stops what runs", err=True)
        sys.exit(1)
