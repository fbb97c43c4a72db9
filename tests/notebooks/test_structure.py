"""Every notebook is a lesson: the parts a learner expects, one idea a cell, nothing that only works on one machine."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from labkit import checks, notebook
from labkit.paths import NOTEBOOKS

FILES = sorted(NOTEBOOKS.glob("*.ipynb"))
_CALLS_IN_A_CELL = 3


def _cells(file: Path, kind: str) -> list[Any]:
    return [cell for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == kind]


def _tree(cell: Any) -> ast.Module:
    return ast.parse(cell.source)


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def file(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def test_there_are_notebooks() -> None:
    assert [file.name[:2] for file in FILES][:5] == ["00", "01", "02", "03", "04"]


def test_it_begins_with_title_objectives_prerequisites_and_time(file: Path) -> None:
    first = nbformat.read(file, as_version=4).cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith(f"# {file.name[:2]} · ")
    for part in ("**Objectives**", "**Prerequisites**", "**Time**"):
        assert part in first.source, f"{part} is missing"


def test_it_ends_with_what_was_learned_and_what_comes_next(file: Path) -> None:
    last = nbformat.read(file, as_version=4).cells[-1]
    assert last.cell_type == "markdown"
    assert "## What you learned" in last.source
    assert "**What next**" in last.source


def test_it_has_one_parameters_cell_of_plain_values(file: Path) -> None:
    tagged = [cell for cell in _cells(file, "code") if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    for statement in _tree(tagged[0]).body:
        assert isinstance(statement, ast.Assign), ast.unparse(statement)
        ast.literal_eval(statement.value)


def test_its_first_code_cell_imports_from_labkit_only(file: Path) -> None:
    imports, *others = _cells(file, "code")
    assert all(isinstance(node, ast.ImportFrom) and node.module == "labkit.notebook" for node in _tree(imports).body)
    for cell in others:
        assert not any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(_tree(cell))), cell.source


def test_its_cells_hold_one_idea_and_no_logic(file: Path) -> None:
    logic = (ast.For, ast.While, ast.If, ast.Try, ast.With, ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.ListComp)
    for cell in _cells(file, "code"):
        tree = _tree(cell)
        assert not [node for node in ast.walk(tree) if isinstance(node, logic)], cell.source
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        assert len(calls) <= _CALLS_IN_A_CELL, cell.source
        assert not cell.source.lstrip().startswith(("!", "%")), cell.source


def test_everything_it_calls_is_public(file: Path) -> None:
    for cell in _cells(file, "code"):
        for node in ast.walk(_tree(cell)):
            if isinstance(node, ast.ImportFrom):
                assert {alias.name for alias in node.names} <= set(notebook.__all__)
            if isinstance(node, ast.Attribute):
                assert not node.attr.startswith("_"), cell.source


def test_every_step_that_changes_something_is_followed_by_a_check(file: Path) -> None:
    source = "\n".join(cell.source for cell in _cells(file, "code"))
    named = re.findall(r'check\(lab, "([^"]+)"\)', source)
    assert named, "no check"
    assert set(named) <= set(checks.check_names())
    changes = [index for index, cell in enumerate(_cells(file, "code")) if _changes(cell.source)]
    checked = [index for index, cell in enumerate(_cells(file, "code")) if "check(lab" in cell.source]
    assert not changes or changes[-1] < max(checked) or file.name.startswith("01")


def _changes(source: str) -> bool:
    verbs = (
        *("create_clusters(", "install_", "build_release(", "promote_freight(", "merge_pull_request(", "down("),
        *("introduce_defect(", "fix_defect(", "sync_application(", "acknowledge(", " scale "),
    )
    return "import" not in source and any(verb in source for verb in verbs)


def test_it_holds_no_path_of_a_machine(file: Path) -> None:
    assert not re.search(r"(?<![\w.])/(home|root|Users|tmp|work|opt)/", file.read_text())


def test_it_is_stored_without_noise(file: Path) -> None:
    for cell in _cells(file, "code"):
        if "keep_output" not in cell.metadata.get("tags", []):
            assert cell.outputs == [], cell.source
        assert set(cell.metadata) <= {"tags"}, cell.metadata


def test_its_links_to_other_notebooks_resolve(file: Path) -> None:
    for cell in _cells(file, "markdown"):
        for target in re.findall(r"\]\(([^)]+)\)", cell.source):
            if not target.startswith("http"):
                assert (NOTEBOOKS / target).exists(), target
