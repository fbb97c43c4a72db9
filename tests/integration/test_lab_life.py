"""One lab's life, from an interrupted start to its purge: moves, dead components, a reboot, and what must survive.

The tests share one lab of their own and run from top to bottom; each leaves it running and healthy.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import httpx
import psutil
import pytest
import yaml
from _labkit import LABKIT, Done, assert_refused, deployed, labkit, rollout_state, variables
from _labs import lab_of_its_own
from _ports import ports_of_a_lab

from labkit.clusters import provider
from labkit.config import GITOPS_REPO, choose, load_lab
from labkit.delivery.git import repo_path
from labkit.delivery.gitea import gitea_as
from labkit.down import lab_processes
from labkit.paths import LabHome, cache_dir
from labkit.process import port_is_free
from labkit.promotion import (
    freight_table,
    get_promotion,
    promotion_table,
    refresh_promotion,
    request_promotion,
    wait_for_promotion,
    wait_for_stage,
)
from labkit.services.prometheus import prometheus_url
from labkit.services.supervisor import Supervisor
from labkit.status import lab_status
from labkit.wait import wait_for

FOREIGN = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "gitops-dev",
    "clusters": [{"name": "gitops-dev", "cluster": {"server": "https://cluster.example:6443"}}],
    "users": [{"name": "me", "user": {"token": "mine"}}],
    "contexts": [{"name": "gitops-dev", "context": {"cluster": "gitops-dev", "user": "me"}}],
}

STAGES = ["dev", "pre", "prod", "hotfix"]


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    """A user with a kubeconfig of their own, in which a context is called as one of the lab's."""
    home = tmp_path_factory.mktemp("user")
    kubeconfig = home / ".kube" / "config"
    kubeconfig.parent.mkdir()
    kubeconfig.write_text(yaml.safe_dump(FOREIGN))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABKIT_CACHE", str(cache_dir()))
        patch.setenv("HOME", str(home))
        patch.setenv("KUBECONFIG", str(kubeconfig))
        yield kubeconfig


@pytest.fixture(scope="module")
def unborn(user, tmp_path_factory):
    """A lab that does not exist before the first test of this module."""
    with lab_of_its_own(tmp_path_factory.mktemp("life")) as lab:
        yield lab


@pytest.fixture(scope="module")
def alive(unborn):
    """The lab, up and with the seed's versions deployed."""
    return deployed(unborn)


def _assert_healthy(lab, *, timeout=90):
    def troubles():
        status = lab_status(lab)
        return [
            *(f"cluster {row.context} is {row.state}" for row in status.clusters if row.state != "running"),
            *(f"service {row.service} is {row.state}" for row in status.services if not row.healthy),
            *(
                f"Application of {row.context} is {row.health}"
                for row in status.applications
                if row.health != "Healthy"
            ),
            *(f"Stage {row.stage} is {row.health}" for row in status.stages if row.freight and row.health != "Healthy"),
            *(["fewer than three Applications"] * (len(status.applications) != 3)),
            *(["fewer Stages than there should be"] * ([row.stage for row in status.stages] != STAGES)),
        ]

    wait_for("the lab to be healthy", troubles, lambda found: not found, describe="; ".join, timeout=timeout)


def _nothing_is_left(lab):
    assert not lab.home.root.exists(), sorted(lab.home.root.rglob("*"))[:20]
    left = [f"{process.name()} (pid {process.pid})" for process in lab_processes(lab)]
    assert not left, f"processes of the lab that still run: {left}"
    used = {name: port for name, port in lab.ports.items() if not port_is_free(port)}
    assert not used, f"ports of the lab that are still used: {used}"


# Ctrl-C while it comes up


