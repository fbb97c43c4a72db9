"""`labkit board`: the live pipeline board as a page."""

from __future__ import annotations

import click

from labkit.cli.shared import cli
from labkit.config import load_lab
from labkit.progress import step
from labkit.promotion import stage_table


@cli.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Where to serve it; a port of the lab where none is given.")
def board(port: int | None) -> None:
    """The pipeline with buttons, as a page in the browser; Ctrl-C ends it."""
    lab = load_lab()
    with step("Start the board", expect=10):
        stage_table(lab)  # a lab that does not run says so here
        # Jupyter's server takes longer to import than all else together, and no other command needs it.
        from labkit.pipeline.page import serve_board

    serve_board(lab, port or lab.port("board"), ready=lambda url: click.echo(f"{url}\nCtrl-C ends it."))
