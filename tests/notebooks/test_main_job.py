"""`make lab`: the notebooks bring up the lab and leave it as the seed's table says."""

from __future__ import annotations

import html
import json
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import pytest
from _labkit import labkit, rollout_state
from _notebooks import FILES, cells, commands, only_reads

from labkit.checks import NotYet, check, seed_versions, solution
from labkit.config import Lab
from labkit.demo_app import app_page
from labkit.kubectl import kubectl
from labkit.observability.pages import notice_table
from labkit.paths import NOTEBOOKS
from labkit.process import PYTHON, run
from labkit.promotion import find_freight, find_stage, freight_table, promotion_table
from labkit.runner import notebook_files, run_notebooks
from labkit.wait import wait_for

# The verbs of kubectl that notebooks use. Those that change something are run by their notebook alone.
READS = {"auth", "config", "get", "logs"}
CHANGES = {"scale"}
# What takes longer shows its progress. On a machine that is busy with other tests, even what is short takes a while.
_LONG_SECONDS = 5.0
_OPTIONS_WITH_VALUE = {"--as", "--context", "-n"}


def _verb(command: str) -> str:
    words = iter(shlex.split(command)[1:])
    for word in words:
        if word in _OPTIONS_WITH_VALUE:
            next(words)
        elif not word.startswith("-"):
            return word
    return ""


def _commands() -> list[str]:
    return [command for file in FILES for command in commands(file)]


def _rollouts(lab: Lab) -> dict[str, object]:
    return {environment.name: rollout_state(lab, environment.name) for environment in lab.environments}


def test_every_notebook_left_an_executed_copy_and_a_page(executed: Path) -> None:
    for file in notebook_files():
        copy = nbformat.read(executed / file.name, as_version=4)
        unexecuted = [cell.source for cell in copy.cells if cell.cell_type == "code" and cell.execution_count is None]
        assert not unexecuted, f"{file.name}: cells without execution count"
        assert (executed / f"{file.stem}.html").stat().st_size > 10_000
    assert "kargolite" in (executed / "report.html").read_text() or "kargo" in (executed / "report.html").read_text()


def test_what_takes_long_says_what_it_is_doing(executed: Path) -> None:
    silent = []
    for file in notebook_files():
        # The first imports, a chart is drawn by the page that shows it: nobody can tell of that before it is done.
        _, *steps = cells(executed / file.name, "code")
        for cell in [step for step in steps if "figure" not in step.metadata.tags]:
            shown = [output.data for output in cell.outputs if output.output_type == "display_data"]
            said = [data.get("text/plain", "") for data in shown]
            if cell.metadata.papermill.duration > _LONG_SECONDS and not any(line.startswith("✓ ") for line in said):
                silent.append(f"{file.stem}: {cell.source} ({cell.metadata.papermill.duration:.1f} s)")
    assert not silent, "\n".join(silent)


@pytest.mark.parametrize("environment", ["dev", "pre", "prod"])
def test_each_cluster_runs_the_seeds_versions(lab: Lab, environment: str) -> None:
    command = f"kubectl --context gitops-{environment} -n demo-app get deployments"
    images = kubectl(lab, f"{command} -o jsonpath={{.items[*].spec.template.spec.containers[0].image}}").output
    found = dict(image.rsplit("/", 1)[1].rsplit(":", 1) for image in images.split())
    assert found == seed_versions(lab)[environment]


@pytest.mark.parametrize("environment", ["dev", "pre", "prod"])
def test_each_application_is_synced_and_healthy(lab: Lab, environment: str) -> None:
    shown = kubectl(
        lab,
        f"kubectl --context gitops-{environment} -n argocd get application demo-app "
        "-o jsonpath={.status.sync.status},{.status.health.status}",
    )
    assert shown.output == "Synced,Healthy"


@pytest.mark.parametrize("stage", ["dev", "pre", "prod"])
def test_each_stage_is_healthy_and_verified(lab: Lab, stage: str) -> None:
    shown = json.loads(kubectl(lab, f"kubectl --context gitops-dev -n demo-app get stage {stage} -o json").output)
    conditions = {item["type"]: item["status"] for item in shown["status"]["conditions"]}
    assert conditions == {"Ready": "True", "Healthy": "True", "Verified": "True"}, shown["status"]["conditions"]


