"""Pods as processes, on real clusters: what a kubelet would do and say, and what must survive.

The tests share one lab of their own; its back-offs are short.
"""

import concurrent.futures
import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time

import httpx
import pytest
from _pods import bench, process_of

from labkit.config import NAMESPACE
from labkit.down import down, lab_processes
from labkit.services.pods import pod_processes, pod_runner, pods_proxy
from labkit.services.supervisor import Supervisor
from labkit.wait import wait_for


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with bench(tmp_path_factory.mktemp("pods")) as found:
        yield found


@pytest.fixture(scope="module")
def pre(place):
    """The demo app in PRE."""
    place.deploy("pre")
    return place


@pytest.fixture(scope="module")
def prod(place):
    """The demo app in PROD."""
    place.deploy("prod")
    return place


def _is_waiting(reason):
    return lambda status: status.get("state", {}).get("waiting", {}).get("reason") == reason


def _conditions(pod):
    return {item["type"]: item for item in pod["status"]["conditions"]}


def _client(place, environment, **more):
    proxy = pods_proxy(place.lab, place.lab.environment(environment), NAMESPACE)
    return httpx.Client(proxy=proxy, timeout=30, trust_env=False, **more)


# As on a real cluster


def test_a_pod_runs_and_says_so(pre):
    for tier in ("frontend", "backend", "database"):
        pod = pre.pods_of("pre", tier)[0]
        (status,) = pod["status"]["containerStatuses"]
        assert pod["status"]["phase"] == "Running"
        assert {kind: item["status"] for kind, item in _conditions(pod).items()} == {
            "PodReadyToStartContainers": "True",
            "Initialized": "True",
            "Ready": "True",
            "ContainersReady": "True",
            "PodScheduled": "True",
        }
        assert (status["ready"], status["started"], status["restartCount"]) == (True, True, 0)
        assert "@sha256:" in status["imageID"]
        program = process_of(status)
        assert program.environ()["PORT"] not in ("", "8080")
        assert not [name for name in program.environ() if name.startswith("LABKIT_") and name != "LABKIT_POD"]
        reasons = [reason for _, reason, _ in pre.events("pre", pod["metadata"]["name"])]
        assert {"Scheduled", "Pulling", "Created", "Started"} <= set(reasons) or "Pulled" in reasons, reasons


def test_tiers_reach_each_other_by_their_services(pre):
    with _client(pre, "pre") as client:
        order = {"customer": "Ana", "item": "tea", "quantity": 2, "unitPriceCents": 350}
        added = client.post("http://frontend:8080/api/orders", json=order)
        assert added.status_code == 201, added.text
        for host in ("frontend", "frontend.demo-app", "frontend.demo-app.svc.cluster.local"):
            listed = client.get(f"http://{host}:8080/api/orders").json()["orders"]
            assert [item["item"] for item in listed if item["id"] == added.json()["id"]] == ["tea"]
        assert client.get("http://nobody:8080/").status_code == 502
        assert client.get("http://frontend:9999/").status_code == 502


def test_logs(pre):
    assert '"message": "started"' in pre.kubectl("pre", "logs", "deploy/backend")


