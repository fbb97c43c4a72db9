"""From a git push to images and statuses: real Gitea, real webhook, real registry, the receiver as a process."""

import json
import subprocess
import sys
import time
from datetime import UTC, datetime

import httpx
import pytest
from _gitea import SECRET, ci_receiver, gitea_server  # noqa: F401 (the fixture)

from labkit.clusters import provider
from labkit.config import PROJECT, SOURCE_REPO, WAREHOUSE
from labkit.delivery.ci import BUILD, REFRESH, UNIT_TESTS, signature
from labkit.delivery.git import repo_path, working_copy
from labkit.delivery.oci import Registry, RegistryError, unpack_image
from labkit.delivery.releases import publish_release
from labkit.errors import LabError
from labkit.kube import Kube
from labkit.process import free_port_range
from labkit.templates import read_manifests
from labkit.toolchain import ensure_tools
from labkit.wait import wait_for

KARGO = "kargo.akuity.io/v1alpha1"
REPO = repo_path(SOURCE_REPO)


@pytest.fixture(scope="module")
def warehouse(gitea_server):  # noqa: F811
    """A real API server with a Warehouse that nothing reconciles; returns how it is now."""
    lab = gitea_server.lab
    clusters = provider(lab)
    try:
        clusters.ensure(lab.control)
        kube = Kube(clusters.own_kubeconfig(lab.control), lab.control.context)
        crds = read_manifests(*ensure_tools(["kargo-crds"]).folder("kargo-crds").glob("*warehouses.yaml"))
        kube.apply(*crds)
        kube.wait_for_crds(crds)
        kube.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PROJECT}},
            {
                "apiVersion": KARGO,
                "kind": "Warehouse",
                "metadata": {"name": WAREHOUSE, "namespace": PROJECT},
                "spec": {"subscriptions": [{"image": {"repoURL": lab.image("frontend")}}]},
            },
        )
        yield lambda: kube.need(KARGO, "Warehouse", WAREHOUSE, PROJECT)
    finally:
        clusters.delete(lab.control)


@pytest.fixture(scope="module")
def ci(gitea_server, warehouse, tmp_path_factory):  # noqa: F811
    lab = gitea_server.lab
    told = {
        "branches": "main",
        "kubeconfig": str(provider(lab).own_kubeconfig(lab.control)),
        "context": lab.control.context,
        "namespace": PROJECT,
        "warehouse": WAREHOUSE,
    }
    receiver = ci_receiver(gitea_server, tmp_path_factory.mktemp("ci"), afterBuild=[told])
    with receiver.running():
        yield receiver


def discoveries(warehouse):
    """What was last asked of the Warehouse, and which version of the object that made."""
    metadata = warehouse()["metadata"]
    return (metadata.get("annotations") or {}).get(REFRESH), metadata["resourceVersion"]


@pytest.fixture(scope="module")
def registry(ci):
    return Registry(ci.server.lab.registry, ci.server.ci_user, ci.server.ci_token)


@pytest.fixture(scope="module")
def first_release(ci):
    """The first release, pushed and built."""
    commit = publish_release(ci.server.lab, ci.server.lab.releases[0])
    assert {state for state, _ in finished(ci, commit).values()} == {"success"}
    return commit


def finished(ci, commit):
    """State and description of both statuses, once CI has done all it does for a commit."""

    def statuses():
        found = ci.server.admin.request("GET", f"/repos/{REPO}/commits/{commit}/status")["statuses"] or []
        return {status["context"]: status for status in found}

    def done(seen):
        final = set(seen) == {UNIT_TESTS, BUILD} and all(item["status"] != "pending" for item in seen.values())
        return final and "done after" in httpx.get(seen[BUILD]["target_url"], trust_env=False).text

    def shown(seen):
        return str({context: item["status"] for context, item in seen.items()})

    final = wait_for(f"CI to finish {commit[:7]}", statuses, done, describe=shown, timeout=120)
    return {context: (item["status"], item["description"]) for context, item in final.items()}


def push(ci, message, branch="main", **changes):
    """Change files as the developer (None deletes) and push; returns the commit."""
    copy = working_copy(ci.server.lab, SOURCE_REPO, "developer")
    for name, change in changes.items():
        path = copy.folder / name
        path.write_text(change(path.read_text()) if callable(change) else change)
    return copy.commit_and_push(message, branch)


def files(**changes):
    return changes


