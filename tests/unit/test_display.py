"""Whatever a cell or a command ends with reads well: a table in a notebook, text in a terminal, JSON for programs."""

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import typing
from types import NoneType, UnionType

import pytest
from rich.console import Console

import labkit
from labkit import cli, notebook
from labkit.config import load_lab
from labkit.paths import LabHome
from labkit.tables import Record, Table

# Objects of libraries that display by themselves.
FOREIGN = {"DataFrame", "Figure"}


def _import_all():
    for found in pkgutil.walk_packages(labkit.__path__, "labkit."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)


def _below(kind):
    for child in kind.__subclasses__():
        yield child
        yield from _below(child)


_import_all()


def _named(kind):
    return kind.__name__, kind.__module__


# Python keeps subclasses in no order; the suite's processes have to collect the same.
OF_LABKIT = sorted(
    {kind for kind in (*_below(Record), *_below(Table)) if kind.__module__.startswith("labkit.")},
    key=_named,
)
TABLES = [kind for kind in OF_LABKIT if issubclass(kind, Table)]
RECORDS = [kind for kind in OF_LABKIT if issubclass(kind, Record)]


def _classes(hint):
    if isinstance(hint, UnionType) or typing.get_origin(hint) is tuple:
        for part in typing.get_args(hint):
            yield from _classes(part)
    elif inspect.isclass(hint) and hint is not NoneType:
        yield hint


def _returned(function):
    return {kind for kind in _classes(typing.get_type_hints(function).get("return")) if kind.__name__ not in FOREIGN}


IN_NOTEBOOKS = {kind for name in notebook.__all__ for kind in _returned(getattr(notebook, name))}


def _shown_by_commands():
    """What the first argument of `show(…)` is, where the command line calls a function for it."""
    for found in pkgutil.iter_modules(cli.__path__, "labkit.cli."):
        module = importlib.import_module(found.name)
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "show" and isinstance(node.args[0], ast.Call):
                path, _, name = ast.unparse(node.args[0].func).rpartition(".")
                holder = getattr(module, path, None) if path else module
                called = getattr(holder, name, None)
                if inspect.isclass(called):
                    yield called
                elif called is not None:
                    yield from _returned(called)


BY_COMMANDS = sorted(set(_shown_by_commands()), key=_named)
SHOWN = sorted({*IN_NOTEBOOKS, *BY_COMMANDS}, key=_named)


def test_what_is_shown_was_found():
    names = {kind.__name__ for kind in SHOWN}
    assert {
        "Freight",
        "Stage",
        "StageTable",
        "Promotion",
        "Refusal",
        "ClusterTable",
        "Engine",
        "Evidence",
        "Lab",
    } <= names
    assert {"LabStatus", "FreezeTable"} <= {kind.__name__ for kind in BY_COMMANDS}
    assert len(RECORDS) > 25
    assert len(TABLES) > 15


@pytest.mark.parametrize("kind", SHOWN, ids=lambda kind: kind.__name__)
def test_it_has_a_form_for_notebooks_and_one_for_terminals(kind):
    forms = [getattr(kind, name, None) for name in ("_repr_html_", "_repr_mimebundle_")]
    assert any(callable(form) for form in forms), "no form for a notebook"
    assert _written_by_hand(kind.__repr__), "it would show as a constructor call"


def _written_by_hand(function):
    """Whether it is of a file: those that dataclasses make are not."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code is not None and code.co_filename.endswith(".py")


def test_a_form_that_nobody_has_written_would_be_found():
    @dataclasses.dataclass(frozen=True)
    class Plain:
        name: str

    assert not _written_by_hand(Plain.__repr__)
    assert not _written_by_hand(object.__repr__)


@pytest.mark.parametrize("kind", BY_COMMANDS, ids=lambda kind: kind.__name__)
def test_what_a_command_shows_is_json_too(kind):
    assert callable(getattr(kind, "as_json", None))


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_a_record_is_frozen_and_shows_its_fields(kind):
    assert kind.__dataclass_params__.frozen
    assert not kind.__dataclass_params__.repr, "a dataclass with repr=True shows as a constructor call"


@pytest.mark.parametrize("kind", TABLES, ids=lambda kind: kind.__name__)
def test_a_table_has_a_title_and_columns_that_its_rows_have(kind):
    (base,) = (base for base in kind.__orig_bases__ if typing.get_origin(base) is Table)
    (row,) = typing.get_args(base)
    fields = {field.name for field in dataclasses.fields(row)}
    properties = {name for name, value in inspect.getmembers(row) if isinstance(value, property)}
    assert kind.title
    assert kind.columns
    assert set(kind.columns) <= fields | properties, set(kind.columns) - fields - properties


def test_a_lab_says_what_was_chosen_for_it_in_a_few_lines(tmp_path):
    lab = load_lab(LabHome(tmp_path / "lab"))
    lines = repr(lab).splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "home",
        "provider",
        "port base",
        "kargo",
        "pods",
        "traffic",
        "clusters",
    ]
    assert "not made yet" in lines[0]
    assert "gitops-dev, gitops-pre, gitops-prod" in lab._repr_html_()
    assert Console(width=200).render_str(repr(lab)).plain
