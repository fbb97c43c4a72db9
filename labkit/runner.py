"""Running the notebooks headless, by papermill, with an executed copy and a report of each run."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import nbformat
import papermill
from papermill.engines import NBClientEngine, papermill_engines

from labkit.config import Lab, choose
from labkit.errors import LabError, UsageError
from labkit.paths import NOTEBOOKS
from labkit.progress import Task, step
from labkit.report import NotebookRun, write_run_report

# What brings up the lab and deploys the demo app; the others are stories told on a lab that runs.
MAIN_JOB = ("00", "01", "02", "03", "04")


def notebook_files(names: Iterable[str] = ()) -> list[Path]:
    """Notebooks in their order.

    Args:
        names: Beginnings of names such as `03`; the main job (00 to 04) where none is given.

    Raises:
        UsageError: No notebook begins like that.
    """
    every = sorted(NOTEBOOKS.glob("[0-9][0-9]-*.ipynb"))
    chosen = []
    for name in tuple(names) or MAIN_JOB:
        found = [file for file in every if name and file.name.startswith(name.removesuffix(".ipynb"))]
        if not found:
            raise UsageError(f"There is no notebook {name!r}", todo=f"use one of: {', '.join(f.stem for f in every)}")
        chosen.extend(found)
    return chosen


def run_notebooks(lab: Lab, names: Iterable[str] = (), parameters: Mapping[str, Any] | None = None) -> Path:
    """Execute notebooks one after another, and write a report.

    Args:
        lab: The lab that they work on.
        names: Which ones (see `notebook_files`).
        parameters: Values for their `parameters` cells.

    Returns:
        The folder with the executed copies and `report.html`.

    Raises:
        LabError: A cell failed; the executed copy shows where, and later notebooks were not run.
    """
    files = notebook_files(names)
    lab = choose(lab)
    folder = lab.home.ensure().runs / datetime.now().astimezone().strftime("%Y-%m-%dT%H-%M-%S")
    folder.mkdir(parents=True)
    os.environ["LABKIT_HOME"] = str(lab.home.root)
    runs = []
    for file in files:
        cells = len(nbformat.read(file, as_version=4).cells)  # type: ignore[no-untyped-call]
        with step(f"Notebook {file.stem}", total=cells) as task:
            runs.append(_run(file, folder, parameters or {}, task))
        if runs[-1].error:
            break
    report = write_run_report(lab, folder, runs)
    if runs[-1].error:
        raise LabError(
            f"Notebook {runs[-1].notebook} failed", seen=runs[-1].error, todo=f"see {runs[-1].file} and {report}"
        )
    return folder


class _Engine(NBClientEngine):  # type: ignore[misc]
    """Papermill's own, which tells before each cell how far it is, and in which section."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, *, task: Task, **settings: Any) -> Any:
        """Execute a notebook, with `task` for its progress."""
        start, section = nb_man.cell_start, ""

        def cell_start(cell: Any, cell_index: int, **more: Any) -> None:
            nonlocal section
            headings = [line for line in cell.source.splitlines() if line.startswith("## ")]
            if cell.cell_type == "markdown" and headings:
                section = headings[-1].removeprefix("## ")
            task.update(cell_index, section)
            start(cell, cell_index, **more)

        nb_man.cell_start = cell_start
        return super().execute_managed_notebook(nb_man, kernel_name, **settings)


_ENGINE = "labkit"
papermill_engines.register(_ENGINE, _Engine)


def _run(file: Path, folder: Path, parameters: Mapping[str, Any], task: Task) -> NotebookRun:
    executed, started = folder / file.name, time.monotonic()
    error = ""
    try:
        papermill.execute_notebook(
            file,
            executed,
            parameters=dict(parameters),
            cwd=str(NOTEBOOKS),
            kernel_name="python3",
            progress_bar=False,
            engine_name=_ENGINE,
            task=task,
            extra_arguments=["--log-level=ERROR"],
        )
    except papermill.PapermillExecutionError as failure:
        error = f"{failure.ename}: {failure.evalue}"
    return NotebookRun(file.stem, executed, time.monotonic() - started, error)
