"""The command line: what it understands, and what it says where it does not."""

import json
import os
import shlex
import signal
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from labkit import cli as lab_cli
from labkit.config import choose, load_lab
from labkit.paths import LabHome
from labkit.process import free_port_range
from labkit.wait import wait_for

# The contract: the verbs of the design, and the commands that stand for the seed's scripts.
VERBS = {
    "approve",
    "clusters create",
    "clusters delete",
    "clusters start",
    "clusters status",
    "clusters stop",
    "deploy",
    "diff",
    "down",
    "env",
    "freeze",
    "get freezes",
    "get freight",
    "get promotions",
    "get stages",
    "hold",
    "logs",
    "preflight",
    "promote",
    "reject",
    "report promotion",
    "rollback",
    "run",
    "scenario rollback",
    "setup",
    "status",
    "timeline",
    "tools",
    "unfreeze",
    "unhold",
    "up",
    "urls",
    "validate",
}
# Commands that tell something, and change nothing: programs read their answer as JSON.
READS = (
    "clusters status",
    "get freight",
    "get promotions",
    "get stages",
    "preflight",
    "status",
    "timeline",
    "tools",
    "urls",
)


def _commands(group=lab_cli.cli, *above):
    for name, command in group.commands.items():
        yield (*above, name), command
        if isinstance(command, click.Group):
            yield from _commands(command, *above, name)


COMMANDS = dict(_commands())


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A lab's folder, not made yet."""
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "a lab's home"))
    return LabHome(tmp_path / "a lab's home")


@pytest.fixture
def labkit(home, monkeypatch, capsys):
    """`labkit` as its entry point runs it: returns exit code, output and errors."""

    def run(line):
        monkeypatch.setattr(sys, "argv", ["labkit", *shlex.split(line)])
        code = 0
        try:
            lab_cli.main()
        except SystemExit as stop:
            code = stop.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_the_contracts_verbs_are_there():
    ends = {" ".join(words) for words, command in COMMANDS.items() if not isinstance(command, click.Group)}
    assert ends >= VERBS


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_every_command_helps(words, option):
    shown = CliRunner().invoke(lab_cli.cli, [*words, option])
    assert shown.exit_code == 0, shown.output
    assert shown.output.startswith("Usage: ")
    about = COMMANDS[words].help
    assert about, f"`labkit {' '.join(words)}` has no help text"
    assert about.strip().splitlines()[0].rstrip(".") in " ".join(shown.output.split())


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_option_has_a_help_text(words):
    for parameter in COMMANDS[words].params:
        assert isinstance(parameter, click.Argument) or parameter.help, f"{parameter.name} of {' '.join(words)}"


@pytest.mark.parametrize("line", READS)
def test_every_read_command_speaks_json(line):
    (option,) = (item for item in COMMANDS[tuple(line.split())].params if item.name == "output")
    assert "json" in option.type.choices


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("upp", "No such command 'upp'"),
        ("clusters", "Usage: "),
        ("clusters grow", "No such command 'grow'"),
        ("status --output xml", "'xml' is not one of 'text', 'json'"),
        ("status --colour", "No such option"),
        ("up --provider docker", "'docker' is not"),
        ("up --with loki", "'loki' is not 'grafana'"),
        ("up --kargo argo", "'argo' is not one of 'auto', 'kargo', 'kargolite'"),
        ("up --port-base many", "'many' is not a valid integer"),
        ("clusters create --port-base 80", "port base 80 is not between"),
        ("logs", "Missing argument"),
        ("logs gitea", "There is no log of 'gitea'"),
        ("promote", "Promote from where to where?"),
        ("promote --from dev", "Promote from where to where?"),
        ("promote --from dev --to pre --app shop", "There is no application 'shop'"),
        ("promote stage dev", "`labkit promote stage dev` is not understood"),
        ("promote stage dev-to-pre --to prod", "is not understood"),
        ("promote freight dev-to-pre", "is not understood"),
        ("run 77", "There is no notebook '77'"),
    ],
)
def test_wrong_usage_ends_with_2_and_changes_nothing(labkit, home, line, said):
    code, _, errors = labkit(line)
    assert code == 2, errors
    assert said in errors
    assert "Traceback" not in errors
    assert not home.root.exists()


