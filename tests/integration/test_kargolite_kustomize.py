"""kargolite's kustomize-build step with the real kustomize."""

import os

import pytest
import yaml
from unit.kargolite.repositories import clone, gitops_repository, run, step

from labkit.toolchain import ensure_tools


@pytest.fixture(autouse=True)
def _kustomize_on_path(monkeypatch):
    folder = ensure_tools(("kustomize",)).path("kustomize").parent
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


SET = step(
    "kustomize-set-image",
    "set",
    {"path": "./src/overlays/dev", "images": [{"image": "127.0.0.1:3000/lab/frontend", "tag": "1.0.0"}]},
)


def test_each_resource_becomes_a_file_named_as_kargo_names_it(tmp_path):
    work = tmp_path / "work"
    build = step("kustomize-build", "build", {"path": "./src/overlays/dev", "outPath": "./out"})
    assert run(work, clone(gitops_repository(tmp_path)), SET, build).phase == "Succeeded"
    written = work / "out" / "demo-app-deployment-frontend.yaml"
    manifest = yaml.safe_load(written.read_text())
    assert manifest["spec"]["template"]["spec"]["containers"][0]["image"] == "127.0.0.1:3000/lab/frontend:1.0.0"
    assert 'build: "1e3"' in written.read_text(), "a string that looks like a number must stay a string"


def test_one_file_for_all(tmp_path):
    work = tmp_path / "work"
    build = step("kustomize-build", "build", {"path": "./src/overlays/dev", "outPath": "./out/all.yaml"})
    assert run(work, clone(gitops_repository(tmp_path)), build).phase == "Succeeded"
    assert yaml.safe_load((work / "out" / "all.yaml").read_text())["kind"] == "Deployment"


def test_a_broken_overlay_errors_the_promotion(tmp_path):
    work = tmp_path / "work"
    run(work, clone(gitops_repository(tmp_path)))
    (work / "src/overlays/dev/kustomization.yaml").write_text("resources: [missing.yaml]\n")
    done = run(work, step("kustomize-build", "build", {"path": "./src/overlays/dev", "outPath": "./out"}))
    assert done.phase == "Errored"
    assert "missing.yaml" in done.message
    assert str(tmp_path) not in done.message
