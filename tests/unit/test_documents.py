"""What is written for people: links lead somewhere, both languages say the same, and what is named exists."""

import json
import re
from urllib.parse import urlparse

import nbformat
import pytest

from labkit import checks
from labkit.config import load_lab
from labkit.observability.alerts import RUNBOOKS
from labkit.paths import NOTEBOOKS, REPO, LabHome

ENGLISH, SPANISH = (REPO / "README.md", REPO / "README.es.md")
# Documents of the project; those below data/ belong to the repos that the lab makes of them.
DOCUMENTS = [
    *sorted(REPO.glob("*.md")),
    *sorted((REPO / "docs").rglob("*.md")),
    *sorted((REPO / "tests").rglob("*.md")),
    *sorted((REPO / "labkit").rglob("*.md")),
    *sorted(NOTEBOOKS.glob("*.ipynb")),
]
# Who documents what the lab uses: nothing else is linked to.
OFFICIAL = {
    *("argo-cd.readthedocs.io", "argo-rollouts.readthedocs.io", "docs.kargo.io", "dora.dev", "kubernetes.io"),
    *("kubectl.docs.kubernetes.io", "kwok.sigs.k8s.io", "prometheus.io", "sre.google"),
}
LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^()\s]+(?:\([^()]*\))?[^()\s]*)\)")
HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def _prose(file):
    """The text of a document without its code blocks; of a notebook, that of its Markdown cells."""
    if file.suffix == ".ipynb":
        cells = nbformat.read(file, as_version=4).cells
        return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return FENCE.sub("", file.read_text())


def _anchors(file):
    """The anchors of a document's headings, as forges make them."""
    titles = [re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", title) for _, title in HEADING.findall(_prose(file))]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def _links(file):
    return LINK.findall(re.sub(r"`[^`\n]*`", "", _prose(file)))


def _shown(file):
    return str(file.relative_to(REPO))


@pytest.mark.parametrize("file", DOCUMENTS, ids=_shown)
def test_its_links_resolve(file):
    for target in _links(file):
        if urlparse(target).scheme:
            continue
        path, _, anchor = target.partition("#")
        found = (file.parent / path).resolve() if path else file
        assert found.exists(), f"{target} leads nowhere"
        assert found.is_relative_to(REPO), f"{target} leads out of the project"
        if anchor:
            assert anchor in _anchors(found), f"{target}: {_shown(found)} has only {sorted(_anchors(found))}"


@pytest.mark.parametrize("file", DOCUMENTS, ids=_shown)
def test_its_links_elsewhere_lead_to_official_documentation(file):
    for target in _links(file):
        address = urlparse(target)
        if address.scheme:
            assert address.scheme == "https", target
            assert address.hostname in OFFICIAL, target
            assert not address.username, target
            assert re.fullmatch(r"[\w./#\-]*", address.path), target


def test_links_were_found():
    found = [target for file in DOCUMENTS for target in _links(file)]
    assert len(found) > 100
    assert {urlparse(target).hostname for target in found if urlparse(target).scheme} == OFFICIAL
    assert any("#" in target for target in found if not urlparse(target).scheme)


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("see [a](b.md) and ![c](d.png)", ["b.md", "d.png"]),
        ("[![badge](b.svg)](page.md)", ["page.md"]),
        ("`[no](link)` here", []),
    ],
)
def test_links_are_read_as_they_are_written(text, targets, tmp_path):
    file = tmp_path / "page.md"
    file.write_text(text)
    assert _links(file) == targets


def test_every_page_is_reached_from_the_readme():
    reached, to_see = set(), [ENGLISH]
    while to_see:
        file = to_see.pop()
        if file in reached:
            continue
        reached.add(file)
        if file.suffix in (".md", ".ipynb"):
            to_see += [
                (file.parent / target.partition("#")[0]).resolve()
                for target in _links(file)
                if not urlparse(target).scheme and target.partition("#")[0]
            ]
    folders = {file for file in reached if file.is_dir()}
    unreached = [
        _shown(file)
        for file in (*(REPO / "docs").rglob("*.md"), *NOTEBOOKS.glob("*.ipynb"), SPANISH)
        if file not in reached and file.parent not in folders
    ]
    assert not unreached


# Two languages


def _tables(file):
    """The tables of a document: rows of cells."""
    blocks = re.findall(r"(?:^\|.*\|\n)+", FENCE.sub("", file.read_text()), re.MULTILINE)
    return [[row.strip("|").split("|") for row in block.splitlines()] for block in blocks]


def _code_blocks(file):
    """Code without the comments, which are prose; a picture of text as it is."""
    blocks = FENCE.findall(file.read_text())
    return [[line.partition(" # ")[0].rstrip() for line in block.splitlines()] for block in blocks]


def _named(file):
    """What stands in code in the text."""
    return sorted(re.findall(r"`([^`\n]+)`", FENCE.sub("", file.read_text())))


def _numbers(text):
    return re.findall(r"\d+(?:\.\d+)*", text)


def test_both_readmes_have_the_same_headings():
    levels = [[level for level, _ in HEADING.findall(_prose(file))] for file in (ENGLISH, SPANISH)]
    assert levels[0] == levels[1]


def test_both_readmes_have_the_same_code():
    assert _code_blocks(ENGLISH) == _code_blocks(SPANISH)
    assert _named(ENGLISH) == _named(SPANISH)


def test_both_readmes_have_the_same_links():
    others = {"README.md", "README.es.md"}
    links = [[target for target in _links(file) if target not in others] for file in (ENGLISH, SPANISH)]
    assert links[0] == links[1]


