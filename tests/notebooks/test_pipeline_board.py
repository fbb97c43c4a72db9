"""The pipeline board on the notebooks' lab: its buttons do what the commands do, and headless it is a picture."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import nbformat
import pytest
from _labkit import get

from labkit.config import Lab
from labkit.pipeline import PipelineBoard
from labkit.promotion import find_stage, freeze, freeze_table, unfreeze
from labkit.runner import run_notebooks

WIDGET = "application/vnd.jupyter.widget-view+json"
_SECONDS = 240


@pytest.fixture
def board(lab: Lab) -> Iterator[PipelineBoard]:
    """A board that was made and not displayed: it looks when it is told to."""
    made = PipelineBoard(lab)
    yield made
    made.stop()
    unfreeze(lab, "prod")


def _newest_promotion(lab: Lab, stage: str) -> Any:
    found = get(lab, lab.control, f"promotions -n demo-app -l kargo.akuity.io/stage={stage}")["items"]
    return max(found, key=lambda item: (item["metadata"]["creationTimestamp"], item["metadata"]["name"]))


def _is_frozen(lab: Lab, stage: str) -> bool:
    return any(row.frozen for row in freeze_table(lab) if row.stage == stage)


def test_the_board_shows_what_kargo_says(lab: Lab, board: PipelineBoard) -> None:
    shown = board._repr_mimebundle_()["text/html"]
    for stage in ("dev", "pre", "prod"):
        row = find_stage(lab, stage)
        assert row.freight in shown
        for version in row.versions.values():
            assert version in shown
    assert shown.count("✓ verified") >= 3
    assert re.search(r"labkit-when.*Promotion Succeeded", shown, re.DOTALL)


def test_diff_changes_nothing_and_shows_what_would_change(lab: Lab, board: PipelineBoard) -> None:
    before = _newest_promotion(lab, "prod")["metadata"]["name"]
    board.buttons["diff-pre-prod"].click()
    board.wait(_SECONDS)
    assert re.search(r"objects? would change", board.message.value)
    assert _newest_promotion(lab, "prod")["metadata"]["name"] == before


def test_a_freeze_is_confirmed_with_its_reason_and_ended(lab: Lab, board: PipelineBoard) -> None:
    board.buttons["freeze-prod"].click()
    assert not _is_frozen(lab, "prod")
    board.confirm.click()
    assert "Still needed: Why" in board.message.value
    board.cancel.click()
    assert not board.message.value
    board.buttons["freeze-prod"].click()
    board.answers["until"].value = "10m"
    board.answers["reason"].value = "the board is tried"
    board.confirm.click()
    board.wait(_SECONDS)
    (row,) = [row for row in freeze_table(lab) if row.stage == "prod"]
    assert (row.frozen, row.by, row.reason) == (True, "release-manager", "the board is tried")
    assert board.buttons["promote-pre-prod"].disabled
    assert "by release-manager: the board is tried" in board._repr_mimebundle_()["text/html"]
    assert board.buttons["freeze-prod"].description == "End freeze"
    board.buttons["freeze-prod"].click()
    board.confirm.click()
    board.wait(_SECONDS)
    assert not _is_frozen(lab, "prod")


def test_pre_is_rolled_back_by_its_button(lab: Lab, board: PipelineBoard) -> None:
    before = find_stage(lab, "pre")
    board.buttons["rollback-pre"].click()
    wanted = board.answers["freight"].value
    board.answers["reason"].value = "the board is tried"
    board.confirm.click()
    assert all(button.disabled for button in board.buttons.values()), "one thing at a time"
    board.wait(_SECONDS)
    assert "Roll back: done in" in board.message.value
    made = _newest_promotion(lab, "pre")
    annotations = made["metadata"]["annotations"]
    assert made["status"]["phase"] == "Succeeded"
    assert annotations["kargo.akuity.io/create-actor"] == "kubernetes:developer"
    assert annotations["lab.labkit.dev/rolled-back-from"] == before.freight_name
    assert annotations["lab.labkit.dev/reason"] == "the board is tried"
    after = find_stage(lab, "pre")
    assert (after.freight, after.health, after.verified) == (wanted, "Healthy", "True")
    assert not board.buttons["promote-dev-pre"].disabled


def test_a_refusal_is_shown_with_what_was_seen_and_what_to_do(lab: Lab, board: PipelineBoard) -> None:
    """PRE is frozen after the board has looked: it lets the button be pressed, and the API server refuses."""
    assert not board.buttons["promote-dev-pre"].disabled
    freeze(lab, "pre", "10m", reason="stocktaking")
    try:
        board.buttons["promote-dev-pre"].click()
        board.wait(_SECONDS)
    finally:
        unfreeze(lab, "pre")
    assert "did not work" in board.message.value
    assert "Last seen: " in board.message.value
    assert "stocktaking" in board.message.value


def test_without_a_browser_the_notebook_keeps_a_picture_that_needs_nothing_from_the_network(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_HOME", str(lab.home.root))
    monkeypatch.delenv("LABKIT_PORT_BASE")
    folder = run_notebooks(lab, ["13-pipeline-board"])
    executed = nbformat.read(folder / "13-pipeline-board.ipynb", as_version=4)
    (shown,) = [
        output.data
        for cell in executed.cells
        if "nbval-ignore-output" in cell.metadata.get("tags", [])
        for output in cell.outputs
    ]
    assert {WIDGET, "text/html", "text/plain"} <= shown.keys()
    page = (folder / "13-pipeline-board.html").read_text()
    assert find_stage(lab, "prod").freight in page
    assert "labkit-card" in page
    assert WIDGET not in page
    assert not re.search(r'<script[^>]+src="http', page)
    assert not _is_frozen(lab, "prod")