def test_logs_are_followed(pre):
    following = subprocess.Popen(
        pre.command("pre", "logs", "-f", "--tail=1", "deploy/frontend"),
        env=pre.variables,
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = []
    threading.Thread(target=lambda: lines.extend(following.stdout), daemon=True).start()
    try:
        with _client(pre, "pre") as client:

            def seen():
                client.get("http://frontend:8080/api/orders", headers={"X-Request-ID": "followed"})
                return any("followed" in line for line in lines)

            wait_for("a request in the log that is followed", seen, timeout=15)
    finally:
        following.kill()
        following.wait()


def test_port_forward_to_a_service(pre):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    forwarding = subprocess.Popen(
        pre.command("pre", "port-forward", "svc/frontend", f"{port}:8080"), env=pre.variables, stdout=subprocess.PIPE
    )
    try:
        forwarding.stdout.readline()
        answer = httpx.get(f"http://127.0.0.1:{port}/version", timeout=10, trust_env=False)
        assert answer.json() == {"name": "frontend", "version": "1.2.3"}
    finally:
        forwarding.kill()
        forwarding.wait()


def test_exec_is_in_the_pods_folder_with_its_variables(pre):
    script = "import os; print(os.getcwd(), sorted(os.listdir('.')), os.environ['BACKEND_URL'], os.environ['PORT'])"
    said = pre.kubectl("pre", "exec", "deploy/frontend", "--", "python3", "-c", script)
    programs = [process_of(pod["status"]["containerStatuses"][0]) for pod in pre.pods_of("pre", "frontend")]
    (program,) = [program for program in programs if said.startswith(program.cwd())]
    assert "'shop.py'" in said
    assert f"http://backend:8080 {program.environ()['PORT']}" in said


def test_rollout_restart(pre):
    before = {pod["metadata"]["name"] for pod in pre.pods_of("pre", "backend")}
    failed, stop = [], threading.Event()

    def ask():
        with _client(pre, "pre") as client:
            while not stop.is_set():
                answer = client.get("http://frontend:8080/api/orders")
                if answer.status_code != 200:
                    failed.append(answer.text)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        pre.kubectl("pre", "rollout", "restart", "deploy/backend")
        pre.kubectl("pre", "rollout", "status", "deploy/backend", "--timeout=60s")
        wait_for(
            "the pods of before to be gone",
            lambda: (
                {
                    pod["metadata"]["name"]
                    for pod in pre.api("pre").list("v1", "Pod", NAMESPACE, selector="app.kubernetes.io/name=backend")
                }
                & before
            ),
            lambda left: not left,
            timeout=30,
        )
    finally:
        stop.set()
        asking.join()
    assert not failed, failed[:3]


def test_a_container_that_crashes_is_backed_off(place):
    place.run("dev", "crasher", "sh", "-c", "echo about to crash; exit 3")
    status = place.wait_container(
        "dev", "crasher", lambda found: found.get("restartCount", 0) >= 2 and _is_waiting("CrashLoopBackOff")(found)
    )
    assert status["state"]["waiting"]["message"].startswith("back-off 4s restarting failed container=main pod=crasher_")
    ended = status["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (3, "Error")
    pod = place.pod("dev", "crasher")
    assert pod["status"]["phase"] == "Running"
    assert _conditions(pod)["Ready"]["reason"] == "ContainersNotReady"
    assert "about to crash" in place.kubectl("dev", "logs", "crasher")
    assert ("Warning", "BackOff") in {event[:2] for event in place.events("dev", "crasher")}
    place.kubectl("dev", "delete", "pod", "crasher")


def test_an_image_that_does_not_exist_is_asked_for_again(place):
    place.run("dev", "unborn", "sleep", "60", container={"image": place.box.address("2")})
    place.wait_container("dev", "unborn", _is_waiting("ErrImagePull"))
    status = place.wait_container("dev", "unborn", _is_waiting("ImagePullBackOff"))
    assert "not found" in status["state"]["waiting"]["message"]
    assert place.pod("dev", "unborn")["status"]["phase"] == "Pending"
    place.box.content.tags["2"] = place.box.content.tags["1"]
    place.wait_container("dev", "unborn", lambda found: found.get("ready"))
    place.kubectl("dev", "delete", "pod", "unborn")


def test_a_command_that_does_not_exist(place):
    place.run("dev", "absent", "no-such-program", restartPolicy="Never")
    status = place.wait_container("dev", "absent", lambda found: "terminated" in found.get("state", {}))
    assert (status["state"]["terminated"]["exitCode"], status["state"]["terminated"]["reason"]) == (128, "StartError")
    assert place.pod("dev", "absent")["status"]["phase"] == "Failed"


@pytest.mark.parametrize(("name", "code", "condition"), [("done", 0, "Complete"), ("failing", 7, "Failed")])
def test_jobs_end(place, name, code, condition):
    place.run("dev", name, "sh", "-c", f"cat /app/greeting; exit {code}", kind="Job", restartPolicy="Never")
    place.kubectl("dev", "wait", f"--for=condition={condition}", f"job/{name}", "--timeout=30s")
    (pod,) = place.api("dev").list("v1", "Pod", NAMESPACE, selector=f"job-name={name}")
    ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (code, "Error" if code else "Completed")
    assert pod["status"]["phase"] == ("Failed" if code else "Succeeded")


def test_a_failed_liveness_probe_restarts_the_container(place):
    probe = {"exec": {"command": ["sh", "-c", "test ! -e stop"]}, "periodSeconds": 1, "failureThreshold": 1}
    place.run("dev", "sick", "sleep", "600", container={"livenessProbe": probe, "workingDir": "/app"})
    place.wait_container("dev", "sick", lambda found: found.get("ready"))
    place.kubectl("dev", "exec", "sick", "--", "touch", "stop")
    status = place.wait_container("dev", "sick", lambda found: found.get("restartCount") == 1 and found.get("ready"))
    assert status["lastState"]["terminated"]["exitCode"] in (137, 143)
    events = place.events("dev", "sick")
    assert ("Normal", "Killing", "Container main failed liveness probe, will be restarted") in events
    assert "Unhealthy" in {event[1] for event in events}
    place.kubectl("dev", "delete", "pod", "sick")


def test_what_a_process_cannot_be_is_refused_visibly(place):
    place.run("dev", "rooted", "sleep", "60", volumes=[{"name": "host", "hostPath": {"path": "/etc"}}])
    status = place.wait_container("dev", "rooted", _is_waiting("CreateContainerConfigError"))
    assert "volume host of kind hostPath" in status["state"]["waiting"]["message"]
    place.kubectl("dev", "delete", "pod", "rooted")


def test_pods_that_do_not_ask_for_it_are_simulated(place):
    container = {"name": "main", "image": "example.org/simulated:1"}
    place.api("dev").apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "simulated", "namespace": NAMESPACE},
            "spec": {"containers": [container]},
        }
    )
    status = place.wait_container("dev", "simulated", lambda found: found.get("ready"))
    assert "containerID" not in status
    place.kubectl("dev", "delete", "pod", "simulated", "--timeout=20s")


