"""A dashboard drawn: the charts of its panels in its rows, from what Prometheus has measured.

`python -m labkit.observability.board UID`, a program that the lab's dashboards service runs for each page. It is one of
its own since drawing needs three times the memory of all else that the service does.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from labkit.config import Lab, load_lab
from labkit.errors import LabError
from labkit.observability.figures import panel_figure
from labkit.observability.panels import DashboardPlan, Panel, find_dashboard
from labkit.observability.series import panel_frame
from labkit.templates import render
from labkit.theme import as_html


@dataclass(frozen=True)
class Block:
    """A part of a page: a chart or a table as HTML, and what one sees there."""

    html: str
    about: str = ""


@dataclass(frozen=True)
class BoardRow:
    """Blocks side by side, under a title."""

    title: str
    blocks: tuple[Block, ...]


def board_rows(
    lab: Lab, plan: DashboardPlan, *, environment: str = "prod", minutes: float = 15
) -> tuple[BoardRow, ...]:
    """A dashboard's panels as charts, row by row.

    Args:
        lab: The lab; Prometheus runs.
        plan: The dashboard.
        environment: Which one, where the dashboard shows one at a time.
        minutes: How far back.

    Raises:
        LabError: Prometheus does not answer, or refuses a query.
        UsageError: There is no such environment.
    """
    colours = {item.name: item.colour for item in lab.environments}
    # Prometheus answers queries side by side; plotly draws one chart after another.
    with ThreadPoolExecutor(max_workers=4) as pool:
        frames = dict(pool.map(lambda panel: (panel.title, panel_frame(lab, panel, environment, minutes)), plan.panels))

    def drawn(panels: tuple[Panel, ...]) -> Iterator[Block]:
        for panel in panels:
            yield Block(as_html(panel_figure(panel, frames[panel.title], colours)), panel.description)

    return tuple(BoardRow(row.title, tuple(drawn(row.panels))) for row in plan.rows)


def main() -> int:
    """Write a dashboard's page to standard output.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong usage.
    """
    parser = argparse.ArgumentParser(prog="python -m labkit.observability.board")
    parser.add_argument("dashboard", help="its uid, such as cluster-overview")
    parser.add_argument("--environment", default="prod", help="which one, where it shows one at a time")
    parser.add_argument("--minutes", type=float, default=15, help="how far back")
    given = parser.parse_args()
    lab = load_lab()
    try:
        plan = find_dashboard(given.dashboard)
        rows = board_rows(lab, plan, environment=given.environment, minutes=given.minutes)
    except LabError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    page = render(
        "report/board.html",
        plan=plan,
        rows=rows,
        environment=given.environment,
        environments=[item.name for item in lab.environments] if plan.asks_for_environment else [],
        minutes=given.minutes,
        when=datetime.now().astimezone().strftime("%H:%M:%S"),
    )
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
