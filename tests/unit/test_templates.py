"""Data files with the lab's values filled in."""

import re

import pytest
import yaml

from labkit.config import load_lab
from labkit.errors import LabError
from labkit.paths import DATA
from labkit.templates import manifests, read_manifests, render

VALUES = {
    "registry": "127.0.0.1:1",
    "gitea_url": "http://127.0.0.1:1",
    "gitea_localhost_url": "http://localhost:1",
    "organisation": "lab",
    "bot": "bot",
    "bot_token": "token",
    "environments": [
        {"name": name, "argocd_token": "secret", "database_url": "http://127.0.0.1:5"}
        for name in ("dev", "pre", "prod")
    ],
    "stages": [
        {
            "name": item.stage,
            "environment": item.environment.name,
            "namespace": item.namespace,
            "application": item.application,
            "branch": item.branch,
            "sources": list(item.sources),
            "app_url": "http://127.0.0.1:3",
            "argocd_url": "http://127.0.0.1:2",
        }
        for item in load_lab().destinations
    ],
    "production_url": "http://127.0.0.1:3",
    "project": "demo-app",
    "preview": False,
    "tiers": ["frontend", "backend", "database"],
    "pods": "process",
    "acceptance_image": "127.0.0.1:1/lab/acceptance:1.0.0",
    "prometheus_url": "http://127.0.0.1:4",
}
PARTS = ("project", "project-config", "credentials", "analysis-templates", "warehouse", "stages")
KARGO_FILES = [f"kargo/{name}.yaml" for name in PARTS]


def test_values_are_filled_in():
    (project,) = (item for item in manifests("kargo/project.yaml", **VALUES) if item["kind"] == "Project")
    assert project["metadata"]["name"] == "demo-app"
    assert "127.0.0.1:1/lab/frontend" in render("kargo/warehouse.yaml", **VALUES)


@pytest.mark.parametrize("name", KARGO_FILES)
def test_nothing_is_left_to_fill_in(name):
    text = render(name, **VALUES)
    assert not re.search(r"<<|>>|<%|%>|<#|#>", text)
    assert all(item["kind"] and item["metadata"]["name"] for item in yaml.safe_load_all(text) if item)


def test_kargos_own_expressions_stay():
    stages = {item["metadata"]["name"]: item for item in manifests("kargo/stages.yaml", **VALUES)}
    assert list(stages) == [item.stage for item in load_lab().destinations]
    for name, stage in stages.items():
        steps = stage["spec"]["promotionTemplate"]["spec"]["steps"]
        expressions = re.findall(r"\$\{\{.*?\}\}", yaml.safe_dump(steps, width=10_000))
        assert "${{ secret('gitea').password }}" in expressions, name
        for tier in VALUES["tiers"]:
            assert any(f"/lab/{tier}" in expression for expression in expressions), (name, tier)


@pytest.mark.parametrize("name", [*KARGO_FILES, "kwok/cluster.yaml", "argocd/demo-app.yaml", "gitea/app.ini"])
def test_a_value_that_is_missing_is_named_with_the_file(name):
    with pytest.raises(LabError) as caught:
        render(name)
    assert f"data/{name}" in caught.value.what
    assert "is undefined" in caught.value.seen


@pytest.mark.parametrize("pods", ["process", "simulated"])
def test_every_analysis_template_that_a_stage_asks_for_exists_with_the_arguments_it_needs(pods):
    values = VALUES | {"pods": pods}
    templates = {
        item["metadata"]["name"]: item["spec"] for item in manifests("kargo/analysis-templates.yaml", **values)
    }
    for stage in manifests("kargo/stages.yaml", **values):
        verification = stage["spec"]["verification"]
        given = {item["name"] for item in verification["args"]}
        needed = set()
        for reference in verification["analysisTemplates"]:
            arguments = templates[reference["name"]].get("args") or []
            needed |= {item["name"] for item in arguments if not item.get("value") and not item.get("valueFrom")}
        assert needed <= given, f"Stage {stage['metadata']['name']} does not give {needed - given}"


def test_no_job_verifies_where_pods_are_simulated():
    """KWOK would complete it by itself."""
    templates = manifests("kargo/analysis-templates.yaml", **VALUES | {"pods": "simulated"})
    providers = {next(iter(metric["provider"])) for item in templates for metric in item["spec"]["metrics"]}
    assert providers == {"web"}


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(LabError, match=r"data/kargo/no-such-file\.yaml"):
        render("kargo/no-such-file.yaml")


def test_plain_files_are_read_whole(tmp_path):
    first, second = tmp_path / "1.yaml", tmp_path / "2.yaml"
    first.write_text("---\nkind: A\n---\n---\nkind: B\n")
    second.write_text("kind: C\n")
    assert [item["kind"] for item in read_manifests(first, second)] == ["A", "B", "C"]


@pytest.mark.parametrize("file", sorted(DATA.glob("gitops/**/*.yaml")), ids=lambda file: str(file.relative_to(DATA)))
def test_manifests_of_the_gitops_repo_are_plain_yaml(file):
    assert read_manifests(file)