def test_both_readmes_have_the_same_tables_with_the_same_figures():
    english, spanish = _tables(ENGLISH), _tables(SPANISH)
    assert [[len(row) for row in table] for table in english] == [[len(row) for row in table] for table in spanish]
    for ours, theirs in zip(english, spanish, strict=True):
        for row, same in zip(ours, theirs, strict=True):
            for cell, other in zip(row, same, strict=True):
                assert _numbers(cell) == _numbers(other), f"{cell} | {other}"


def test_both_readmes_have_the_same_figures_in_their_text():
    figures = [sorted(_numbers(_prose(file))) for file in (ENGLISH, SPANISH)]
    assert figures[0] == figures[1]


def test_the_readme_is_read_in_five_minutes():
    """At 230 words a minute, without tables, code and addresses, which nobody reads word by word."""
    text = re.sub(r"^\|.*\|$", "", re.sub(r"\]\([^)]*\)", "]", _prose(ENGLISH)), flags=re.MULTILINE)
    assert len(text.split()) < 5 * 230


# What documents name


def _objectives():
    row = r"^\| (.+?) \| \[[^\]]+\]\(([^)]+)\) \| `labkit check ([\w-]+)` \|$"
    rows = re.findall(row, _page("objectives"), re.MULTILINE)
    assert len(rows) == _page("objectives").count("`labkit check ") - 1, "a row is not read"
    return rows


def _page(name):
    return (REPO / "docs" / f"{name}.md").read_text()


def test_the_objectives_are_those_of_the_source_document():
    assert [title for level, title in HEADING.findall(_page("objectives")) if level == "##"] == [
        "Multi-cluster GitOps management",
        "Progressive delivery with Kargo",
        "Environment promotion strategies",
        "Production-grade monitoring",
        "Enterprise workflows simulation",
    ]


@pytest.mark.parametrize(("objective", "notebook", "check"), _objectives(), ids=lambda value: value[:40])
def test_an_objective_has_a_notebook_that_teaches_it_and_a_check_that_proves_it(objective, notebook, check):
    file = (REPO / "docs" / notebook).resolve()
    assert check in checks.check_names()
    assert file.parent == NOTEBOOKS
    text = file.read_text()
    assert f'check(lab, \\"{check}\\")' in text or f"labkit check {check}" in text, f"{file.name} does not make it"


@pytest.mark.parametrize("file", [file for file in DOCUMENTS if file.suffix == ".md"], ids=_shown)
def test_every_check_that_a_document_names_exists(file):
    named = set(re.findall(r"`labkit check ([a-z][\w-]*)", file.read_text()))
    assert named <= set(checks.check_names())


def test_every_notebook_is_in_the_readme():
    for file in NOTEBOOKS.glob("*.ipynb"):
        assert f"[{file.stem}](notebooks/{file.name})" in ENGLISH.read_text()


def test_the_glossary_explains_kargos_and_argo_cds_words():
    rows = [row[0] for table in _tables(REPO / "docs" / "glossary.md") for row in table[2:]]
    words = " ".join(rows)
    wanted = ("Application", "AppProject", "sync", "health", "Freight", "Stage", "Promotion", "Warehouse", "Project")
    for word in (*wanted, "verification", "AnalysisRun", "shard", "gate", "hold", "freeze", "kargolite", "pod runner"):
        assert re.search(rf"\b{word}\b", words), word


def test_every_alert_has_its_runbook_and_no_runbook_is_without_alert():
    text = (REPO / "data" / "observability" / "alerts.yaml").read_text()
    pages = {file.stem for file in (REPO / RUNBOOKS).glob("*.md")}
    assert pages == set(re.findall(r"^\s+- (?:alert|name): (\w+)$", text, re.MULTILINE))


# The development container


def _devcontainer():
    lines = (REPO / ".devcontainer" / "devcontainer.json").read_text().splitlines()
    return json.loads("\n".join(line for line in lines if not line.lstrip().startswith("//")))


def test_the_development_container_is_a_plain_python_one_with_the_lab_in_it():
    read = _devcontainer()
    assert re.fullmatch(r"mcr\.microsoft\.com/devcontainers/python:3\.\d+-\w+", read["image"])
    assert "features" not in read, "the lab needs no container engine"
    target = read["postCreateCommand"].removeprefix("make ")
    makefile = (REPO / "Makefile").read_text()
    assert re.search(rf"^READY := {re.escape(target)}$", makefile, re.MULTILINE)
    assert "nobody has started this" in (REPO / ".devcontainer" / "devcontainer.json").read_text()


def test_the_development_container_has_what_preflight_asks_for(tmp_path):
    lab, asked = load_lab(LabHome(tmp_path / "lab")), _devcontainer()["hostRequirements"]
    assert int(asked["memory"].removesuffix("gb")) > lab.limits.memory_gib
    assert int(asked["storage"].removesuffix("gb")) > lab.limits.disk_gib + lab.limits.cache_gib


def test_the_development_container_forwards_the_labs_pages(tmp_path, monkeypatch):
    monkeypatch.delenv("LABKIT_PORT_BASE", raising=False)
    lab, read = load_lab(LabHome(tmp_path / "lab")), _devcontainer()
    shared = ("gitea", "kargo-api", "prometheus", "alertmanager", "pager", "dashboards", "grafana")
    pages = {lab.port(name) for name in shared}
    pages |= {lab.port(name, item) for name in ("argocd-server", "app") for item in lab.environments}
    assert set(read["forwardPorts"]) == pages | {8888}
    assert {int(port) for port in read["portsAttributes"]} == set(read["forwardPorts"])