@pytest.fixture(scope="module")
def shell(lab: Lab) -> dict[str, str]:
    """The variables of a shell after `eval "$(labkit env)"`."""
    environment = run(["bash", "-c", f'eval "$({PYTHON} -m labkit env)"; env'], env={"LABKIT_HOME": str(lab.home.root)})
    variables = dict(line.split("=", 1) for line in environment.splitlines() if "=" in line)
    return {name: variables[name] for name in ("KUBECONFIG", "KUBECACHEDIR", "PATH")}


def test_of_every_command_shown_it_is_known_whether_it_changes_something() -> None:
    assert {_verb(command) for command in _commands()} == READS | CHANGES


@pytest.mark.parametrize("command", [command for command in _commands() if _verb(command) in READS])
def test_commands_shown_in_the_notebooks_work_in_a_shell(shell: dict[str, str], command: str) -> None:
    assert run(["bash", "-c", command], env=shell).strip()


def test_kargo_says_who_asked_where_the_notebook_shows_it(executed: Path) -> None:
    outputs = [output for cell in cells(executed / "04-deploy-demo-app.ipynb", "code") for output in cell.outputs]
    (shown,) = [
        text for text in (output.get("data", {}).get("text/plain", "") for output in outputs) if "ACTOR" in text
    ]
    assert "developer" in shown.splitlines()[-1]


