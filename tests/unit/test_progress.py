"""What is shown of work under way: in a log, in a terminal, in a notebook; and what stays of it."""

import io
import re
import time
from concurrent.futures import ThreadPoolExecutor

import nbformat
import papermill
import pytest
from rich.console import Console

from labkit import progress
from labkit.errors import WaitTimeout
from labkit.progress import step, waiting
from labkit.wait import wait_for

SECONDS = re.compile(r"\d+\.\d s")
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def shown(monkeypatch):
    """What a log gets to see."""
    return _shown(monkeypatch, force_terminal=False)


@pytest.fixture
def terminal(monkeypatch):
    """What a terminal gets to see."""
    monkeypatch.setenv("TERM", "xterm")
    return _shown(monkeypatch, force_terminal=True)


def _shown(monkeypatch, *, force_terminal):
    out = io.StringIO()
    console = Console(file=out, width=120, highlight=False, force_terminal=force_terminal, force_jupyter=False)
    monkeypatch.setattr(progress, "console", console)
    return lambda: SECONDS.sub("N s", ESCAPES.sub("", out.getvalue()))


def test_a_log_keeps_one_line_of_a_step(shown):
    with step("Create things", expect=3, total=10) as task:
        task.update(5, "half of them")
    assert shown() == "✓ Create things (N s)\n"


def test_a_step_that_fails_says_so(shown):
    with pytest.raises(ValueError, match="no"), step("Create things"):
        raise ValueError("no")
    assert shown() == "✗ Create things (N s)\n"


def test_a_log_hears_from_time_to_time_how_far_a_long_step_is(shown, monkeypatch):
    monkeypatch.setattr(progress, "SAY_EVERY", 0.0)
    with step("Create things", expect=3, total=10) as task:
        task.update(5, "half of them")
    assert shown().splitlines() == ["… 50% Create things (about 3 s): half of them", "✓ Create things (N s)"]


def test_steps_stand_in_one_another(terminal):
    with step("Release it"), step("Promote it", expect=1) as inner:
        inner.note("Progressing")
    lines = [line for line in terminal().splitlines() if line.startswith("✓")]
    assert lines == ["✓ Promote it (N s)", "✓ Release it (N s)"]


def test_a_terminal_shows_a_bar_with_what_is_on_now(terminal):
    with step("Create things", expect=3, total=10) as task:
        task.update(5, "half of them")
        time.sleep(0.3)
    assert "Create things (about 3 s): half of them ━━━" in terminal()


def test_a_bar_without_a_total_goes_by_the_usual_time_and_is_never_full():
    class _Slow:
        total, elapsed, completed, fields = None, 60.0, 0.0, {"expect": 10.0}

    bar = progress._Bar(20).render(_Slow())
    assert (bar.total, bar.completed) == (10.0, 9.5)


def test_a_short_wait_says_nothing(shown):
    wait_for("the job", lambda: True)
    assert shown() == ""


def test_a_long_wait_of_its_own_says_what_it_waits_for_and_how_long_it_may_take(shown, monkeypatch):
    monkeypatch.setattr(progress, "LONG", 0.0)
    monkeypatch.setattr(progress, "SAY_EVERY", 0.0)
    states = iter(["Pending", "Running", "Done"])
    wait_for("the job", lambda: next(states), lambda state: state == "Done", interval=0.001, timeout=7)
    assert shown().splitlines() == [
        "… Wait for the job (at most 7 s): Pending",
        "… Wait for the job (at most 7 s): Running",
        "✓ Wait for the job (N s)",
    ]


def test_a_long_wait_that_fails_says_so(shown, monkeypatch):
    monkeypatch.setattr(progress, "LONG", 0.0)
    with pytest.raises(WaitTimeout):
        wait_for("the job", lambda: False, timeout=0.01, interval=0.001)
    assert shown() == "✗ Wait for the job (N s)\n"


def test_a_wait_within_a_step_is_what_is_on_now(shown, monkeypatch):
    monkeypatch.setattr(progress, "LONG", 0.0)
    monkeypatch.setattr(progress, "SAY_EVERY", 0.0)
    with step("Promote it"), waiting("Stage pre to be Healthy", 9) as tell:
        tell("Progressing")
        tell("False")
    assert shown().splitlines() == [
        "… Promote it: Stage pre to be Healthy: Progressing",
        "… Promote it: Stage pre to be Healthy",
        "✓ Promote it (N s)",
    ]


def test_what_a_steps_threads_wait_for_belongs_to_it(shown, monkeypatch):
    monkeypatch.setattr(progress, "LONG", 0.0)

    def wait(number):
        states = iter([False, True])
        wait_for(f"cluster {number}", lambda: next(states), interval=0.001)

    with step("Create the clusters"), ThreadPoolExecutor() as pool:
        list(pool.map(wait, range(3)))
    assert shown() == "✓ Create the clusters (N s)\n"


def test_a_state_is_shown_in_one_short_line(shown, monkeypatch):
    monkeypatch.setattr(progress, "SAY_EVERY", 0.0)
    with step("Promote it"), waiting("it", 9) as tell:
        tell(f"{'x' * 300}\nand more")
    assert max(len(line) for line in shown().splitlines()) < 130


def test_an_executed_notebook_keeps_the_record_and_no_states(tmp_path):
    code = """
from labkit.progress import step
with step("Create things", expect=3, total=10) as task:
    task.update(5, "half of them")
with step("Delete <them>"):
    raise ValueError("no")
"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbformat.write(notebook, tmp_path / "in.ipynb")
    with pytest.raises(papermill.PapermillExecutionError):
        papermill.execute_notebook(
            tmp_path / "in.ipynb", tmp_path / "out.ipynb", kernel_name="python3", language="python", progress_bar=False
        )
    executed = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    cell = next(cell for cell in executed.cells if cell.source == code)
    shown = [output.data for output in cell.outputs if output.output_type == "display_data"]
    assert [SECONDS.sub("N s", data["text/plain"]) for data in shown] == [
        "✓ Create things (N s)",
        "✗ Delete <them> (N s)",
    ]
    assert "Delete &lt;them&gt;" in shown[1]["text/html"]
