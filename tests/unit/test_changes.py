"""Changes of the demo app that are kept as patches: they fit the newest release, and each other."""

import shutil

import pytest

from labkit.config import load_lab
from labkit.delivery.bugs import bug_table, find_bug
from labkit.delivery.changes import add_migration, apply, fits, has_migration
from labkit.delivery.defects import defect_table
from labkit.delivery.git import WorkingCopy
from labkit.delivery.schema_steps import find_schema_step, schema_columns, schema_step_table
from labkit.errors import UsageError
from labkit.paths import DATA
from labkit.templates import render

PROGRAM = "database/storage.py"


@pytest.fixture
def copy(tmp_path):
    """The source of the newest release."""
    folder = tmp_path / "demo-app"
    for part in (DATA / "demo-app", *sorted(path for path in (DATA / "demo-app-releases").iterdir() if path.is_dir())):
        shutil.copytree(part, folder, dirs_exist_ok=True)
    made = WorkingCopy(folder, "developer", {})
    made.git("init", "--quiet")
    return made


def _take(copy, step, old, new):
    apply(copy, render(f"demo-app-schema/{step.step}.patch", old=old, new=new))
    if step.migration:
        add_migration(copy, step.step, render(f"demo-app-schema/{step.step}.sql", old=old, new=new))


def _migrations(copy):
    return sorted(path.name for path in (copy.folder / "database" / "migrations").iterdir())


def test_the_schema_change_goes_forth_and_back_and_leaves_the_program_as_it_was(copy):
    program = copy.folder / PROGRAM
    before, (old, new) = program.read_text(), schema_columns()
    for step in schema_step_table():
        _take(copy, step, old, new)
    assert program.read_text() == before.replace(f'CUSTOMER = "{old}"', f'CUSTOMER = "{new}"') != before
    for step in schema_step_table():
        _take(copy, step, new, old)
    assert program.read_text() == before
    added = ["0004_expand.sql", "0005_contract.sql", "0006_expand.sql", "0007_contract.sql"]
    assert _migrations(copy)[3:] == added


def test_a_step_fits_after_the_one_before_in_one_direction_only(copy):
    old, new = schema_columns()
    steps = schema_step_table().rows
    for step in steps:
        fitting = [
            (later.step, way)
            for later in steps
            for way in ((old, new), (new, old))
            if not fits(copy, render(f"demo-app-schema/{later.step}.patch", old=way[0], new=way[1]))
        ]
        assert fitting == [(step.step, (old, new))]
        _take(copy, step, old, new)


def test_a_step_that_there_is_not_is_named():
    with pytest.raises(UsageError, match="There is no step 'shrink'"):
        find_schema_step("shrink")


@pytest.mark.parametrize("name", [row.defect for row in defect_table()])
def test_a_defect_fits_the_newest_release_before_and_after_the_schema_change(copy, name):
    patch = (DATA / "demo-app-defects" / f"{name}.patch").read_text()
    assert not fits(copy, patch)
    for step in schema_step_table():
        _take(copy, step, *schema_columns())
    assert not fits(copy, patch)


@pytest.mark.parametrize("bug", bug_table(), ids=lambda row: row.bug)
def test_every_release_has_the_bugs(bug):
    releases = [DATA / "demo-app", *sorted(path for path in (DATA / "demo-app-releases").iterdir() if path.is_dir())]
    files = [release / bug.file for release in releases if (release / bug.file).exists()]
    assert files
    for file in files:
        assert bug.wrong in file.read_text(), file
        assert bug.right not in file.read_text(), file


def test_a_bug_that_there_is_not_is_named():
    with pytest.raises(UsageError, match="There is no bug 'none'"):
        find_bug("none")


def test_a_migration_gets_the_next_number_and_is_known_by_its_name(copy):
    assert not has_migration(copy, "limit")
    add_migration(copy, "limit", "SELECT 1;")
    assert has_migration(copy, "limit")
    assert _migrations(copy)[len(load_lab().releases)] == "0004_limit.sql"