class _Up:
    """`labkit up` as the foreground command of a terminal."""

    def __init__(self, lab):
        self.process = subprocess.Popen(
            [*LABKIT, "up"],
            env=variables(lab),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def at(self, moment, reached):
        wait_for(moment, lambda: reached() or self.process.poll() is not None, timeout=120, interval=0.02)
        assert self.process.poll() is None, self.process.communicate()
        return self

    @contextlib.contextmanager
    def paused(self):
        """It holds the lab and does nothing, so that it cannot be done before others have tried."""
        os.killpg(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.process.pid, signal.SIGCONT)

    def interrupt(self):
        """Ctrl-C: the terminal sends it to every process in the foreground."""
        os.killpg(self.process.pid, signal.SIGINT)
        out, err = self.process.communicate(timeout=120)
        return Done(self.process.returncode, out, err)


def _assert_stopped(done):
    assert_refused(done, 1, "stopped", "`labkit up` goes on from here", "`labkit down` stops what runs")


def test_after_ctrl_c_while_clusters_are_created_down_leaves_nothing(unborn):
    folder = unborn.home.clusters / "clusters" / "gitops-pre"
    _assert_stopped(_Up(unborn).at("a half-created cluster", (folder / "pids").exists).interrupt())
    done = labkit(unborn, "down", "--purge")
    assert done.code == 0, done
    _nothing_is_left(unborn)


def test_after_ctrl_c_while_the_supervisor_starts_down_leaves_nothing(unborn):
    config = unborn.home.root / "supervisor" / "supervisord.conf"
    _assert_stopped(_Up(unborn).at("the supervisor to be started", config.exists).interrupt())
    done = labkit(unborn, "down", "--purge")
    assert done.code == 0, done
    _nothing_is_left(unborn)


def test_after_ctrl_c_while_services_start_up_goes_on(unborn):
    first = _Up(unborn).at("Gitea to be started", (unborn.home.logs / "gitea.log").exists)
    with first.paused():
        second = labkit(unborn, "up")
        assert_refused(second, 1, "Another command is changing the lab", str(unborn.home.root), "labkit status")
        assert_refused(labkit(unborn, "down", "--purge"), 1, "Another command is changing the lab")
    _assert_stopped(first.interrupt())
    again = _Up(unborn).at("Kargo to be started", lambda: any(unborn.home.logs.glob("rollouts-prod.log")))
    _assert_stopped(again.interrupt())
    done = labkit(unborn, "up")
    assert done.code == 0, done
    _assert_runs(unborn)


def _assert_runs(lab):
    status = labkit(lab, "status", "--output", "json").json
    assert {row["state"] for row in status["clusters"]} == {"running"}, status["clusters"]
    assert [row["service"] for row in status["services"] if not row["healthy"]] == []
    assert [row["stage"] for row in status["stages"]] == STAGES


# Moves


def _freight(lab):
    """Freight from the oldest to the newest."""
    return [next(item for item in freight_table(lab) if item.versions == release.versions) for release in lab.releases]


def _promote(lab, stage, freight):
    promotion = wait_for_promotion(lab, request_promotion(lab, stage, freight))
    wait_for_stage(lab, stage, freight)
    return promotion


def test_pre_and_prod_do_not_move_when_dev_moves(alive):
    oldest, _, newest = _freight(alive)
    before = {name: rollout_state(alive, name) for name in ("dev", "pre", "prod")}
    _promote(alive, "dev", oldest)
    moved = rollout_state(alive, "dev")
    assert moved["revision"] != before["dev"]["revision"], "DEV did not move: the test shows nothing"
    assert not set(moved["pods"].values()) & set(before["dev"]["pods"].values()), "DEV's pods were not replaced"
    _promote(alive, "dev", newest)
    assert rollout_state(alive, "dev")["images"] == before["dev"]["images"]
    for name in ("pre", "prod"):
        assert rollout_state(alive, name) == before[name], f"{name} moved with DEV"


def test_prod_does_not_move_when_pre_moves(alive):
    _, candidate, newest = _freight(alive)
    before = {name: rollout_state(alive, name) for name in ("dev", "pre", "prod")}
    done = labkit(alive, "promote", "--from", "dev", "--to", "pre", "--app", "demo-app")
    assert done.code == 0, done
    assert rollout_state(alive, "pre")["images"] == before["dev"]["images"], "PRE did not take what runs in DEV"
    _promote(alive, "pre", candidate)
    for name in ("dev", "prod"):
        assert rollout_state(alive, name) == before[name], f"{name} moved with PRE"
    assert "pre" in next(item for item in freight_table(alive) if item.name == newest.name).verified_in


def test_prod_does_not_move_before_its_pull_request_is_merged(alive):
    before = rollout_state(alive, "prod")
    asked = labkit(alive, "promote", "stage", "pre-to-prod", "--output", "json").json[0]
    assert asked["pull_request"] > 0, asked
    assert asked["phase"] == "Running", asked
    assert rollout_state(alive, "prod") == before, "PROD moved without a merge"
    gitea = gitea_as(alive, "release-manager")
    gitea.request("PATCH", f"/repos/{repo_path(GITOPS_REPO)}/pulls/{asked['pull_request']}", {"state": "closed"})
    promotion = get_promotion(alive, asked["promotion"])
    refresh_promotion(alive, promotion)
    ended = wait_for(
        "the Promotion to end",
        lambda: get_promotion(alive, promotion.promotion),
        lambda now: now.done,
        timeout=60,
    )
    assert ended.phase == "Failed", ended
    assert rollout_state(alive, "prod") == before, "PROD moved though its pull request was closed"


def test_a_merged_pull_request_moves_prod_and_nothing_else(alive):
    candidate = _freight(alive)[1]
    before = {name: rollout_state(alive, name) for name in ("dev", "pre", "prod")}
    done = labkit(alive, "validate", "pre")
    assert done.code == 0, done
    done = labkit(alive, "promote", "--from", "pre", "--to", "prod", "--app", "demo-app", "--approve")
    assert done.code == 0, done
    assert rollout_state(alive, "prod")["images"] == before["pre"]["images"]
    for name in ("dev", "pre"):
        assert rollout_state(alive, name) == before[name], f"{name} moved with PROD"
    assert "prod" in next(item for item in freight_table(alive) if item.name == candidate.name).verified_in


# Components that die


def _service_pid(lab, name):
    return next(row.pid for row in Supervisor(lab).status() if row.service == name)


def test_components_that_die_come_back(alive):
    clusters = provider(alive)
    before = {name: rollout_state(alive, name)["pods"] for name in ("dev", "pre", "prod")}
    running = {row.service for row in Supervisor(alive).status()}
    (controller,) = running & {"kargolite", "kargo-controller-dev"}
    services = (controller, "gitea", "valkey", "argocd-application-controller-prod")
    components = [(alive.environment("dev"), "kube-apiserver"), (alive.environment("prod"), "etcd")]
    old = {name: _service_pid(alive, name) for name in services}
    dead = [clusters.processes(environment)[component] for environment, component in components]
    for pid in [*old.values(), *dead]:
        psutil.Process(pid).kill()
    for name, pid in old.items():
        wait_for(
            f"{name} to be another process", lambda n=name, p=pid: _service_pid(alive, n) not in (0, p), timeout=60
        )
    for environment, component in components:
        wait_for(
            f"{component} of {environment.context} to be back",
            lambda e=environment, c=component: clusters.processes(e).get(c) not in (None, *dead),
            timeout=60,
        )
    _assert_healthy(alive)
    assert {name: rollout_state(alive, name)["pods"] for name in before} == before, "pods were replaced"
    dev = promotion_table(alive, "dev")[0]
    freight = next(item for item in freight_table(alive) if item.name == dev.freight_name)
    assert _promote(alive, "dev", freight).phase == "Succeeded"


def test_a_dead_supervisor_is_reported_and_up_mends_it(alive):
    process = Supervisor(alive).pids()["supervisord"]
    psutil.Process(process).kill()
    wait_for("the supervisor to be gone", lambda: not Supervisor(alive).running(), timeout=15)
    states = {row["state"] for row in labkit(alive, "status", "--output", "json").json["services"]}
    assert states == {"stopped"}, "services without a supervisor are shown as if they were looked after"
    clusters = {name: dict(provider(alive).processes(alive.environment(name))) for name in ("dev", "pre", "prod")}
    done = labkit(alive, "up")
    assert done.code == 0, done
    _assert_healthy(alive)
    after = {name: dict(provider(alive).processes(alive.environment(name))) for name in clusters}
    assert after == clusters, "clusters that ran were not left alone"


# A stop, a reboot


def _history(lab):
    """What must survive: Freight, Promotions, branches."""
    gitea = gitea_as(lab, "viewer")
    return {
        "freight": {item.name: item.verified_in for item in freight_table(lab)},
        "promotions": {(row.promotion, row.phase) for row in promotion_table(lab)},
        "branches": {name: gitea.branch_commit(repo_path(GITOPS_REPO), f"stage/{name}") for name in ("dev", "prod")},
        "images": {name: rollout_state(lab, name)["images"] for name in ("dev", "pre", "prod")},
    }


def _measured(lab, when):
    """What Prometheus had measured of the Stages at a time."""
    asked = {"query": "labkit_stage_version_info", "time": when}
    answer = httpx.get(f"{prometheus_url(lab)}/api/v1/query", params=asked, trust_env=False).json()
    return {
        tuple(item["metric"][name] for name in ("environment", "tier", "version")) for item in answer["data"]["result"]
    }


def test_down_keeps_everything_and_a_port_taken_meanwhile_is_named(alive, listener):
    before, when = _history(alive), time.time() - 10
    measured = _measured(alive, when)
    assert len(measured) == 9, "three tiers in three Stages"
    done = labkit(alive, "down")
    assert done.code == 0, done
    assert not lab_processes(alive)
    stopped = labkit(alive, "get", "stages")
    assert_refused(stopped, 1, "API server of gitops-dev does not answer", "labkit up")
    port = alive.port("etcd", alive.environment("pre"))
    with listener(port):
        refused = labkit(alive, "up")
    said = (f"port {port} (for etcd of gitops-pre)", f"(pid {os.getpid()})", "labkit down --purge")
    assert_refused(refused, 1, *said)
    assert not lab_processes(alive), "a refused `up` started something"
    done = labkit(alive, "up")
    assert done.code == 0, done
    _assert_healthy(alive)
    assert _history(alive) == before
    assert _measured(alive, when) == measured, "Prometheus has forgotten what it measured before the stop"


def test_the_notebook_that_cleans_up_stops_the_lab(alive):
    done = labkit(alive, "run", "99-clean-up")
    assert done.code == 0, done
    assert not lab_processes(alive)
    done = labkit(alive, "up")
    assert done.code == 0, done
    _assert_healthy(alive)


def test_after_a_reboot_pid_files_name_strangers_and_up_works(alive):
    before = _history(alive)
    wait_for("everything to be dead", lambda: _kill(lab_processes(alive)), lambda left: not left, timeout=30)
    with _Stranger() as stranger:
        pid_files = [*alive.home.root.rglob("*.pid")]
        assert len(pid_files) >= 16, f"pid files of three clusters and a supervisor: {pid_files}"
        for file in pid_files:
            file.write_text(str(stranger.pid))
        identity = alive.home.root / "supervisor" / "process.yaml"
        identity.write_text(yaml.safe_dump({**yaml.safe_load(identity.read_text()), "pid": stranger.pid}))
        states = {row["state"] for row in labkit(alive, "status", "--output", "json").json["clusters"]}
        assert states == {"stopped"}, "a stranger was taken for a cluster"
        done = labkit(alive, "up")
        assert done.code == 0, done
        assert stranger.poll() is None, "a process that is not the lab's was killed"
    _assert_healthy(alive)
    assert _history(alive) == before


def _kill(processes):
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    return processes


class _Stranger:
    """A process that has nothing to do with the lab but to run on the same machine."""

    def __init__(self, **options):
        self._options = options

    def __enter__(self):
        self.process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, **self._options)
        return self.process

    def __exit__(self, *_):
        self.process.communicate()


