"""A container's process, its exit code, its log, its probes: real ones."""

import asyncio
import os
import re
import signal
import sys
from contextlib import asynccontextmanager

import pytest

from labkit.podrunner.logs import ContainerLog
from labkit.podrunner.probes import Count, Probe, Target
from labkit.podrunner.processes import Process, start
from labkit.podrunner.sandbox import Sandbox
from labkit.podrunner.support import assert_supported
from labkit.wait import wait_for


@asynccontextmanager
async def _started(folder, *command, limit=10**6):
    log = ContainerLog(folder / "main.log", folder / "previous.log", limit)
    log.begin()
    out, err = log.writers()
    process = start(command, environment=dict(os.environ), folder=folder, exit_file=folder / "exit", out=out, err=err)
    os.close(out)
    os.close(err)
    try:
        yield process
    finally:
        process.kill()
        await process.ended()
        log.end()


def _lines(file):
    return [line.split(" ", 3) for line in file.read_text().splitlines()]


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137), ("kill -15 $$", 143)])
def test_exit_codes(tmp_path, run, script, code):
    async def scene():
        async with _started(tmp_path, "sh", "-c", script) as process:
            assert await process.ended() == code
            # So does a runner that was not there when it started.
            assert await Process.known(process.as_json()).ended() == code

    run(scene())


def test_a_process_is_asked_to_end_before_it_is_killed(tmp_path, run):
    async def scene(script, grace):
        async with _started(tmp_path, "sh", "-c", script) as process:
            while not (tmp_path / "up").exists():
                await asyncio.sleep(0.01)
            return await process.stop(grace)

    assert run(scene("trap 'exit 7' TERM; touch up; while :; do sleep 0.05; done", 5)) == 7
    (tmp_path / "up").unlink()
    assert run(scene("trap '' TERM; touch up; while :; do sleep 0.05; done", 0.3)) == 137


def test_what_a_command_leaves_behind_ends_with_it(tmp_path, run):
    async def scene():
        async with _started(tmp_path, "sh", "-c", "sleep 600 & echo $! >child; exit 0") as process:
            await process.ended()
        return int((tmp_path / "child").read_text())

    child = run(scene())
    wait_for("the child to be gone", lambda: _is_gone(child), timeout=5, interval=0.02)


def _is_gone(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_shell_that_is_killed_takes_its_command_along(tmp_path, run):
    async def scene():
        async with _started(tmp_path, "sleep", "600") as process:
            while len(process.members()) < 2:
                await asyncio.sleep(0.01)
            child = process.members()[1].pid
            os.kill(process.pid, signal.SIGKILL)
            assert await process.ended() == 137
            return child

    child = run(scene())
    wait_for("the command to be gone", lambda: _is_gone(child), timeout=5, interval=0.02)


def test_a_log_is_in_the_format_of_cri(tmp_path, run):
    async def scene():
        async with _started(tmp_path, "sh", "-c", "echo one; echo two >&2; printf half") as process:
            await process.ended()

    run(scene())
    lines = _lines(tmp_path / "main.log")
    assert {tuple(line[1:]) for line in lines} == {
        ("stdout", "F", "one"),
        ("stderr", "F", "two"),
        ("stdout", "F", "half"),
    }
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", line[0]) for line in lines)


def test_long_lines_come_in_parts_and_a_long_log_is_rotated(tmp_path, run):
    async def scene():
        script = "print('x' * 40000)\nfor n in range(3000): print(n)"
        async with _started(tmp_path, sys.executable, "-c", script, limit=120000) as process:
            await process.ended()

    run(scene())
    lines = _lines(tmp_path / "main.log.1") + _lines(tmp_path / "main.log")
    first = [line for line in lines if "x" in line[3]]
    assert [line[2] for line in first] == ["P", "P", "F"]
    assert "".join(line[3] for line in first) == "x" * 40000
    assert lines[-1][3] == "2999"


def test_a_process_outlives_its_reader_and_the_next_one_reads_on(tmp_path, run):
    async def first():
        log = ContainerLog(tmp_path / "main.log", tmp_path / "previous.log", 10**6)
        log.begin()
        out, err = log.writers()
        script = "echo before; while ! test -e go; do sleep 0.02; done; echo while nobody reads; sleep 600"
        process = start(
            ["sh", "-c", script],
            environment=dict(os.environ),
            folder=tmp_path,
            exit_file=tmp_path / "exit",
            out=out,
            err=err,
        )
        os.close(out)
        os.close(err)
        while not (tmp_path / "main.log").read_text():
            await asyncio.sleep(0.01)
        log.end()
        return process.as_json()

    async def second(known):
        log = ContainerLog(tmp_path / "main.log", tmp_path / "previous.log", 10**6)
        log.resume()
        process = Process.known(known)
        while "nobody" not in (tmp_path / "main.log").read_text():
            await asyncio.sleep(0.01)
        process.kill()
        assert await process.ended() == 137
        log.end()

    known = run(first())
    (tmp_path / "go").touch()
    run(asyncio.wait_for(second(known), 10))
    assert [line[3] for line in _lines(tmp_path / "main.log")] == ["before", "while nobody reads"]


# Probes


def _probe(**spec):
    found = Probe.of({"livenessProbe": spec, "ports": [{"name": "http", "containerPort": 8080}]}, "liveness")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("answers", "changes"),
    [
        ("+++", [True, True, True]),
        ("--+---", [None, None, True, None, None, False]),
        ("---+", [None, None, False, True]),
    ],
)
def test_a_probe_counts_answers_in_a_row(answers, changes):
    count = Count(_probe(tcpSocket={"port": 1}, failureThreshold=3), True)
    assert [count.state if count.add(answer == "+") else None for answer in answers] == changes


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", None),
        (b"HTTP/1.1 302 Found\r\n\r\n", None),
        (b"HTTP/1.1 503 No\r\n\r\n", "HTTP probe failed with statuscode: 503"),
        (b"", 'Get "http://10.1.0.2:8080/x": EOF'),
        (None, 'Get "http://10.1.0.2:8080/x": context deadline exceeded'),
    ],
)
def test_http_probes(tmp_path, run, status, wanted):
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        if status is None:
            await asyncio.sleep(2)
        else:
            writer.write(status)
        writer.close()

    async def scene():
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        target = Target("10.1.0.2", 8080, port, tmp_path, {})
        found = await _probe(httpGet={"port": "http", "path": "/x"}, timeoutSeconds=1).ask(target)
        server.close()
        return found

    found = run(scene())
    assert found == wanted or (wanted and found and found.startswith(wanted))


