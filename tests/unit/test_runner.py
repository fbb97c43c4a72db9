"""Which notebooks run, and in which order."""

import nbformat
import pytest

from labkit.errors import UsageError
from labkit.paths import NOTEBOOKS
from labkit.progress import step
from labkit.runner import _run, notebook_files

EVERY = sorted(file.stem for file in NOTEBOOKS.glob("*.ipynb"))


def _chosen(*names):
    return [file.stem for file in notebook_files(names)]


def test_the_main_job_runs_in_its_order():
    assert _chosen() == EVERY[:5]
    assert _chosen()[0] == "00-preflight"
    assert _chosen()[-1] == "04-deploy-demo-app"


@pytest.mark.parametrize("name", ["03", "03-", "03-install-kargo", "03-install-kargo.ipynb"])
def test_one_is_chosen_by_the_beginning_of_its_name(name):
    assert _chosen(name) == ["03-install-kargo"]


def test_the_clean_up_runs_where_it_is_asked_for():
    assert _chosen("99") == ["99-clean-up"]


def test_several_run_in_the_order_they_were_named():
    assert _chosen("04", "02") == ["04-deploy-demo-app", "02-install-argocd"]


def test_a_beginning_that_several_share_chooses_all_of_them():
    assert _chosen("0") == [name for name in EVERY if name.startswith("0")]


@pytest.mark.parametrize("name", ["", "77", "install-kargo", "notebooks/03-install-kargo.ipynb", "*"])
def test_a_name_that_is_none_is_wrong_usage(name):
    with pytest.raises(UsageError, match="There is no notebook") as caught:
        notebook_files(["03", name])
    assert "00-preflight, 01-create-clusters" in caught.value.todo
    assert caught.value.exit_code == 2


def test_they_are_files():
    assert all(file.is_file() for file in notebook_files())


def test_a_run_tells_how_far_it_is_and_in_which_section(tmp_path):
    markdown, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
    cells = [
        markdown("# Title"),
        code("1"),
        markdown("text\n\n## First\n\nmore"),
        code("# ## no heading\n2"),
        code("1/0"),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "in.ipynb")
    (tmp_path / "runs").mkdir()
    told = []
    with step("Notebook") as task:
        task.update = lambda done, note="": told.append((done, note))
        run = _run(tmp_path / "in.ipynb", tmp_path / "runs", {}, task)
    assert told == [(0, ""), (1, ""), (2, "First"), (3, "First"), (4, "First")]
    assert run.error == "ZeroDivisionError: division by zero"
