"""Wrong usage and missing labs: one clear message, the right exit code, and nothing changed."""

import json
import os
import shutil
from dataclasses import replace

import click
import pytest
from _labkit import assert_refused, labkit

from labkit.cli import cli
from labkit.config import load_lab
from labkit.errors import LabError
from labkit.install import create_clusters
from labkit.paths import REPO
from labkit.preflight import preflight
from labkit.process import free_port_range

CHANGING = {"up", "setup", "down", "run"}
SERVING = {"board"}


def _commands(group, path=()):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


@pytest.mark.parametrize(("name", "command"), list(_commands(cli)))
def test_every_command_that_shows_something_can_show_it_as_json(name, command):
    if name not in CHANGING | SERVING:
        assert "output" in {parameter.name for parameter in command.params}, f"labkit {name} has no --output"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("promote",), ("from where to where", "labkit promote --from dev --to pre")),
        (("promote", "--to", "pre"), ("from where to where",)),
        (("promote", "stage", "devpre"), ("promote stage dev-to-pre",)),
        (("promote", "--from", "dev", "--to", "nowhere"), ("no Stage 'nowhere'", "dev, pre, prod")),
        (("promote", "stage", "dev-to-nowhere"), ("no Stage 'nowhere'",)),
        (("promote", "--from", "dev", "--to", "prod"), ("does not take Freight from dev", "pre")),
        (("promote", "--from", "dev", "--to", "pre", "--freight", "no-such"), ("No Freight is called 'no-such'",)),
        (("promote", "--from", "dev", "--to", "pre", "--app", "other"), ("no application 'other'", "demo-app")),
        (("get", "promotions", "--stage", "nowhere"), ("no Stage 'nowhere'", "dev, pre, prod")),
        (("get", "stages", "--output", "yaml"), ("'yaml'", "json")),
        (("logs", "no-such"), ("no log of 'no-such'", "gitea")),
        (("logs", "../lab"), ("no log of '../lab'",)),
        (("run", "77"), ("no notebook '77'", "04-deploy-demo-app")),
        (("clusters", "explode"), ("explode",)),
        (("up", "--port-base", "many"), ("many",)),
        (("up", "--kargo", "argo"), ("argo", "kargolite")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_wrong_usage_is_named(lab, words, said):
    assert_refused(labkit(lab, *words), 2, *said)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("LABKIT_PORT_BASE", "many", "LABKIT_PORT_BASE is 'many'"),
        ("LABKIT_PORT_BASE", "80", "port base 80"),
        ("LABKIT_KARGO", "argo", "LABKIT_KARGO 'argo'"),
        ("LABKIT_PROVIDER", "docker", "provider 'docker'"),
    ],
)
def test_a_wrong_setting_is_named_and_leaves_nothing(empty_lab, variable, value, said):
    assert_refused(labkit(empty_lab, "up", env={variable: value}), 2, said)
    assert not empty_lab.home.root.exists()


def test_other_ports_for_a_lab_that_exists_are_refused(lab):
    done = labkit(lab, "up", "--port-base", str(lab.settings.port_base + 100))
    assert_refused(done, 2, "was created with", str(lab.settings.port_base), "labkit down --purge")


@pytest.mark.parametrize(
    "words",
    [("get", "stages"), ("get", "freight"), ("get", "promotions"), ("promote", "--from", "dev", "--to", "pre")],
    ids=" ".join,
)
def test_where_there_are_no_clusters_the_way_to_them_is_named(empty_lab, words):
    assert_refused(labkit(empty_lab, *words), 1, "labkit clusters create")


@pytest.mark.parametrize(
    "words", [("setup",), ("deploy",), ("clusters", "start"), ("clusters", "delete")], ids=" ".join
)
def test_a_command_for_a_lab_that_is_not_there_makes_none(empty_lab, words):
    assert_refused(labkit(empty_lab, *words), 1, "There is no lab", "labkit up")
    assert not empty_lab.home.root.exists()


