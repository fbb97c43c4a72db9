"""What a learner sees: JupyterLab, the notebooks, their charts and the board, in a real browser on the notebooks' lab.

Pictures of it are kept in `build/screenshots`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from _browser import SCREENSHOTS, JupyterLab, browser_on_path, jupyterlab, served, started_browser
from _labkit import LABKIT, get, variables
from _ports import ports_of_a_lab
from playwright.sync_api import Browser, Locator, expect

from labkit.config import Lab
from labkit.paths import NOTEBOOKS
from labkit.promotion import find_stage, freeze_table, rollback, unfreeze
from labkit.wait import wait_for

FILES = sorted(NOTEBOOKS.glob("*.ipynb"))
_PROMOTION_SECONDS = 240


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium or Chrome."""
    program = browser_on_path()
    if program is None:
        pytest.skip("there is no Chromium or Chrome on PATH")
    with started_browser(program) as started:
        yield started


@pytest.fixture(scope="module")
def jupyter(lab: Lab, browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterLab]:
    """JupyterLab in that browser, with the notebooks' lab as the one that is meant."""
    with ports_of_a_lab() as port, jupyterlab(tmp_path_factory.mktemp("jupyter"), port, variables(lab)) as url:
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        yield JupyterLab(page, url)
        page.close()


@pytest.fixture
def opened(jupyter: JupyterLab) -> Iterator[JupyterLab]:
    """JupyterLab, in which what a test opens is closed again."""
    jupyter.troubles.clear()
    yield jupyter
    jupyter.close()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_jupyterlab_opens_it(opened: JupyterLab, file: Path) -> None:
    cells = nbformat.read(file, as_version=4).cells
    assert opened.open(file.stem) == {"cells": len(cells), "kernel": "python3"}
    title = cells[0].source.splitlines()[0].removeprefix("# ")
    expect(opened.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) h1").first).to_contain_text(title)
    assert opened.troubles == []


def test_all_cells_of_the_preflight_run(opened: JupyterLab) -> None:
    opened.open("00-preflight")
    opened.run_all()
    expect(opened.page.get_by_text("✓ machine")).to_be_visible()
    assert opened.troubles == []


def test_charts_are_seen(opened: JupyterLab) -> None:
    name = "09-compare-environments"
    opened.open(name)
    opened.run_all()
    cells = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
    charts = [index for index, cell in enumerate(cells) if "figure" in cell.metadata.get("tags", [])]
    assert len(charts) == 9
    for index in charts:
        drawing = opened.chart(index)
        expect(drawing).to_be_visible()
        box = drawing.bounding_box()
        assert box is not None
        assert box["width"] > 300
        assert box["height"] > 150
    opened.picture("charts")
    assert opened.troubles == []


@pytest.fixture
def pre_is_behind(lab: Lab) -> str:
    """PRE runs another Freight than DEV; returns the name of DEV's."""
    dev = find_stage(lab, "dev").freight_name
    if find_stage(lab, "pre").freight_name == dev:
        rollback(lab, "pre", reason="to promote it again")
    return dev


def test_the_boards_button_moves_a_version_from_dev_to_pre(lab: Lab, pre_is_behind: str, opened: JupyterLab) -> None:
    opened.open("13-pipeline-board")
    opened.run_all()
    board = opened.page.locator(".labkit-board").first
    button = board.get_by_role("button", name="Promote to PRE").first
    button.scroll_into_view_if_needed()
    expect(button).to_be_enabled()
    earlier = get(lab, lab.control, "stage pre -n demo-app")["status"]["lastPromotion"]["name"]
    button.click()
    expect(board.get_by_text("Promote to PRE …")).to_be_visible()
    expect(button).to_be_disabled()
    opened.picture("promoting")
    expect(board.get_by_text("Promote to PRE: done in")).to_be_visible(timeout=_PROMOTION_SECONDS * 1000)
    stage = get(lab, lab.control, "stage pre -n demo-app")
    (current,) = stage["status"]["freightHistory"][0]["items"].values()
    assert current["name"] == pre_is_behind
    assert stage["status"]["lastPromotion"]["name"] != earlier
    promotion = get(lab, lab.control, f"promotion {stage['status']['lastPromotion']['name']} -n demo-app")
    assert promotion["status"]["phase"] == "Succeeded"
    assert promotion["spec"]["freight"] == pre_is_behind
    assert promotion["metadata"]["annotations"]["kargo.akuity.io/create-actor"] == "kubernetes:developer"
    expect(board.locator(".labkit-card").nth(1)).to_contain_text(find_stage(lab, "dev").freight)
    opened.picture("board-in-jupyterlab")
    assert opened.troubles == []


def _confirm(board: Locator, label: str) -> None:
    button = board.locator(".labkit-confirm")
    expect(button).to_have_text(label)
    button.click()


def _kernels_of(process: Any) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


@pytest.fixture
def _thawed(lab: Lab) -> Iterator[None]:
    """Nothing stays frozen, whatever becomes of a test."""
    yield
    unfreeze(lab, "prod")


@pytest.mark.usefixtures("_thawed")
def test_labkit_board_serves_it_as_a_page_and_ctrl_c_leaves_nothing(lab: Lab, browser: Browser, tmp_path: Path) -> None:
    log = tmp_path / "board.log"
    url = f"http://127.0.0.1:{lab.port('board')}/"
    with served([*LABKIT, "board"], url, variables(lab), log) as server:
        (address,) = (word for word in log.read_text().split() if word.startswith(f"{url}?token="))
        page = browser.new_page(viewport={"width": 1240, "height": 900})
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(url)
        assert page.locator(".labkit-board").count() == 0, "without the token nobody is let in"
        page.goto(address)
        board = page.locator(".labkit-board")
        expect(board.locator(".labkit-card")).to_have_count(5, timeout=60_000)
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        board.screenshot(path=SCREENSHOTS / "board.png")
        board.locator(".labkit-freeze-prod").click()
        board.get_by_label("Why").fill("the page is tried")
        page.screenshot(path=SCREENSHOTS / "board-asking.png")
        _confirm(board, "Freeze")
        expect(board.get_by_text("Freeze: done in")).to_be_visible(timeout=30_000)
        (row,) = [row for row in freeze_table(lab) if row.stage == "prod"]
        assert (row.frozen, row.reason) == (True, "the page is tried")
        board.locator(".labkit-freeze-prod").click()
        _confirm(board, "End freeze")
        expect(board.get_by_text("End freeze: done in")).to_be_visible(timeout=30_000)
        assert not any(row.frozen for row in freeze_table(lab))
        assert [item for item in asked if not item.startswith((url, "data:", "blob:"))] == []
        page.goto("about:blank")
        wait_for("the page's kernel to end", lambda: not _kernels_of(server), timeout=30)
        page.goto(address)
        expect(board.locator(".labkit-card")).to_have_count(5, timeout=60_000)
        kernels = _kernels_of(server)
        assert kernels
        os.kill(server.pid, signal.SIGINT)
        assert server.wait(30) == 0
        assert not any(kernel.is_running() for kernel in kernels)
        page.close()
    assert "Traceback" not in log.read_text()