@pytest.fixture
def in_the_lab(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal in which the lab is the one that commands mean."""
    monkeypatch.setenv("LABKIT_HOME", str(lab.home.root))
    monkeypatch.delenv("LABKIT_PORT_BASE")


@pytest.mark.usefixtures("in_the_lab")
def test_a_second_run_on_the_running_lab_changes_nothing(lab: Lab) -> None:
    before = _rollouts(lab)
    run_notebooks(lab)
    assert _rollouts(lab) == before


def test_the_notebooks_folder_holds_notebooks_only() -> None:
    assert [path.name for path in NOTEBOOKS.iterdir() if path.suffix != ".ipynb" and path.name[0] != "."] == []


@pytest.mark.usefixtures("in_the_lab")
def test_promotion_in_depth_leaves_the_versions_as_it_found_them(lab: Lab) -> None:
    folder = run_notebooks(lab, ["10-promotion-in-depth"])
    assert (folder / "10-promotion-in-depth.html").stat().st_size > 10_000
    for name in ("versions", "branches", "verified", "evidence"):
        assert check(lab, name).found


@pytest.mark.usefixtures("in_the_lab")
def test_comparing_the_environments_draws_what_was_measured(lab: Lab) -> None:
    folder = run_notebooks(lab, ["09-compare-environments"])
    steps = cells(folder / "09-compare-environments.ipynb", "code")
    figures = [cell for cell in steps if "figure" in cell.metadata.get("tags", [])]
    drawn = [
        trace
        for cell in figures
        for output in cell.outputs
        for trace in output.get("data", {}).get("application/vnd.plotly.v1+json", {}).get("data", [])
    ]
    names = {trace.get("name") for trace in drawn}
    assert len(figures) == 9
    assert {environment.name for environment in lab.environments} <= names, names


@pytest.mark.usefixtures("in_the_lab")
@pytest.mark.parametrize("file", [file for file in FILES if only_reads(file)], ids=lambda file: file.stem)
def test_what_only_reads_finds_what_is_stored(file: Path) -> None:
    nbval = ("--nbval", "--nbval-cell-timeout=120", "-p", "no:cacheprovider")
    shown = run([PYTHON, "-m", "pytest", *nbval, file], timeout=300)
    assert "passed" in shown


@pytest.mark.usefixtures("in_the_lab")
def test_a_fault_in_prod_pages_and_is_repaired_from_git(lab: Lab) -> None:
    before = rollout_state(lab, "prod")
    began = datetime.now(UTC)
    run_notebooks(lab, ["08-observability"])
    (page,) = [row for row in notice_table(lab) if row.alert == "AppUnreachable" and row.received > began]
    assert (page.channel, page.environment, page.state) == ("page", "prod", "resolved")
    assert page.acknowledged_by == "on-call-primary"
    after = rollout_state(lab, "prod")
    assert (after["revision"], after["images"]) == (before["revision"], before["images"])
    assert len(after["pods"]) == len(before["pods"])
    assert check(lab, "as-git-says").found


@pytest.mark.usefixtures("in_the_lab")
def test_a_feature_goes_from_its_branch_to_prod(lab: Lab) -> None:
    before = rollout_state(lab, "prod")["revision"]
    run_notebooks(lab, ["05-feature-development"], {"feature": "candles"})
    assert check(lab, "feature-released").found
    newest, released = freight_table(lab, project="demo-app-preview")[0], freight_table(lab)[0]
    assert "-feature-" in newest.versions["frontend"]
    assert {environment.name for environment in lab.environments} <= set(released.verified_in)
    assert rollout_state(lab, "prod")["revision"] != before
    assert "candles" in app_page(lab, "prod").announcement


@pytest.mark.usefixtures("in_the_lab")
def test_a_hotfix_reaches_prod_without_dev_and_then_the_main_line(lab: Lab) -> None:
    before = find_freight(lab, find_stage(lab, "prod").freight_name)
    run_notebooks(lab, ["06-hotfix"], {"reason": "somebody has ordered a script"})
    fix = find_freight(lab, find_stage(lab, "prod").freight_name)
    changed = {tier for tier, version in fix.versions.items() if version != before.versions[tier]}
    assert changed == {"frontend"}
    assert set(fix.verified_in) == {"hotfix", "pre", "prod"}
    newest = promotion_table(lab, "prod")[0]
    file = lab.home.evidence / f"{newest.promotion}.json"
    wait_for(f"the record of {newest.promotion}", file.exists, timeout=60)
    record = json.loads(file.read_text())
    assert record["exceptions"] == [
        "not verified in dev, but in hotfix",
        "an emergency may pass a freeze: somebody has ordered a script",
    ]
    assert record["pull_request"]["merged_by"] == "release-manager"
    for name in ("hotfixed", "fix-in-main-line", "answers"):
        assert check(lab, name).found


def test_the_report_tells_what_each_story_took(lab: Lab, tmp_path: Path) -> None:
    told = labkit(lab, "scenario", "told", "--output", "json").json
    assert {row["story"] for row in told} == {"feature", "hotfix"}, "the notebooks that this lab has seen"
    done = labkit(lab, "report", "--output", str(tmp_path / "report.html"))
    assert done.code == 0, done
    section = (tmp_path / "report.html").read_text().partition('<h2 id="stories">')[2].partition("</section>")[0]
    for row in told:
        assert html.escape(row["about"]) in section
        for fact in row["facts"]["rows"]:
            assert fact["value"] > 0, fact
            assert f">{fact['value']:g}</td>" in section, fact


@pytest.fixture
def stages_as_they_were(lab: Lab, shell: dict[str, str]) -> Iterator[None]:
    """What an exercise changes about the Stages is taken back."""
    where = ["kubectl", "--context", "gitops-dev", "-n", "demo-app"]
    known = json.loads(run([*where, "get", "stages", "-o", "json"], env=shell))["items"]
    yield
    for item in json.loads(run([*where, "get", "stages", "-o", "json"], env=shell))["items"]:
        name = item["metadata"]["name"]
        if name not in [stage["metadata"]["name"] for stage in known]:
            run([*where, "delete", "stage", name], env=shell)
    for stage in known:
        patch = json.dumps({"spec": {"verification": stage["spec"]["verification"]}})
        run([*where, "patch", "stage", stage["metadata"]["name"], "--type", "merge", "--patch", patch], env=shell)


def _solved(lab: Lab, name: str) -> str:
    try:
        return check(lab, name).found
    except NotYet:
        return ""


@pytest.mark.usefixtures("stages_as_they_were")
@pytest.mark.parametrize("name", ["exercise-stricter-gate", "exercise-fourth-stage", "exercise-two-regions"])
def test_an_exercise_is_not_done_until_its_solution_was_carried_out(lab: Lab, shell: dict[str, str], name: str) -> None:
    assert not _solved(lab, name)
    run(["bash", "-c", solution(name)], env=shell)
    assert wait_for(f"{name} to be solved", lambda: _solved(lab, name), timeout=30)