def test_usage_is_shown_beside_what_was_asked_for(pre):
    port = pre.lab.port("pods", pre.lab.environment("pre"))
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    lines = {line.split(" ")[0]: float(line.split(" ")[1]) for line in text.splitlines() if not line.startswith("#")}

    def of_backend(metric, more=""):
        return [
            value
            for name, value in lines.items()
            if name.startswith(f"{metric}{{") and 'container="backend"' in name and more in name
        ]

    assert of_backend("kube_pod_container_resource_requests", 'resource="memory"') == [64 * 2**20] * 2
    assert 5 * 2**20 < of_backend("container_memory_working_set_bytes")[0] < 200 * 2**20
    assert of_backend("container_cpu_usage_seconds_total")[0] > 0


# What must survive


def test_a_runner_that_is_killed_adopts_its_pods(pre):
    supervisor = Supervisor(pre.lab)
    name = pod_runner(pre.lab.environment("pre"))

    def shown():
        return {
            pod["metadata"]["name"]: (status["containerID"], status["restartCount"], status["ready"])
            for tier in ("frontend", "backend", "database")
            for pod in pre.pods_of("pre", tier)
            for status in pod["status"]["containerStatuses"]
        }

    before, pid = shown(), supervisor.pids()[name]
    os.kill(pid, signal.SIGKILL)
    wait_for("another runner", lambda: supervisor.pids().get(name, pid), lambda now: now != pid, timeout=30)
    wait_for("the new runner to be healthy", lambda: _status_of(supervisor, name).healthy, timeout=30)
    with _client(pre, "pre") as client:

        def answered():
            return client.get("http://frontend:8080/api/orders", headers={"X-Request-ID": "adopted"}).status_code

        wait_for("an answer through the new runner", answered, lambda code: code == 200, timeout=15)
    assert shown() == before
    wait_for(
        "the log to go on",
        lambda: pre.kubectl("pre", "logs", "-l", "app.kubernetes.io/name=frontend", "--tail=50"),
        lambda log: "adopted" in log,
        timeout=10,
    )


