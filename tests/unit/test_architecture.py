"""The house: imports point down, what stands in is known to nobody, and nothing is tied to one machine."""

import ast
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

import pytest

from labkit.paths import REPO

# From the roof down: a module imports from its own layer and from those below. A package stands for all in it.
LAYERS = {
    "doors and what a reader sees": (
        "labkit.__main__",
        "labkit.cli",
        "labkit.notebook",
        "labkit.runner",
        "labkit.checks",
        "labkit.pipeline",
        "labkit.report",
    ),
    "stories told with the verbs": ("labkit.scenarios",),
    "the lab as a whole": (
        "labkit.demo_app",
        "labkit.deploy",
        "labkit.down",
        "labkit.drift",
        "labkit.incluster",
        "labkit.install",
        "labkit.preflight",
        "labkit.status",
        "labkit.urls",
    ),
    "what the lab does about Promotions by itself": ("labkit.guard",),
    "what is measured, and who hears of it": ("labkit.observability", "labkit.charts"),
    "verbs on Kargo's resources": ("labkit.promotion",),
    "services": ("labkit.services",),
    "delivery and clusters": ("labkit.delivery", "labkit.clusters"),
    "toolchain": ("labkit.toolchain",),
    "ground floor": (
        "labkit.asynckube",
        "labkit.certificates",
        "labkit.config",
        "labkit.errors",
        "labkit.findings",
        "labkit.health",
        "labkit.kube",
        "labkit.kubectl",
        "labkit.lock",
        "labkit.passwords",
        "labkit.paths",
        "labkit.process",
        "labkit.progress",
        "labkit.quantities",
        "labkit.rules",
        "labkit.settings_file",
        "labkit.tables",
        "labkit.templates",
        "labkit.theme",
        "labkit.wait",
        "labkit",
    ),
}
# Programs that the supervisor starts: nothing imports them, and they import the ground floor and these.
ROOMS = {
    "labkit.kargolite": ("labkit.delivery.oci",),
    "labkit.podrunner": ("labkit.delivery.oci",),
    "labkit.pager": (),
    "labkit.traffic": (),
    "labkit.dashboards": ("labkit.observability.panels",),
}

# Imports inside functions, and why they are there.
DEFERRED = {
    ("labkit.cli.lab", "labkit.runner"): "papermill takes longer to import than all else together",
    ("labkit.cli.observability", "labkit.observability.logs"): "so does pandas, and most commands do without",
    ("labkit.cli.reports", "labkit.report"): "so do pandas and plotly",
    ("labkit.cli.board", "labkit.pipeline.page"): "so do ipywidgets and Voilà",
    ("labkit.cli.lab", "labkit.checks"): "pandas, again",
    ("labkit.progress", "IPython.display"): "a command line does without, and starts faster",
    (
        "labkit.delivery.oci",
        "labkit.delivery.registry_client",
    ): "oras builds grammars as it is imported: two seconds",
    **{
        ("labkit.cli.scenarios", f"labkit.scenarios.{name}"): "pandas, too"
        for name in ("feature", "hotfix", "rollback", "told")
    },
}

# Who asks which engine reconciles Kargo's resources, and for what; nobody else may.
ASKS_FOR_ENGINE = {
    "labkit.config": "the setting itself",
    "labkit.services.kargo": "its public names",
    "labkit.services.kargo.engine": "chooses it",
    "labkit.services.kargo.install": "starts it",
    "labkit.cli.lab": "the option that sets it",
    "labkit.install": "has it pulled before it is started",
    "labkit.status": "shows it",
    "labkit.preflight": "shows what it would be",
}
BRANCHES_ON_ENGINE = {
    "labkit.config": "refuses the stand-in for clusters that are not embedded",
    "labkit.services.kargo.engine": "chooses the one or the other",
    "labkit.services.kargo.install": "starts the one or the other",
    "labkit.preflight": "the genuine one is `ok`, the stand-in worth a `note`",
}
ENGINE_NAMES = {"ENGINES", "choose_engine", "ensure_engine", "recorded_engine", "running_engine"}

