"""minikube's own opinion of the command lines: the real program checks them, and starts nothing.

Needs minikube on PATH or in the program cache, and for the dry runs a driver that it finds.
"""

import os
import subprocess
from dataclasses import replace

import pytest

from labkit.clusters.minikube import MinikubeClusters, start_arguments
from labkit.config import Minikube, load_lab
from labkit.errors import LabError
from labkit.toolchain import find_tools


@pytest.fixture(scope="module")
def minikube(tmp_path_factory):
    """Runs minikube in a folder of its own."""
    tools = find_tools(["minikube"])
    if tools.missing:
        pytest.skip("there is no minikube: `labkit init --provider minikube` and `labkit clusters create` get it")
    home = tmp_path_factory.mktemp("minikube")
    own = {
        "MINIKUBE_HOME": str(home),
        "KUBECONFIG": str(home / "kubeconfig"),
        "MINIKUBE_WANTUPDATENOTIFICATION": "false",
    }

    def run(*arguments):
        return subprocess.run(
            [tools.path("minikube"), *arguments],
            env={**os.environ, **own},
            capture_output=True,
            text=True,
            timeout=240,
        )

    return run


def _lab(scale=1.0):
    lab = load_lab()
    return replace(lab, settings=replace(lab.settings, provider="minikube", minikube=Minikube(scale=scale)))


@pytest.fixture(scope="module")
def driver():
    try:
        return MinikubeClusters(_lab()).driver()
    except LabError as error:
        pytest.skip(f"no driver of minikube's is here: {error.seen}")


@pytest.mark.parametrize("name", ["dev", "pre", "prod"])
def test_a_start_passes_minikubes_own_checks(minikube, driver, name):
    lab = _lab()
    # As root minikube wants the docker driver confirmed.
    done = minikube(*start_arguments(lab, lab.environment(name), driver), "--dry-run", "--force")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_driver_that_is_not_there_is_minikubes_error_too(minikube):
    """The whole command line is parsed before the driver is asked for: it is the driver that is missing, not a flag."""
    lab = _lab()
    try:
        MinikubeClusters(lab).driver()
    except LabError:
        done = minikube(*start_arguments(lab, lab.control, "docker"), "--dry-run")
        said = done.stdout + done.stderr
        assert done.returncode != 0
        assert "PROVIDER_DOCKER" in said or "DRV_" in said, said
        assert "unknown flag" not in said
    else:
        pytest.skip("a driver is here: the dry runs above say more")


def test_a_flag_that_minikube_does_not_know_would_be_noticed(minikube):
    lab = _lab()
    done = minikube(*start_arguments(lab, lab.control, "docker"), "--dry-run", "--no-such-flag")
    assert done.returncode != 0
    assert "unknown flag: --no-such-flag" in done.stdout + done.stderr


def test_profiles_of_a_folder_where_there_are_none_are_listed_as_labkit_reads_them(minikube):
    done = minikube("profile", "list", "--output=json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"valid":[]' in done.stdout.replace(" ", "")
