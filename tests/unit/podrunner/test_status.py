"""A pod's status from what is known of its containers."""

from dataclasses import replace

import pytest

from labkit.podrunner.status import Facts, Running, Terminated, Waiting, phase, pod_status, restarts_after, terminated

NOW, BEFORE = "2026-01-01T00:01:00Z", "2026-01-01T00:00:00Z"
CREATING = Facts("main", "image")
UP = replace(CREATING, state=Running(BEFORE), ready=True, started=True, container_id="process://1")


def _end(code):
    return Terminated(code, "Error" if code else "Completed", BEFORE, NOW, "process://1")


DONE, FAILED = replace(CREATING, state=_end(0)), replace(CREATING, state=_end(1))
CRASHING = replace(CREATING, state=Waiting("CrashLoopBackOff"), last=_end(1), restarts=3)
INIT_DONE = replace(DONE, name="init", ready=True)


@pytest.mark.parametrize(
    ("policy", "init", "container", "wanted"),
    [
        ("Always", [], CREATING, "Pending"),
        ("Always", [], UP, "Running"),
        ("Always", [], CRASHING, "Running"),
        ("Always", [], DONE, "Running"),
        ("Never", [], DONE, "Succeeded"),
        ("Never", [], FAILED, "Failed"),
        ("OnFailure", [], DONE, "Succeeded"),
        ("OnFailure", [], FAILED, "Running"),
        ("Never", [replace(CREATING, name="init")], CREATING, "Pending"),
        ("Never", [replace(FAILED, name="init")], CREATING, "Failed"),
        ("Always", [replace(FAILED, name="init")], CREATING, "Pending"),
        ("Always", [INIT_DONE], UP, "Running"),
    ],
)
def test_phase(policy, init, container, wanted):
    assert phase(policy, init, [container]) == wanted


@pytest.mark.parametrize(("container", "wanted"), [(DONE, "Succeeded"), (FAILED, "Failed"), (CREATING, "Failed")])
def test_a_pod_that_is_deleted_ends_in_a_last_phase(container, wanted):
    assert phase("Always", [], [container], ending=True) == wanted


@pytest.mark.parametrize(
    ("policy", "code", "is_init", "wanted"),
    [
        ("Always", 0, False, True),
        ("Always", 1, False, True),
        ("Always", 0, True, False),
        ("Always", 1, True, True),
        ("OnFailure", 0, False, False),
        ("OnFailure", 1, False, True),
        ("Never", 1, False, False),
    ],
)
def test_restart_policy(policy, code, is_init, wanted):
    assert restarts_after(policy, code, is_init=is_init) is wanted


def _pod(conditions=(), **spec):
    return {
        "metadata": {"name": "web", "namespace": "demo-app", "uid": "u", "generation": 2},
        "spec": {"restartPolicy": "Always", **spec},
        "status": {"conditions": list(conditions)},
    }


def _conditions(pod, *containers, init=(), ip="10.1.0.2"):
    status = pod_status(pod, init, containers, pod_ip=ip, host_ip="127.0.0.1", start_time=BEFORE, now=NOW)
    return {
        item["type"]: {key: value for key, value in item.items() if value is not None and key != "type"}
        for item in status["conditions"]
    }


def test_a_ready_pod():
    found = _conditions(_pod(), UP)
    assert {kind: item["status"] for kind, item in found.items()} == dict.fromkeys(
        ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"), "True"
    )
    assert all("reason" not in item and item["observedGeneration"] == 2 for item in found.values())


def test_a_pod_whose_container_is_not_ready():
    found = _conditions(_pod(), CRASHING)
    for kind in ("Ready", "ContainersReady"):
        assert (found[kind]["status"], found[kind]["reason"], found[kind]["message"]) == (
            "False",
            "ContainersNotReady",
            "containers with unready status: [main]",
        )


def test_a_pod_that_is_not_initialized():
    found = _conditions(_pod(), CREATING, init=[replace(CREATING, name="first")])
    assert found["Initialized"]["reason"] == "ContainersNotInitialized"
    assert found["Initialized"]["message"] == "containers with incomplete status: [first]"


@pytest.mark.parametrize(("container", "reason"), [(DONE, "PodCompleted"), (FAILED, "PodFailed")])
def test_a_pod_that_has_ended(container, reason):
    found = _conditions(_pod(restartPolicy="Never"), container)
    assert (found["Ready"]["status"], found["Ready"]["reason"]) == ("False", reason)


def test_readiness_gates_hold_back_the_pod_but_not_its_containers():
    pod = _pod(readinessGates=[{"conditionType": "example.org/gate"}])
    found = _conditions(pod, UP)
    assert found["ContainersReady"]["status"] == "True"
    assert found["Ready"]["reason"] == "ReadinessGatesNotReady"
    assert "does not exist" in found["Ready"]["message"]
    opened = _pod([{"type": "example.org/gate", "status": "True"}], readinessGates=pod["spec"]["readinessGates"])
    assert _conditions(opened, UP)["Ready"]["status"] == "True"


def test_a_condition_keeps_its_time_until_it_changes():
    known = [
        {"type": "Ready", "status": "True", "lastTransitionTime": BEFORE},
        {"type": "Initialized", "status": "False", "lastTransitionTime": BEFORE},
    ]
    found = _conditions(_pod(known), UP)
    assert found["Ready"]["lastTransitionTime"] == BEFORE
    assert found["Initialized"]["lastTransitionTime"] == NOW


def test_a_container_status_can_be_read_back():
    status = CRASHING.as_json()
    assert status["state"] == {"waiting": {"reason": "CrashLoopBackOff"}}
    assert terminated(status["lastState"]) == CRASHING.last
    assert terminated(status["state"]) is None