# A cluster that was left half-created


def test_a_half_created_cluster_is_made_anew(empty_lab):
    lab = choose(empty_lab)
    clusters, dev = provider(lab), lab.control
    clusters.ensure(dev)
    folder = lab.home.clusters / "clusters" / dev.context
    before = dict(clusters.processes(dev))
    (folder / "labkit-created").unlink()
    (folder / "pids" / "kube-scheduler.pid").unlink()
    clusters.ensure(dev)
    after = dict(clusters.processes(dev))
    assert set(after) == set(before)
    assert not set(after.values()) & set(before.values()), "components of the half-created cluster were kept"
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).cmdline() for pid in before.values())
    assert clusters.status(dev).state == "running"


# The end


@pytest.fixture
def other_ports():
    """The first port for another lab."""
    with ports_of_a_lab() as first_port:
        yield first_port


def test_purge_removes_what_is_the_labs_and_nothing_else(alive, user, tmp_path, other_ports):
    other = load_lab(LabHome(tmp_path / "other"))
    other = replace(other, settings=replace(other.settings, port_base=other_ports))
    provider(other).ensure(other.control)
    try:
        cluster = dict(provider(other).processes(other.control))
        mentions = [sys.executable, "-c", "input()", str(alive.home.clusters / "clusters" / "gitops-dev" / "bin")]
        shell = {**os.environ, "LABKIT_HOME": str(alive.home.root)}
        with (
            _Stranger(env=shell) as neighbour,
            subprocess.Popen(mentions, stdin=subprocess.PIPE) as reader,
        ):
            done = labkit(alive, "down", "--purge")
            assert done.code == 0, done
            _nothing_is_left(alive)
            assert neighbour.poll() is None, "a process of the user's shell was killed"
            assert reader.poll() is None, "a process that only names the lab's folder was killed"
            reader.communicate()
        assert dict(provider(other).processes(other.control)) == cluster, "a foreign cluster lost components"
        assert provider(other).status(other.control).state == "running"
        assert yaml.safe_load(user.read_text()) == FOREIGN, "the user's kubeconfig was changed"
        assert [path.name for path in user.parent.iterdir()] == ["config"]
    finally:
        provider(other).delete(other.control)