def test_what_ends_while_no_runner_is_there_is_noticed(pre):
    supervisor, environment = Supervisor(pre.lab), pre.lab.environment("pre")
    pre.run("pre", "quitter", "sh", "-c", "while ! test -e go; do sleep 0.1; done; exit 5", restartPolicy="Never")
    status = pre.wait_container("pre", "quitter", lambda found: found.get("ready"))
    program = process_of(status)
    runner = supervisor.pids()[pod_runner(environment)]
    os.kill(runner, signal.SIGSTOP)
    try:
        open(os.path.join(program.cwd(), "go"), "w").close()
        program.wait(10)
    finally:
        os.kill(runner, signal.SIGKILL)
    ended = pre.wait_container("pre", "quitter", lambda found: "terminated" in found["state"])["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (5, "Error")


def _status_of(supervisor, name):
    return next(row for row in supervisor.status() if row.service == name)


def _container_ids(place, tier):
    return {
        pod["metadata"]["name"]: (status["containerID"], status["ready"])
        for pod in place.pods_of("prod", tier)
        for status in pod["status"]["containerStatuses"]
    }


def _under_load(place, requests, act):
    """Ask the frontend's Service that many times from eight callers, and do something meanwhile.

    Returns:
        The answers that were no success, and the longest time that one took.
    """
    failed, times = [], []
    left = iter(range(requests))
    lock = threading.Lock()

    def ask():
        with _client(place, "prod") as client:
            while True:
                with lock:
                    if next(left, None) is None:
                        return
                began = time.monotonic()
                try:
                    answer = client.get("http://frontend:8080/api/orders")
                    if answer.status_code != 200:
                        failed.append(answer.text)
                except httpx.HTTPError as error:
                    failed.append(repr(error))
                times.append(time.monotonic() - began)

    with concurrent.futures.ThreadPoolExecutor(9) as pool:
        asking = [pool.submit(ask) for _ in range(8)]
        pool.submit(act, lambda: len(times)).result()
        for done in asking:
            done.result()
    assert len(times) == requests
    return failed, max(times)


def test_prod_is_spread_over_its_nodes(prod):
    for tier in ("frontend", "backend"):
        assert len({pod["spec"]["nodeName"] for pod in prod.pods_of("prod", tier)}) == 3


@pytest.mark.parametrize("tier", ["frontend", "backend"])
def test_no_request_fails_when_a_process_of_prod_is_killed(prod, tier):
    before = _container_ids(prod, tier)
    assert len(before) == 3
    assert all(ready for _, ready in before.values())

    def kill_all_in_turn(asked):
        for number, (name, (container_id, _)) in enumerate(before.items()):
            wait_for("some requests", asked, lambda count, least=100 + 300 * number: count >= least, interval=0.01)
            assert asked() < 1200, "nobody asks any more"
            process_of({"containerID": container_id}).kill()
            prod.wait_container(
                "prod", name, lambda found, old=container_id: found["containerID"] != old and found["ready"]
            )

    failed, longest = _under_load(prod, 1200, kill_all_in_turn)
    print(f"{tier}: 1200 requests, longest {longest:.2f} s")
    assert not failed, f"{len(failed)} of 1200 failed: {failed[:3]}"


def test_a_killed_database_is_back_and_has_every_order(prod):
    (pod,) = prod.pods_of("prod", "database")
    name = pod["metadata"]["name"]
    program = process_of(pod["status"]["containerStatuses"][0])
    confirmed, stop = [], threading.Event()

    def order():
        with _client(prod, "prod") as client:
            while not stop.is_set():
                body = {"customer": "Ana", "item": "tea", "quantity": 1, "unitPriceCents": 100}
                with contextlib.suppress(httpx.HTTPError):
                    answer = client.post("http://frontend:8080/api/orders", json=body)
                    if answer.status_code == 201:
                        confirmed.append(answer.json()["id"])

    ordering = [threading.Thread(target=order) for _ in range(4)]
    for thread in ordering:
        thread.start()
    try:
        wait_for("some orders", lambda: len(confirmed), lambda count: count > 50, interval=0.01)
        program.kill()
        killed = time.monotonic()
        before = len(confirmed)
        wait_for("orders again", lambda: len(confirmed), lambda count: count > before + 20, timeout=30, interval=0.01)
        took = time.monotonic() - killed
    finally:
        stop.set()
        for thread in ordering:
            thread.join()
    print(f"database: back after {took:.2f} s, {len(confirmed)} orders confirmed")
    assert took < 10
    assert prod.container("prod", name)["restartCount"] == 1
    with _client(prod, "prod") as client:
        lost = [
            number for number in confirmed if client.get(f"http://frontend:8080/api/orders/{number}").status_code != 200
        ]
    assert not lost, f"{len(lost)} of {len(confirmed)} confirmed orders are lost"


def test_a_new_pod_of_the_database_has_every_order_of_the_one_before(prod):
    with _client(prod, "prod") as client:
        before = client.get("http://database:8080/orders").json()["orders"]
    (pod,) = prod.pods_of("prod", "database")
    prod.kubectl("prod", "delete", "pod", pod["metadata"]["name"])
    prod.kubectl("prod", "rollout", "status", "deploy/database", "--timeout=60s")
    (new,) = prod.pods_of("prod", "database")
    assert new["metadata"]["uid"] != pod["metadata"]["uid"]
    with _client(prod, "prod") as client:
        assert client.get("http://database:8080/orders").json()["orders"] == before


def test_down_leaves_no_process(prod):
    lab = prod.lab
    assert pod_processes(lab)
    # A runner that is gone ends nothing itself.
    os.kill(Supervisor(lab).pids()[pod_runner(lab.environment("prod"))], signal.SIGKILL)
    down(lab)
    left = [json.dumps([process.pid, process.cmdline()]) for process in lab_processes(lab)]
    assert not left, left
