"""Processes and ports of this machine."""

import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack

import psutil
import pytest

from labkit.errors import LabError
from labkit.process import (
    LOOPBACK,
    ProcessId,
    assert_ports_free,
    end_processes,
    free_port_range,
    port_is_free,
    port_owner,
    proportional_set_size,
    run,
    running_processes,
)
from labkit.wait import wait_for


@pytest.fixture
def taken():
    """A port of 127.0.0.1 that this very process listens on."""
    with socket.create_server((LOOPBACK, 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def child():
    """A process that runs until its input ends."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def _python(code, **options):
    return run([sys.executable, "-c", code], **options)


def test_run_returns_what_the_command_printed(tmp_path):
    assert _python("import os; print(os.getcwd())", cwd=tmp_path).strip() == str(tmp_path.resolve())


def test_run_sets_variables_on_top_of_its_own(monkeypatch):
    monkeypatch.setenv("KEPT", "kept")
    code = "import os; print(os.environ['KEPT'], os.environ['GIVEN'])"
    assert _python(code, env={"GIVEN": "given"}) == "kept given\n"


def test_run_gives_input_or_none():
    assert _python("import sys; print(sys.stdin.read())", stdin="text") == "text\n"
    assert _python("import sys; print(repr(sys.stdin.read()))") == "''\n"


def test_a_command_that_fails_is_named_with_its_own_words():
    with pytest.raises(LabError) as caught:
        _python("import sys; print('out'); sys.exit('no such cluster')", todo="create it")
    assert "ended with 1" in caught.value.what
    assert (caught.value.seen, caught.value.todo) == ("no such cluster", "create it")


def test_a_command_that_fails_without_errors_shows_its_output():
    with pytest.raises(LabError) as caught:
        _python("import sys; print('only output'); sys.exit(3)")
    assert "ended with 3" in caught.value.what
    assert caught.value.seen == "only output"


def test_a_command_that_is_not_there_is_named():
    with pytest.raises(LabError, match="`no-such-program --version` could not start"):
        run(["no-such-program", "--version"])


def test_a_command_that_takes_too_long_is_ended():
    started = time.monotonic()
    with pytest.raises(LabError, match="took longer than"):
        _python("import time; time.sleep(60)", timeout=0.3)
    assert time.monotonic() - started < 30


def test_a_process_is_known_again(child):
    known = ProcessId.of(child.pid)
    assert known == ProcessId.of(child.pid)
    assert known.alive


def test_a_reused_pid_is_another_process(child):
    known = ProcessId.of(child.pid)
    assert not ProcessId(known.pid, known.started - 3600).alive


def test_a_process_that_ended_is_not_alive(child):
    known = ProcessId.of(child.pid)
    child.stdin.close()
    wait_for("the zombie", lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE, timeout=20)
    assert not known.alive
    child.wait()
    assert not known.alive
    assert ProcessId.of(child.pid) is None


def test_a_port_is_taken_while_somebody_listens(taken):
    assert not port_is_free(taken)


def test_a_port_is_free_again_at_once():
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection((LOOPBACK, port)), server.accept()[0]:
            pass
    assert port_is_free(port)


@pytest.mark.skipif(not psutil.LINUX, reason="other systems tell root only who holds a port")
def test_the_owner_of_a_port_is_named(taken):
    assert port_owner(taken) == f"{psutil.Process().name()} (pid {os.getpid()})"


def test_a_port_that_nobody_holds_has_no_name():
    assert port_owner(free_port_range(1)) == "another process"


def test_every_taken_port_is_named_with_what_it_was_for(taken):
    free = free_port_range(1)
    with pytest.raises(LabError) as caught:
        assert_ports_free({"Gitea": taken, "Valkey": free, "CI": taken}, todo="choose others")
    assert f"port {taken} (for Gitea) is held by" in caught.value.seen
    assert f"port {taken} (for CI) is held by" in caught.value.seen
    assert "Valkey" not in caught.value.seen
    assert caught.value.todo == "choose others"


def test_free_ports_are_no_matter():
    assert_ports_free({"Gitea": free_port_range(1)}, todo="")


def test_a_range_of_free_ports_is_free():
    first = free_port_range(20)
    assert all(port_is_free(port) for port in range(first, first + 20))


def test_a_range_goes_around_what_is_taken():
    window = free_port_range(30)
    with ExitStack() as held:
        for port in (window + 3, window + 12):
            held.enter_context(socket.create_server((LOOPBACK, port)))
        first = free_port_range(10, start=window, stop=window + 30)
        assert all(port_is_free(port) for port in range(first, first + 10))
        assert window + 12 < first <= window + 20


def test_no_room_for_a_range_is_said(taken):
    with pytest.raises(LabError, match="No 10 free ports in a row"):
        free_port_range(10, start=taken - 5, stop=taken + 5)


def test_memory_counts_each_process_and_skips_what_is_gone(child):
    wait_for("the interpreter in memory", lambda: proportional_set_size([child.pid]) > 2**20, timeout=20)
    child.kill()
    child.wait()
    assert proportional_set_size([child.pid]) == 0


def test_a_process_with_the_pid_of_one_that_ended_is_ended_too(child):
    found = next(process for process in psutil.process_iter() if process.pid == child.pid)
    # What psutil keeps when a pid changes hands between two looks at all processes.
    found._ident = (child.pid, 0.0)
    end_processes(process for process in running_processes() if process.pid == child.pid)
    assert child.wait(timeout=5) < 0