def test_status_of_no_lab_says_so(empty_lab):
    status = labkit(empty_lab, "status", "--output", "json").json
    assert {row["state"] for row in status["clusters"]} == {"absent"}
    assert (status["services"], status["applications"], status["stages"], status["engine"]) == ([], [], [], "")


# A machine that cannot carry the lab: refused before anything is created


def _refused_before_anything(done, lab, *said):
    assert_refused(done, 1, "nothing was created", *said)
    assert not lab.home.root.exists(), list(lab.home.root.rglob("*"))


def test_a_taken_port_is_named_with_its_purpose_and_owner(empty_lab, listener):
    gitea, etcd = empty_lab.port("gitea"), empty_lab.port("etcd", empty_lab.environment("prod"))
    with listener(gitea), listener(etcd):
        done = labkit(empty_lab, "up")
        rows = labkit(empty_lab, "preflight", "--output", "json")
    owner = f"(pid {os.getpid()})"
    said = (f"port {gitea} (for gitea)", f"port {etcd} (for etcd of gitops-prod)", owner, "LABKIT_PORT_BASE")
    _refused_before_anything(done, empty_lab, *said)
    assert rows.code == 1, rows
    assert f"port {gitea} (for gitea)" in rows.out


def test_the_genuine_kargo_is_not_replaced_silently(empty_lab, tmp_path):
    done = labkit(empty_lab, "up", env={"LABKIT_KARGO": "kargo", **_machine_without_kargo(tmp_path)})
    tried = ("kargo-controlplane is not on PATH", f"is not in {tmp_path / 'cache'}", "ghcr.io cannot be reached")
    _refused_before_anything(done, empty_lab, *tried, "LABKIT_KARGO=auto")


def test_the_stand_in_is_announced_with_its_reason(empty_lab, tmp_path):
    env = {"LABKIT_KARGO": "auto", **_machine_without_kargo(tmp_path)}
    rows = labkit(empty_lab, "preflight", "--output", "json", env=env)
    (kargo,) = (row for row in json.loads(rows.out) if row["check"] == "Kargo")
    assert kargo["result"] == "note", kargo
    assert kargo["found"].startswith("kargolite: kargo-controlplane, the genuine control plane, is not on PATH, and ")
    assert "ghcr.io cannot be reached" in kargo["found"]


def _machine_without_kargo(folder):
    """Neither on PATH nor in the cache, and the way to its registry leads nowhere."""
    nowhere = f"http://127.0.0.1:{free_port_range(1)}"
    proxies = {"https_proxy": nowhere, "HTTPS_PROXY": nowhere, "no_proxy": "", "NO_PROXY": ""}
    return {"PATH": _path_without_kargo(folder), "LABKIT_CACHE": str(folder / "cache"), **proxies}


def _path_without_kargo(folder):
    (folder / "git").symlink_to(shutil.which("git"))
    return str(folder)


def test_a_machine_without_git_is_told(empty_lab, tmp_path):
    done = labkit(empty_lab, "up", env={"PATH": str(tmp_path)})
    _refused_before_anything(done, empty_lab, "git: not on PATH", "install git")


@pytest.mark.parametrize(
    ("limit", "said"), [("memory_gib", "GiB of free memory"), ("disk_gib", "GiB of disk for the lab")]
)
def test_too_little_memory_or_disk_is_named(empty_lab, limit, said):
    lab = replace(empty_lab, limits=replace(empty_lab.limits, **{limit: 1_000_000}))
    failed = [finding for finding in preflight(lab) if finding.result == "failed"]
    assert [finding.check for finding in failed] == [f"1000000 {said}"]
    assert failed[0].todo
    with pytest.raises(LabError, match="nothing was created") as caught:
        create_clusters(lab)
    assert f"1000000 {said}" in caught.value.seen
    assert caught.value.todo == failed[0].todo
    assert not lab.home.root.exists()


# Folders that are no lab's