def test_a_push_becomes_three_images(ci, registry, first_release):
    versions = ci.server.lab.releases[0].versions
    for tier, version in versions.items():
        assert registry.tags(f"lab/{tier}") == [version]
        image = registry.find(f"lab/{tier}", version)
        assert image.labels["org.opencontainers.image.revision"] == first_release
        assert image.labels["org.opencontainers.image.version"] == version
        manifest = httpx.get(
            f"http://{registry.host}/v2/lab/{tier}/manifests/{image.digest}",
            headers={"Accept": "application/vnd.oci.image.manifest.v1+json"},
            auth=(ci.server.ci_user, ci.server.ci_token),
            trust_env=False,
        )
        assert manifest.json()["annotations"] == dict(image.labels)


def test_discovery_is_requested_once_when_all_three_images_are_there(ci, registry, first_release, warehouse):
    log = httpx.get(f"{ci.url}/runs/{first_release}", trust_env=False).text
    assert log.index("pushed frontend") < log.index("asked Warehouse demo-app/demo-app")
    assert log.count("asked Warehouse") == 1
    asked = datetime.fromisoformat(discoveries(warehouse)[0])
    assert abs((datetime.now(UTC) - asked).total_seconds()) < 300


def test_the_status_leads_to_the_log(ci, first_release):
    statuses = ci.server.admin.request("GET", f"/repos/{REPO}/commits/{first_release}/status")["statuses"]
    target = {status["target_url"] for status in statuses}
    assert target == {f"{ci.url}/runs/{first_release}"}
    log = httpx.get(target.pop(), trust_env=False)
    assert " passed" in log.text
    assert "pushed frontend 0.9.0, backend 2.0.5, database 1.4.7" in log.text
    assert ci.server.ci_token not in log.text