def test_a_probe_of_a_port_where_nobody_listens(tmp_path, run):
    target = Target("10.1.0.2", 8080, 1, tmp_path, {})
    refused = "dial tcp 10.1.0.2:8080: connect: connection refused"
    assert run(_probe(tcpSocket={"port": "http"}).ask(target)) == refused
    assert run(_probe(httpGet={"port": 8080}).ask(target)) == f'Get "http://10.1.0.2:8080/": {refused}'


@pytest.mark.parametrize(
    ("script", "wanted"), [("true", None), ("echo bad; exit 1", "bad\n"), ("exit 1", ""), ("sleep 5", "timed out")]
)
def test_commands_as_probes(tmp_path, run, script, wanted):
    target = Target("10.1.0.2", None, 1, tmp_path, {"PATH": os.environ["PATH"]})
    found = run(_probe(exec={"command": ["sh", "-c", script]}).ask(target))
    assert found == wanted or (wanted == "timed out" and found and wanted in found)


# What cannot be had


@pytest.mark.parametrize("path", ["../../etc", "/../x", "a/../../b", "/", "//x"])
def test_no_path_of_a_container_leads_out_of_its_root(tmp_path, path):
    found = Sandbox.inside(tmp_path, path)
    assert found == tmp_path or tmp_path in found.parents


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"containers": [{"name": "a"}, {"name": "b"}]}, "several containers"),
        ({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, "volume v of kind hostPath"),
        ({"volumes": [{"name": "kube-api-access-x", "projected": {}}]}, "automountServiceAccountToken"),
        ({"hostNetwork": True}, "hostNetwork"),
        ({"containers": [{"name": "a", "lifecycle": {"preStop": {}}}]}, "lifecycle hooks of container a"),
        ({"containers": [{"name": "a", "livenessProbe": {"grpc": {"port": 1}}}]}, "gRPC"),
        ({"initContainers": [{"name": "a", "restartPolicy": "Always"}]}, "a restart policy of container a"),
    ],
)
def test_what_is_not_supported_is_named(change, named):
    with pytest.raises(Exception, match=named):
        assert_supported({"spec": {"containers": [{"name": "a"}], **change}})


def test_what_is_supported():
    volumes = [{"name": "v", "emptyDir": {}}, {"name": "w", "configMap": {"name": "x"}}]
    assert_supported({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 1}]}], "volumes": volumes}})
