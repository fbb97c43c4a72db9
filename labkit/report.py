"""The HTML report: how the lab is, all its charts, and of a run what was executed. Opens offline."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import plotly.graph_objects as go
import plotly.offline
import yaml
from nbconvert import HTMLExporter

from labkit.charts import pipeline_chart
from labkit.config import Lab
from labkit.drift import drift_chart, drift_figure, drift_frame
from labkit.errors import LabError
from labkit.kube import UNREACHABLE
from labkit.observability.board import Block, BoardRow, board_rows
from labkit.observability.delivery import read_incidents
from labkit.observability.pages import notice_table
from labkit.observability.panels import DashboardPlan, dashboard_plans
from labkit.observability.versions import version_chart
from labkit.observability.views import delivery_frame, latency_chart, promotion_chart
from labkit.progress import step
from labkit.quantities import duration
from labkit.scenarios.told import told_stories
from labkit.status import lab_status
from labkit.templates import render
from labkit.theme import as_html

_PLOTLY = "application/vnd.plotly.v1+json"
_WIDGET = "application/vnd.jupyter.widget-view+json"
_TIME = "%Y-%m-%d %H:%M:%S"
_PICTURE_WIDTH = 900
_PICTURE_SCALE = 1.5


@dataclass(frozen=True)
class NotebookRun:
    """One executed notebook.

    Attributes:
        notebook: Its name without the ending.
        file: The executed copy.
        seconds: How long it took.
        error: What went wrong, if anything.
    """

    notebook: str
    file: Path
    seconds: float
    error: str = ""


@dataclass(frozen=True)
class Section:
    """A section of the report.

    Attributes:
        anchor: Its id in the page.
        title: Its title.
        about: What its reader has to know, as HTML.
        rows: Its charts and tables.
        missing: Why there are none, where they could not be read.
    """

    anchor: str
    title: str
    about: str
    rows: tuple[BoardRow, ...]
    missing: str = ""


def write_run_report(lab: Lab, folder: Path, runs: Sequence[NotebookRun]) -> Path:
    """Write a page for each executed notebook, and `report.html` with the lab's charts as they are after the run.

    Args:
        lab: The lab.
        folder: Where the executed notebooks are.
        runs: What was executed.

    Returns:
        The report. What could not be read, since the lab does not run or does so in part, is named in it.
    """
    report = folder / "report.html"
    with step("Write a page for each notebook, and the report", expect=15):
        for run in runs:
            (folder / f"{run.notebook}.html").write_text(notebook_page(run.file))
        _write(lab, report, runs)
    return report


def write_report(lab: Lab, file: Path, *, minutes: float = 15, hours: float = 24) -> Path:
    """Write the lab's report, with all its charts, as one file.

    Args:
        lab: The lab.
        file: Where to.
        minutes: How far back what was measured is drawn.
        hours: The window of the delivery metrics.

    Returns:
        The file.

    Raises:
        LabError: Something could not be read; the file is written, and says what.
    """
    with step("Write the report", expect=10):
        sections = _write(lab, file, (), minutes=minutes, hours=hours)
    missing = {section.title: section.missing for section in sections if section.missing}
    if missing or not sections:
        raise LabError(
            f"{file} is written, but lacks {', '.join(missing) or 'all charts'}",
            seen="\n".join(dict.fromkeys(missing.values())) or "the lab does not run",
            todo="`labkit up` starts what is missing, `labkit status` shows it",
        )
    return file


def _write(
    lab: Lab, file: Path, runs: Sequence[NotebookRun], *, minutes: float = 15, hours: float = 24
) -> tuple[Section, ...]:
    status = lab_status(lab)
    # Before there are Stages, nothing has been promoted or measured.
    sections = tuple(_sections(lab, minutes, hours)) if status.stages else ()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        render(
            "report/report.html",
            when=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
            home=lab.home.root,
            provider=lab.settings.provider,
            engine=status.engine,
            engine_why=status.engine_why,
            pods=status.pods,
            runs=runs,
            status=status._repr_html_(),
            sections=sections,
            plotly_js=plotly.offline.get_plotlyjs() if sections else "",
        )
    )
    return sections


def _stories(lab: Lab) -> tuple[BoardRow, ...]:
    return tuple(
        BoardRow(f"{told.story}, {told.began:{_TIME}} UTC: {told.about}", (Block(told.facts._repr_html_()),))
        for told in told_stories(lab)
    ) or (BoardRow("", (Block("<p>None was told yet.</p>"),)),)


def _sections(lab: Lab, minutes: float, hours: float) -> Iterator[Section]:
    blocks: Mapping[str, Callable[[], tuple[Block, ...]]] = {
        "pipeline": lambda: (_chart(pipeline_chart(lab)),),
        "drift": lambda: _drift(lab),
        "versions": lambda: (_chart(version_chart(lab)),),
        "promotions": lambda: (_chart(promotion_chart(lab)),),
        "latencies": lambda: (_chart(latency_chart(lab, minutes=minutes)),),
        "delivery": lambda: (Block(_delivery_table(delivery_frame(lab, hours=hours))),),
        "incidents": lambda: (Block(_incident_table(lab)), Block(notice_table(lab)._repr_html_())),
    }
    for item in yaml.safe_load(render("report/sections.yaml", minutes=minutes, hours=hours)):
        anchor = item["anchor"]
        read = partial(_stories, lab) if anchor == "stories" else partial(_one_below_the_other, blocks[anchor])
        yield _section(anchor, item["title"], item["about"], read)
    for plan in dashboard_plans():
        yield from _dashboards(lab, plan, minutes)


def _one_below_the_other(read: Callable[[], tuple[Block, ...]]) -> tuple[BoardRow, ...]:
    return tuple(BoardRow("", (block,)) for block in read())


def _dashboards(lab: Lab, plan: DashboardPlan, minutes: float) -> Iterator[Section]:
    """A section for a dashboard; for one that shows an environment at a time, a section for each."""
    about = f"<p>{plan.about} The last {minutes:g} minutes.</p>"
    draw = partial(board_rows, lab, plan, minutes=minutes)
    if not plan.asks_for_environment:
        yield _section(plan.uid, plan.title, about, draw)
        return
    for environment in lab.environments:
        anchor, title = f"{plan.uid}-{environment.name}", f"{plan.title}: {environment.name.upper()}"
        yield _section(anchor, title, about, partial(draw, environment=environment.name))


def _section(anchor: str, title: str, about: str, read: Callable[[], tuple[BoardRow, ...]]) -> Section:
    try:
        return Section(anchor, title, about, read())
    except (LabError, *UNREACHABLE) as error:
        return Section(anchor, title, about, (), missing=str(error))


def _chart(figure: go.Figure) -> Block:
    return Block(as_html(figure))


def _table(frame: pd.DataFrame) -> str:
    return str(frame.astype(object).where(frame.notna(), "–").to_html(index=False, border=0))


def _drift(lab: Lab) -> tuple[Block, ...]:
    frame = drift_frame(lab)
    colours = {environment.name: environment.colour for environment in lab.environments}
    shown = frame.assign(
        since=frame["since"].dt.strftime(_TIME),
        newest_seconds=frame["newest_seconds"].map(duration),
        upstream_seconds=frame["upstream_seconds"].map(duration),
    ).rename(columns={"since": "since (UTC)", "newest_seconds": "for", "upstream_seconds": "for "})
    shown.columns = [name.replace("_", " ") for name in shown.columns]
    return _chart(drift_figure(frame, colours)), Block(_table(shown))


def _delivery_table(frame: pd.DataFrame) -> str:
    """A row for each metric, a column for each environment; each value with its n."""

    def said(value: float, unit: str, n: int) -> str:
        if math.isnan(value):
            return f"– (n = {n})"
        shown = {"s": duration(value), "ratio": f"{value:.0%}"}.get(unit, f"{value:.3g} {unit}")
        return f"{shown} (n = {n})"

    cells = [said(*row) for row in zip(frame["value"], frame["unit"], frame["n"], strict=True)]
    wide = frame.assign(cell=cells).pivot(index="metric", columns="environment", values="cell")
    wide = wide.loc[frame["metric"].unique(), frame["environment"].unique()]
    return str(wide.rename_axis(None, axis=0).rename_axis(None, axis=1).to_html(border=0))


def _incident_table(lab: Lab) -> str:
    rows = [
        (item.environment, item.promotion, item.id, item.began, item.recovered)
        for item in sorted(read_incidents(lab), key=lambda item: item.began, reverse=True)
    ]
    names = ["environment", "Promotion", "incident", "began (UTC)", "recovered (UTC)"]
    frame = pd.DataFrame(rows, columns=names, dtype=object)
    for name in names[3:]:
        frame[name] = pd.to_datetime(frame[name], utc=True).dt.strftime(_TIME)
    return _table(frame) if len(frame) else "<p>No incident is known.</p>"


def notebook_page(file: Path) -> str:
    """An executed notebook as a page that needs nothing from the network, its charts included."""
    notebook: Any = nbformat.read(file, as_version=4)  # type: ignore[no-untyped-call]
    # A widget is dead in a page, and what would draw it comes from the network: the picture beside it is shown.
    notebook.metadata.pop("widgets", None)
    charts = 0
    for output in _outputs(notebook):
        data = output.get("data", {})
        data.pop(_WIDGET, None)
        if _PLOTLY in data:
            charts += 1
            figure = go.Figure(
                {key: data[_PLOTLY][key] for key in ("data", "layout") if key in data[_PLOTLY]}, skip_invalid=True
            )
            output["data"] = {"text/html": as_html(figure)}
    exporter = HTMLExporter(embed_images=True, mathjax_url="", require_js_url="")  # type: ignore[no-untyped-call]
    page, _ = exporter.from_notebook_node(notebook)
    script = f"<script>{plotly.offline.get_plotlyjs()}</script></head>" if charts else "</head>"
    return str(page).replace("</head>", script, 1)


def _outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def write_pictures(lab: Lab, folder: Path) -> list[Path]:
    """Write charts of what is recorded as PNG files, on white, so that they read wherever they are shown.

    Args:
        lab: The lab.
        folder: Where to.

    Returns:
        The files.

    Raises:
        LabError: There is no kaleido, which draws them, or no Chrome or Chromium for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        "pipeline": pipeline_chart(lab),
        "versions": version_chart(lab),
        "promotions": promotion_chart(lab),
        "drift": drift_chart(lab),
    }
    files = [folder / f"{name}.png" for name in figures]
    size = {"width": _PICTURE_WIDTH, "scale": _PICTURE_SCALE}
    try:
        with step("Draw the charts as pictures", expect=10, total=len(files)) as task:
            for done, (figure, file) in enumerate(zip(figures.values(), files, strict=True)):
                task.update(done, file.name)
                figure.update_layout(paper_bgcolor="white").write_image(file, **size)
    # plotly says so where there is no kaleido, kaleido where there is no Chrome.
    except (ValueError, RuntimeError) as error:
        raise LabError(
            "The charts could not be drawn as pictures",
            seen=str(error),
            todo="`pip install kaleido` and a Chrome or Chromium on PATH; `labkit report` needs neither",
        ) from error
    return files