def test_an_unpacked_image_runs(registry, first_release, tmp_path):
    image = registry.find("lab/database", "1.4.7")
    root = unpack_image(registry, image, tmp_path / "database")
    environment = dict(pair.split("=", 1) for pair in image.config["Env"])
    environment |= {"HOST": "127.0.0.1", "PORT": "0", "DATA_DIR": str(tmp_path / "data"), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-S", *image.config["Entrypoint"][1:]]
    process = subprocess.Popen(
        command, cwd=f"{root}{image.config['WorkingDir']}", env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        port = json.loads(process.stdout.readline())["port"]
        answer = httpx.get(f"http://127.0.0.1:{port}/version", trust_env=False)
        assert answer.json() == {"name": "database", "version": "1.4.7"}
    finally:
        process.kill()
        process.communicate()


def test_a_commit_that_changes_no_image_is_green_and_builds_none(ci, registry, first_release, warehouse):
    before = discoveries(warehouse)
    commit = push(ci, "Say more", **files(**{"README.md": lambda text: text + "\nMore.\n"}))
    assert finished(ci, commit)[BUILD] == (
        "success",
        f"unchanged frontend 0.9.0, backend 2.0.5, database 1.4.7, acceptance {ci.server.lab.acceptance}",
    )
    assert registry.tags("lab/frontend") == ["0.9.0"]
    assert discoveries(warehouse) == before


def test_failed_tests_are_red_and_build_nothing(ci, registry, first_release):
    commit = push(
        ci,
        "A mistake",
        **files(
            **{
                "backend/orders.py": lambda text: text.replace("1 <= quantity", "0 <= quantity"),
                "backend/VERSION": "2.0.6\n",
            }
        ),
    )
    states = finished(ci, commit)
    assert states[UNIT_TESTS][0] == "failure"
    assert "test_a_wrong_field_is_named" in states[UNIT_TESTS][1]
    assert states[BUILD] == ("failure", "not built: the unit tests failed")
    assert not registry.exists("lab/backend", "2.0.6")


def test_the_same_version_with_other_content_is_red(ci, registry, first_release):
    before = registry.find("lab/backend", "2.0.5")
    commit = push(
        ci,
        "Undo the mistake, change a limit, forget the version; raise the frontend's",
        **files(
            **{
                "backend/orders.py": lambda text: text.replace("0 <= quantity", "1 <= quantity").replace("1000", "900"),
                "backend/VERSION": "2.0.5\n",
                "frontend/VERSION": "0.9.1\n",
            }
        ),
    )
    states = finished(ci, commit)
    assert states[UNIT_TESTS][0] == "success"
    assert states[BUILD][0] == "failure"
    assert states[BUILD][1] == (
        f"backend 2.0.5 is out already with other content (commit {first_release[:7]}). raise backend/VERSION"
    )
    assert registry.find("lab/backend", "2.0.5") == before
    assert not registry.exists("lab/frontend", "0.9.1"), "all images of a commit or none"


def test_a_feature_branch_gets_pre_releases_and_no_freight(ci, registry, first_release, warehouse):
    before = discoveries(warehouse)
    copy = working_copy(ci.server.lab, SOURCE_REPO, "developer")
    copy.git("checkout", "--quiet", "-B", "feature/Blue_page", first_release)
    (copy.folder / "frontend" / "theme.css").write_text("/* Theme: blue */\n")
    commit = copy.commit_and_push("A blue page", "feature/Blue_page")
    assert finished(ci, commit)[BUILD][0] == "success"
    for tier, version in ci.server.lab.releases[0].versions.items():
        assert registry.exists(f"lab/{tier}", f"{version}-feature-blue-page.g{commit[:7]}")
    assert discoveries(warehouse) == before


def test_trouble_of_ci_itself_is_an_error_that_names_it_and_not_a_failure_of_the_commit(ci, first_release):
    copy = working_copy(ci.server.lab, SOURCE_REPO, "developer")
    copy.git("checkout", "--quiet", "-B", "no-such-wheel", first_release)
    (copy.folder / "backend" / "requirements.txt").write_text("bottle==0.0.0.1\n")
    states = finished(ci, copy.commit_and_push("A wheel that is nowhere", "no-such-wheel"))
    assert {state for state, _ in states.values()} == {"error"}
    assert "The wheels of backend/requirements.txt cannot be downloaded" in states[UNIT_TESTS][1]


def test_what_was_pushed_while_ci_was_down_is_built_in_order(gitea_server, ci, registry, first_release, tmp_path):  # noqa: F811
    """A second receiver with another folder and port, as after a restart: it knows only what Gitea knows."""
    hooks = ci.server.admin.request("GET", f"/repos/{REPO}/hooks")
    for hook in hooks:
        ci.server.admin.request("PATCH", f"/repos/{REPO}/hooks/{hook['id']}", {"active": False})
    commits = [publish_release(gitea_server.lab, release) for release in gitea_server.lab.releases[1:]]
    late = ci_receiver(gitea_server, tmp_path, port=free_port_range(1))
    with (tmp_path / "late.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "labkit.delivery.ci", "--config", str(late.config)], stdout=log, stderr=log
        )
    try:
        for commit, release in zip(commits, gitea_server.lab.releases[1:], strict=True):
            assert {state for state, _ in finished(ci, commit).values()} == {"success"}
            for tier, version in release.versions.items():
                assert registry.find(f"lab/{tier}", version).labels["org.opencontainers.image.revision"] == commit
    finally:
        process.terminate()
        assert process.wait(timeout=15) == 0


def test_a_wrong_signature_is_refused(ci):
    body = json.dumps({"ref": "refs/heads/main"}).encode()
    for given in ("", "0" * 64, signature("another secret", body)):
        answer = httpx.post(
            f"{ci.url}/webhook",
            content=body,
            headers={"X-Gitea-Signature": given, "X-Gitea-Event": "push"},
            trust_env=False,
        )
        assert answer.status_code == 403
    right = {"X-Gitea-Signature": signature(SECRET, body), "X-Gitea-Event": "push"}
    answer = httpx.post(f"{ci.url}/webhook", content=body, headers=right, trust_env=False)
    assert (answer.status_code, answer.text) == (202, "nothing to build\n")


@pytest.mark.parametrize("path", ["/runs/../../ci.yaml", "/runs/" + "0" * 40, "/runs/x", "/"])
def test_there_are_no_other_pages(ci, path):
    assert httpx.get(ci.url + path, trust_env=False).status_code == 404


def test_a_wrong_token_is_refused_at_once(ci, first_release):
    started = time.monotonic()
    with pytest.raises(LabError, match=r"refused|no access"):
        Registry(ci.server.lab.registry, "ci-bot", "wrong").tags("lab/frontend")
    assert time.monotonic() - started < 5


def test_a_registry_that_is_down_is_named_at_once():
    started = time.monotonic()
    with pytest.raises(RegistryError, match=r"127\.0\.0\.1:9"):
        Registry("127.0.0.1:9").find("lab/frontend", "1.0.0")
    assert time.monotonic() - started < 5