@pytest.fixture
def someones_folder(tmp_path):
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter-1.txt").write_text("years of work")
    return folder


def _untouched(folder):
    return [path.name for path in folder.iterdir()] == ["chapter-1.txt"]


@pytest.mark.parametrize("words", [("down",), ("down", "--purge"), ("up",), ("run", "00")], ids=" ".join)
def test_a_folder_that_is_no_lab_is_left_alone(empty_lab, someones_folder, words):
    done = labkit(empty_lab, *words, env={"LABKIT_HOME": str(someones_folder)})
    assert_refused(done, 1 if words[0] == "down" else 2, str(someones_folder), "holds no lab", "LABKIT_HOME")
    assert _untouched(someones_folder)


def test_a_link_to_a_folder_that_is_no_lab_is_no_way_in(empty_lab, someones_folder):
    link = someones_folder.parent / "link"
    link.symlink_to(someones_folder)
    assert_refused(labkit(empty_lab, "down", "--purge", env={"LABKIT_HOME": str(link)}), 1, "holds no lab")
    assert _untouched(someones_folder)


def test_a_file_is_no_labs_folder(empty_lab, someones_folder):
    file = someones_folder / "chapter-1.txt"
    assert_refused(labkit(empty_lab, "down", "--purge", env={"LABKIT_HOME": str(file)}), 1, "is not a folder")
    assert file.read_text() == "years of work"


def test_a_home_folder_is_never_a_lab_whatever_is_in_it(empty_lab, someones_folder):
    settings = someones_folder / "lab.yaml"
    settings.write_text("{provider: kwok, port_base: 17300, kargo: auto, pods: process, traffic: none}")
    for words, code in ((("down", "--purge"), 1), (("up",), 2)):
        env = {"HOME": str(someones_folder), "LABKIT_HOME": str(someones_folder)}
        assert_refused(labkit(empty_lab, *words, env=env), code, "is your home folder")
        assert_refused(labkit(empty_lab, *words, env={**env, "LABKIT_HOME": "~"}), code, "is your home folder")
    assert (someones_folder / "chapter-1.txt").exists()
    assert settings.exists()


def test_a_repository_is_never_a_lab(empty_lab, tmp_path):
    """With a copy of labkit, so that a test that finds a fault does no harm."""
    copy = tmp_path / "checkout"
    for folder in ("labkit", "data"):
        shutil.copytree(REPO / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "lab.yaml").write_text("{provider: kwok, port_base: 17300, kargo: auto, pods: process, traffic: none}")
    for folder in (copy, tmp_path):
        done = labkit(empty_lab, "down", "--purge", env={"LABKIT_HOME": str(folder), "PYTHONPATH": str(copy)}, cwd=copy)
        assert_refused(done, 1, "labkit's own repository", str(folder))
    assert (copy / "labkit" / "errors.py").exists()


def test_settings_that_are_not_a_labs_are_named_and_nothing_is_deleted(empty_lab, someones_folder):
    (someones_folder / "lab.yaml").write_text("colour: blue\n")
    done = labkit(empty_lab, "down", "--purge", env={"LABKIT_HOME": str(someones_folder)})
    assert_refused(done, 1, str(someones_folder / "lab.yaml"), "port_base")
    assert (someones_folder / "chapter-1.txt").exists()


def test_one_lab_is_one_lab_whichever_link_leads_to_it(empty_lab, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(empty_lab.home.root)
    assert load_lab(link).home == empty_lab.home


def test_nothing_to_take_down_is_no_failure(empty_lab):
    for words in (("down",), ("down", "--purge")):
        done = labkit(empty_lab, *words)
        assert done.code == 0, done
    assert not empty_lab.home.root.exists()


def test_it_runs_from_any_folder(empty_lab, tmp_path):
    done = labkit(empty_lab, "status", "--output", "json", cwd=tmp_path)
    assert done.json["home"] == str(empty_lab.home.root)