REGISTRIES = re.compile(
    r"proxy\.golang|sum\.golang|goproxy\.io|\bpypi\.(?:org|python)|python[h]osted|registry\.npm|npm[j]s\.|crates\.io|"
    r"repo\.maven|repo1\.maven|\bdeb\.debian|security\.debian",
    re.IGNORECASE,
)
# Folders that only some machine has. `/tmp` and the folders inside an image are everybody's.
MACHINE_PATHS = re.compile(r"(?<![\w.}$/])/(?:home|root|Users|Volumes|mnt|work|opt/try)/[\w.-]")
GO_SUMS = ("go.mod", "go.sum")


@dataclass(frozen=True)
class Import:
    """One import statement of a module."""

    module: str
    imported: str
    line: int
    deferred: bool

    def __str__(self):
        return f"{self.module}:{self.line} imports {self.imported}"


def _module_name(file):
    parts = file.relative_to(REPO).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_module_name(file): file for file in sorted((REPO / "labkit").rglob("*.py"))}
TREES = {name: ast.parse(file.read_text()) for name, file in MODULES.items()}


def _inside_functions(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from (child for child in ast.walk(node) if child is not node)


def _targets(module, node):
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    base = ".".join([*above, *([node.module] if node.module else [])])
    # `from package import name`: the name may be a module of its own.
    return sorted({f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base for alias in node.names})


def _imports() -> Iterator[Import]:
    for module, tree in TREES.items():
        deferred = {id(node) for node in _inside_functions(tree)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                for target in _targets(module, node):
                    yield Import(module, target, node.lineno, id(node) in deferred)


IMPORTS = list(_imports())
WITHIN = [found for found in IMPORTS if found.imported.partition(".")[0] == "labkit"]


def _belongs(module, place):
    return module == place or (place != "labkit" and module.startswith(f"{place}."))


def _places(module):
    found = [number for number, places in enumerate(LAYERS.values()) if any(_belongs(module, item) for item in places)]
    return found + [room for room in ROOMS if _belongs(module, room)]


def _said(found):
    return "\n".join(str(item) for item in found)


# Imports


def test_the_imports_were_read():
    found = {(item.module, item.imported) for item in WITHIN}
    assert ("labkit.services.kargo.install", "labkit.services.supervisor") in found
    assert ("labkit.cli.lab", "labkit.install") in found, "`from labkit import install` names a module"
    assert ("labkit.clusters", "labkit.clusters.kwok") in found
    assert len(MODULES) > 80


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_one_place_in_the_house(module):
    assert len(_places(module)) == 1, f"{module} is in {_places(module)}: give it one place in LAYERS or ROOMS"


def test_the_plan_of_the_house_names_what_exists():
    named = {place for places in LAYERS.values() for place in places} | set(ROOMS)
    assert named <= set(MODULES), named - set(MODULES)


def test_imports_point_down():
    upward = []
    for found in WITHIN:
        (here,), (there,) = _places(found.module), _places(found.imported)
        if isinstance(here, int) and isinstance(there, int) and there < here:
            upward.append(f"{found}: {list(LAYERS)[here]} → {list(LAYERS)[there]}")
    assert not upward, _said(upward)


def test_no_imports_run_in_a_circle():
    graph = {name: {item.imported for item in WITHIN if item.module == name} - {name} for name in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(reversed(error.args[1])))


def test_imports_stand_at_the_top_of_their_module():
    hidden = [item for item in IMPORTS if item.deferred and (item.module, item.imported) not in DEFERRED]
    assert not hidden, _said(hidden)


@pytest.mark.parametrize("pair", DEFERRED, ids=" imports ".join)
def test_a_deferred_import_is_still_there(pair):
    assert [item.deferred for item in IMPORTS if (item.module, item.imported) == pair] == [True]


def test_no_import_is_made_by_name():
    """`importlib.import_module` and `__import__` would hide from this test."""
    calls = [
        f"{module}:{node.lineno}"
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__")
    ]
    assert not calls, calls


def test_nobody_imports_a_room_of_its_own():
    from_outside = [
        item for item in WITHIN for room in ROOMS if _belongs(item.imported, room) and not _belongs(item.module, room)
    ]
    assert not from_outside, _said(from_outside)


def test_a_room_of_its_own_imports_the_ground_floor_and_little_else():
    ground = LAYERS["ground floor"]
    wrong = [
        item
        for item in WITHIN
        for room, more in ROOMS.items()
        if _belongs(item.module, room) and not any(_belongs(item.imported, place) for place in (room, *ground, *more))
    ]
    assert not wrong, _said(wrong)


# The engine that reconciles Kargo's resources


def _asks(node):
    match node:
        case ast.Attribute(value=ast.Attribute(attr="settings") | ast.Name(id="settings"), attr="kargo"):
            return True
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
            return name in ENGINE_NAMES
        case ast.Constant(value=str(text)):
            return text == "LABKIT_KARGO"
    return False


def _branches(node):
    match node:
        case ast.Compare() | ast.match_case():
            asked = node.pattern if isinstance(node, ast.match_case) else node
            constants = {item.value for item in ast.walk(asked) if isinstance(item, ast.Constant)}
            return bool(constants & {"kargo", "kargolite"})
    return False


def _where(asked):
    return {
        module
        for module, tree in TREES.items()
        if not _belongs(module, "labkit.kargolite") and any(asked(node) for node in ast.walk(tree))
    }


def test_few_places_know_of_the_choice_of_engine():
    assert _where(_asks) == ASKS_FOR_ENGINE.keys()


def test_nothing_but_its_start_up_depends_on_the_engine():
    assert _where(_branches) == BRANCHES_ON_ENGINE.keys()


# In notebooks' code and in manifests: who asks for the engine, or names one.
ENGINE_WORDS = re.compile(
    r"LABKIT_KARGO|settings\.kargo|(?:choose|ensure|recorded|running)_engine|\bengine\b|kargolite"
)
NAMES_ENGINE = {"data/report/report.html": "shows it"}


def _code_of_notebook(name):
    cells = json.loads(TRACKED[name])["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def _without_comments(text):
    return "\n".join(line.partition("#")[0] for line in text.splitlines())


def test_neither_notebooks_nor_manifests_depend_on_the_engine():
    code = {name: _code_of_notebook(name) for name in TRACKED if name.endswith(".ipynb")}
    own = [name for name in TRACKED if name.startswith("data/") and not name.endswith(GO_SUMS)]
    data = {name: _without_comments(TRACKED[name]) for name in own}
    assert code
    assert data
    assert {name for name, text in (code | data).items() if ENGINE_WORDS.search(text)} == NAMES_ENGINE.keys()


@pytest.mark.parametrize(
    "source", ["lab.settings.kargo", "from labkit.config import ENGINES", "running_engine(lab)", "get('LABKIT_KARGO')"]
)
def test_asking_for_the_engine_would_be_found(source):
    assert any(_asks(node) for node in ast.walk(ast.parse(source)))


@pytest.mark.parametrize(
    "source", ["if engine.name == 'kargolite': pass", "engine in ('kargo', '')", "match engine:\n case 'kargo': pass"]
)
def test_branching_on_the_engine_would_be_found(source):
    assert any(_branches(node) for node in ast.walk(ast.parse(source)))


# Files


def _tracked():
    names = subprocess.run(["git", "ls-files", "-z"], cwd=REPO, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (REPO / name).is_file():
            yield name, (REPO / name).read_text(errors="replace")


TRACKED = dict(_tracked())


def _lines_with(pattern, names):
    return [
        f"{name}:{number}: {line.strip()[:160]}"
        for name in names
        for number, line in enumerate(TRACKED[name].splitlines(), start=1)
        if pattern.search(line)
    ]


def test_the_files_were_read():
    assert {"pyproject.toml", "labkit/cli/lab.py", "data/lab.yaml", "notebooks/00-preflight.ipynb"} <= TRACKED.keys()


def test_no_file_names_a_package_registry():
    """Packages come from where the user's own pip, Go and conda are set to."""
    assert not _lines_with(REGISTRIES, [name for name in TRACKED if not name.endswith(GO_SUMS)])


def test_no_file_names_a_path_of_one_machine():
    assert not _lines_with(MACHINE_PATHS, [name for name in TRACKED if not name.endswith(GO_SUMS)])


@pytest.mark.parametrize("folder", ["home/ana/lab", "root/go", "Users/ana", "work/main", "opt/try/k8s", "mnt/c"])
@pytest.mark.parametrize("before", ["", "see ", "'", "=", ":"])
def test_a_path_of_one_machine_would_be_found(folder, before):
    assert MACHINE_PATHS.search(f"{before}/{folder}/file")


@pytest.mark.parametrize("text", ["https://example.org/home/index", "$HOME/root/x", "labkit/work/x", "/tmp/x"])
def test_other_paths_are_let_pass(text):
    assert not MACHINE_PATHS.search(text)
