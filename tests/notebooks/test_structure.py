"""Every notebook is a lesson: the parts a learner expects, one idea a cell, nothing that only works on one machine."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import nbformat
import pytest
from _notebooks import CHANGES, FILES, cells, changes, checked, commands, only_reads, tree

from labkit import checks, notebook
from labkit.paths import REPO
from labkit.process import PYTHON, run

_CALLS_IN_A_CELL = 3


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def file(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def test_there_are_notebooks() -> None:
    assert [file.name[:2] for file in FILES][:5] == ["00", "01", "02", "03", "04"]


def test_it_begins_with_title_objectives_prerequisites_and_time(file: Path) -> None:
    first = cells(file)[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith(f"# {file.name[:2]} · ")
    for part in ("**Objectives**", "**Prerequisites**", "**Time**"):
        assert part in first.source, f"{part} is missing"


def test_it_ends_with_what_was_learned_and_what_comes_next(file: Path) -> None:
    last = cells(file)[-1]
    assert last.cell_type == "markdown"
    assert "## What you learned" in last.source
    assert "**What next**" in last.source


def test_it_has_one_parameters_cell_of_plain_values(file: Path) -> None:
    tagged = [cell for cell in cells(file, "code") if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    for statement in tree(tagged[0]).body:
        assert isinstance(statement, ast.Assign), ast.unparse(statement)
        ast.literal_eval(statement.value)


def test_its_first_code_cell_imports_from_labkit_only(file: Path) -> None:
    imports, *others = cells(file, "code")
    assert all(isinstance(node, ast.ImportFrom) and node.module == "labkit.notebook" for node in tree(imports).body)
    for cell in others:
        assert not any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(tree(cell))), cell.source


def test_its_cells_hold_one_idea_and_no_logic(file: Path) -> None:
    logic = (ast.For, ast.While, ast.If, ast.Try, ast.With, ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.ListComp)
    for cell in cells(file, "code"):
        nodes = list(ast.walk(tree(cell)))
        assert not [node for node in nodes if isinstance(node, logic)], cell.source
        calls = [node for node in nodes if isinstance(node, ast.Call)]
        assert len(calls) <= _CALLS_IN_A_CELL, cell.source
        assert not cell.source.lstrip().startswith(("!", "%")), cell.source


def test_its_commands_mean_the_same_typed_into_a_shell(file: Path) -> None:
    """Whatever the shell is: an unquoted backslash is eaten, and zsh wants a file for each pattern."""
    for command in commands(file):
        unquoted = re.sub(r"'[^']*'", "", command)
        assert not set(unquoted) & set("\\?*[]{}$&;|<>()"), command


def test_everything_it_calls_is_public(file: Path) -> None:
    for cell in cells(file, "code"):
        for node in ast.walk(tree(cell)):
            if isinstance(node, ast.ImportFrom):
                assert {alias.name for alias in node.names} <= set(notebook.__all__)
            if isinstance(node, ast.Attribute):
                assert not node.attr.startswith("_"), cell.source


def test_every_check_it_names_exists(file: Path) -> None:
    named = [checked(cell) for cell in cells(file, "code") if checked(cell)]
    assert named, "no check"
    assert set(named) <= set(checks.check_names())
    in_text = re.findall(r"`labkit check ([a-z][a-z0-9-]+)", "\n".join(cell.source for cell in cells(file, "markdown")))
    assert set(in_text) <= set(checks.check_names())


def test_what_a_section_has_changed_is_checked_before_the_next_changes_something(file: Path) -> None:
    open_since = ""
    section = ""
    for cell in cells(file):
        if cell.cell_type == "markdown":
            headings = re.findall(r"^##? (.+)$", cell.source, re.MULTILINE)
            section = headings[-1] if headings else section
        elif checked(cell):
            open_since = ""
        elif changes(cell):
            assert open_since in ("", section), f"“{open_since}” is not checked before “{section}” begins"
            open_since = section
    assert not open_since, f"“{open_since}” is not checked"


def test_what_changes_something_is_something_that_notebooks_can_call() -> None:
    assert set(notebook.__all__) >= CHANGES


def test_a_kubectl_command_asks_for_one_output(file: Path) -> None:
    """Of several, kubectl shows the last."""
    assert [command for command in commands(file) if command.count(" -o ") > 1] == []


def test_it_holds_no_path_of_a_machine(file: Path) -> None:
    assert not re.search(r"(?<![\w.])/(home|root|Users|tmp|work|opt)/", file.read_text())


# What these find is the same in every lab that is where the notebook is then: it is stored, and nbval compares it.
_THE_SAME_EVERYWHERE = {
    *("alert-routes", "answers", "argocd", "as-git-says", "branches", "clusters", "contract-refused", "dashboards"),
    *("drifted", "frozen", "gates", "kargo", "line-free", "line-stopped", "machine", "pipeline", "prod-as-before"),
    *("prod-not-moved", "prod-refuses-unverified", "prod-runs-candidate", "release-1-in-dev", "release-1-in-pre"),
    *("release-1-in-prod", "release-2-in-pre", "release-3-in-dev", "releases-apart", "repos", "rights", "stopped"),
    *("undrifted", "verified", "versions"),
}


def test_the_checks_that_are_the_same_everywhere_keep_their_output_and_nothing_else_does(file: Path) -> None:
    for cell in cells(file, "code"):
        kept = "keep_output" in cell.metadata.get("tags", [])
        assert kept == (checked(cell) in _THE_SAME_EVERYWHERE), cell.source
        assert bool(cell.outputs) == kept, cell.source
        assert (cell.execution_count is not None) == kept, cell.source
        for output in cell.outputs:
            assert output.output_type == "execute_result"
            assert output.data["text/plain"].startswith(f"✓ {checked(cell)}: ")


def test_some_notebooks_only_read() -> None:
    reading = [file.stem for file in FILES if only_reads(file)]
    assert reading == ["00-preflight", "09-compare-environments", "90-check-your-work"]


def test_charts_have_to_run_and_are_not_compared(file: Path) -> None:
    for cell in cells(file, "code"):
        draws = re.match(r"\w+_chart\(", cell.source) is not None
        tags = cell.metadata.get("tags", [])
        assert ({"figure", "nbval-ignore-output"} <= set(tags)) == draws, cell.source


def test_it_is_stored_without_noise(file: Path) -> None:
    stored = nbformat.read(file, as_version=4)
    assert set(stored.metadata) == {"kernelspec", "language_info"}
    assert set(stored.metadata.language_info) == {"name"}
    for cell in stored.cells:
        assert set(cell.metadata) <= {"tags"}, cell.metadata
        assert cell.source.strip(), "a cell is empty"


def test_ruff_reads_the_notebooks() -> None:
    read = run([PYTHON, "-m", "ruff", "check", "--show-files"], cwd=REPO).splitlines()
    assert {str(file) for file in FILES} <= set(read)


def test_nbstripout_would_change_nothing() -> None:
    run([PYTHON, "-m", "nbstripout", "--keep-count", "--keep-id", "--verify", *FILES])