@pytest.fixture
def out_of_reach(tmp_path, monkeypatch):
    """No program is on PATH or cached, and no host can be reached."""
    monkeypatch.setenv("PATH", str(tmp_path / "no-programs"))
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port_range(1)}")


def test_an_extra_that_cannot_be_had_is_not_kept(labkit, home, out_of_reach):
    before = choose(load_lab(home)).settings
    code, _, said = labkit("up --with grafana")
    assert code == 1
    assert "grafana could not be downloaded" in said
    assert "leave out `--with grafana`" in " ".join(said.split())
    assert load_lab(home).settings == before


@pytest.mark.parametrize(
    ("variable", "value"), [("LABKIT_KARGO", "argo"), ("LABKIT_PROVIDER", "docker"), ("LABKIT_PORT_BASE", "many")]
)
def test_a_wrong_setting_is_wrong_usage_of_every_command(labkit, home, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    for line in ("up", "status", "urls", "get stages"):
        code, _, errors = labkit(line)
        assert code == 2
        assert value in errors
        assert "What to do: " in errors
    assert not home.root.exists()


@pytest.mark.parametrize(
    "line", ["get stages", "get freight", "get promotions", "promote --from dev --to pre", "promote stage dev-to-pre"]
)
def test_what_needs_a_lab_says_how_to_get_one(labkit, home, line):
    code, _, errors = labkit(line)
    assert code == 1
    assert errors.startswith("labkit: ")
    assert "What to do: " in errors
    assert "labkit" in errors.partition("What to do: ")[2]
    assert not home.root.exists()


def test_addresses_are_told_before_there_is_a_lab(labkit):
    code, text, _ = labkit("urls --output json")
    assert code == 0
    lab = load_lab()
    assert {row["url"] for row in json.loads(text)} >= {f"{lab.gitea_url}/lab/gitops"}
    assert all(row["url"].startswith("http://127.0.0.1:") for row in json.loads(text))


def test_a_shell_takes_the_variables_whatever_the_folder_is_called(labkit, home):
    code, text, _ = labkit("env")
    assert code == 0
    script = f'{text}\nprintf "%s\\n" "$LABKIT_HOME" "$KUBECONFIG" "$PATH"'
    shown = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()
    assert shown == [str(home.root), str(home.kubeconfig), f"{home.bin}:{os.environ['PATH']}"]


def test_a_keyboard_interrupt_says_how_to_go_on(home):
    """A log that never ends keeps the command busy until it is interrupted."""
    home.ensure().logs.mkdir()
    pipe = home.logs / "endless.log"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "labkit", "logs", "endless"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        writer = wait_for(
            "the command to read the log",
            lambda: os.open(pipe, os.O_WRONLY | os.O_NONBLOCK),
            lambda descriptor: descriptor > 0,
            tolerate=(OSError,),
            timeout=60,
        )

        def ended():
            # A signal between two system calls is noticed only after the second, and that one waits for ever.
            process.send_signal(signal.SIGINT)
            return process.poll() is not None

        wait_for("the command to end", ended, timeout=60, interval=10)
        errors = process.stderr.read()
        os.close(writer)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 1
    assert "labkit up" in errors
    assert "labkit down" in errors
    assert "Traceback" not in errors


def test_the_module_is_the_command(home):
    done = subprocess.run([sys.executable, "-m", "labkit", "upp"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "No such command 'upp'" in done.stderr


def test_commands_do_not_wait_for_what_they_do_not_use():
    """papermill and nbconvert are needed by `labkit run` alone, and take seconds to import."""
    heavy = {"papermill", "nbconvert", "pandas", "plotly"}
    code = f"import sys, labkit.cli; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
