"""The HTML report of a run: what was executed, how it ended, and how the lab is now. Opens offline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import nbformat
import plotly.graph_objects as go
import plotly.io
import plotly.offline
from nbconvert import HTMLExporter

from labkit.charts import pipeline_figure, pipeline_frame
from labkit.config import Lab
from labkit.status import lab_status
from labkit.templates import render

_PLOTLY = "application/vnd.plotly.v1+json"


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


def write_report(lab: Lab, folder: Path, runs: Sequence[NotebookRun]) -> Path:
    """Write `report.html` and a page for each executed notebook.

    Args:
        lab: The lab.
        folder: Where the executed notebooks are.
        runs: What was executed.

    Returns:
        The report.
    """
    for run in runs:
        (folder / f"{run.notebook}.html").write_text(notebook_page(run.file))
    status = lab_status(lab)
    figure = ""
    if status.stages:
        figure = _as_html(pipeline_figure(pipeline_frame(lab, status.stages)))
    report = folder / "report.html"
    report.write_text(
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
            figure=figure,
            plotly_js=plotly.offline.get_plotlyjs() if figure else "",
        )
    )
    return report


def _as_html(figure: go.Figure) -> str:
    return str(plotly.io.to_html(figure, full_html=False, include_plotlyjs=False, config={"displayModeBar": False}))


def notebook_page(file: Path) -> str:
    """An executed notebook as a page that needs nothing from the network, its charts included."""
    notebook: Any = nbformat.read(file, as_version=4)  # type: ignore[no-untyped-call]
    charts = 0
    for output in _outputs(notebook):
        data = output.get("data", {})
        if _PLOTLY in data:
            charts += 1
            figure = go.Figure(
                {key: data[_PLOTLY][key] for key in ("data", "layout") if key in data[_PLOTLY]}, skip_invalid=True
            )
            output["data"] = {"text/html": _as_html(figure)}
    exporter = HTMLExporter(embed_images=True, mathjax_url="", require_js_url="")  # type: ignore[no-untyped-call]
    page, _ = exporter.from_notebook_node(notebook)
    script = f"<script>{plotly.offline.get_plotlyjs()}</script></head>" if charts else "</head>"
    return str(page).replace("</head>", script, 1)


def _outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
