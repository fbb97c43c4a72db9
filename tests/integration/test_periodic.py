"""A command that runs every so often, as the supervisor starts it."""

import subprocess
import sys

import httpx
import pytest

from labkit.process import free_port_range
from labkit.wait import wait_for


@pytest.fixture
def periodic(tmp_path):
    """Run a shell command every 0.1 s; gives the process, and how its health check answers."""
    port = free_port_range(1)
    processes = []

    def start(command, every=0.1):
        arguments = ["--every", str(every), "--port", str(port), "sh", "-c", command]
        processes.append(subprocess.Popen([sys.executable, "-m", "labkit.services.periodic", *arguments], cwd=tmp_path))
        return processes[-1]

    def health():
        try:
            answer = httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False)
        except httpx.HTTPError as error:
            return type(error).__name__
        return answer.status_code, answer.text.strip()

    yield start, health
    for process in processes:
        process.kill()
        process.wait(timeout=10)


def test_it_runs_at_once_and_again_and_is_healthy(periodic, tmp_path):
    start, health = periodic
    start("echo run >> runs")
    wait_for(
        "a third run", lambda: len((tmp_path / "runs").read_text().split()), lambda runs: runs >= 3, tolerate=(OSError,)
    )
    assert health() == (200, "ok")


def test_before_the_first_run_has_ended_it_is_not_healthy(periodic, tmp_path):
    start, health = periodic
    start("until [ -e go ]; do sleep 0.05; done", every=60)
    wait_for("the health check", health, lambda answer: answer == (503, "sh has not run yet"))
    (tmp_path / "go").touch()
    wait_for("the first run to end", health, lambda answer: answer == (200, "ok"))


def test_a_failed_run_is_shown_until_one_succeeds(periodic, tmp_path):
    start, health = periodic
    start("test -e fixed || exit 3")
    wait_for("the failure", health, lambda answer: answer == (500, "sh ended with 3"))
    (tmp_path / "fixed").touch()
    wait_for("the next run", health, lambda answer: answer == (200, "ok"))


def test_it_ends_when_it_is_asked_to(periodic):
    start, health = periodic
    process = start("true", every=3600)
    wait_for("the first run to end", health, lambda answer: answer == (200, "ok"))
    process.terminate()
    assert process.wait(timeout=10) == 0
