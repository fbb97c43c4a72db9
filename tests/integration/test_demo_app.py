"""The demo app's releases: each passes its own unit tests, and the tiers bear each other's previous release."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from labkit.config import load_lab
from labkit.delivery.build import run_unit_tests
from labkit.delivery.dockerfile import read_recipe_file
from labkit.delivery.oci import build_image
from labkit.delivery.wheels import ensure_wheels
from labkit.paths import DATA, LabHome

PROGRAMS = {"frontend": "shop.py", "backend": "orders.py", "database": "storage.py"}
RELEASES = (1, 2, 3)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return load_lab(LabHome(tmp_path_factory.mktemp("lab")))


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The source tree of each release: overlays on top of each other."""
    folder = tmp_path_factory.mktemp("releases")
    layers = [DATA / "demo-app", *sorted(path for path in (DATA / "demo-app-releases").iterdir() if path.is_dir())]
    for number in RELEASES:
        for layer in layers[:number]:
            shutil.copytree(
                layer,
                folder / str(number) / "source",
                dirs_exist_ok=True,
                ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache"),
            )
    return {number: folder / str(number) / "source" for number in RELEASES}


@pytest.mark.parametrize("number", RELEASES)
def test_a_releases_own_unit_tests_pass(lab, sources, tmp_path, number):
    with (tmp_path / "log").open("w") as log:
        result = run_unit_tests(sources[number], lab.tiers, log, timeout=60)
    assert result.passed, (tmp_path / "log").read_text()


def test_the_releases_are_those_of_the_table(lab, sources):
    assert len(lab.releases) == len(RELEASES)
    for number, release in zip(RELEASES, lab.releases, strict=True):
        found = {tier: (sources[number] / tier / "VERSION").read_text().strip() for tier in lab.tiers}
        assert found == dict(release.versions)


def test_every_tier_has_other_content_in_every_release(lab, sources):
    for tier in lab.tiers:
        images = [build_image(sources[number], tier, "1.0.0", "a" * 40, created="") for number in RELEASES]
        assert len({image.content_digest for image in images}) == len(RELEASES)


@pytest.mark.parametrize("tier", PROGRAMS)
def test_the_image_starts_the_tiers_program(tier):
    assert read_recipe_file(DATA / "demo-app" / tier / "Dockerfile").entrypoint == ("python3", PROGRAMS[tier])


@contextmanager
def running(source: Path, tier: str, **variables: str):
    """A tier as a process; yields its address."""
    wheels = ensure_wheels(source / tier / "requirements.txt")
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join((str(wheels), str(source / "common"))),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PORT": "0",
        "DRAIN_SECONDS": "0",
        **variables,
    }
    process = subprocess.Popen(
        [sys.executable, "-S", PROGRAMS[tier]], cwd=source / tier, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        yield f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}"
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("frontend", "backend", "database"),
    [(1, 1, 1), (2, 1, 1), (2, 2, 1), (1, 2, 2), (1, 1, 2), (3, 2, 2), (3, 3, 2), (2, 3, 3), (2, 2, 3), (3, 3, 3)],
)
def test_in_a_roll_out_neighbouring_releases_work_together(sources, tmp_path, frontend, backend, database):
    with ExitStack() as tiers:
        data = tiers.enter_context(running(sources[database], "database", DATA_DIR=str(tmp_path)))
        api = tiers.enter_context(running(sources[backend], "backend", DATABASE_URL=data))
        shop = tiers.enter_context(running(sources[frontend], "frontend", BACKEND_URL=api, ENVIRONMENT="test"))
        order = {"customer": "Margaret", "item": "Flight plan", "quantity": 1, "unitPriceCents": 1969}
        assert httpx.post(f"{shop}/api/orders", json=order, trust_env=False).status_code == 201
        page = httpx.get(shop, trust_env=False)
        assert page.status_code == 200
        assert "Flight plan" in page.text


def test_an_order_survives_a_kill_an_upgrade_and_a_rollback(sources, tmp_path):
    order = {"customer": "Katherine", "item": "Orbit", "quantity": 1, "unit_price_cents": 1962}
    with running(sources[1], "database", DATA_DIR=str(tmp_path)) as url:
        number = httpx.post(f"{url}/orders", json=order, trust_env=False).json()["id"]
    schemas = []
    for release in (2, 3, 2):
        with running(sources[release], "database", DATA_DIR=str(tmp_path)) as url:
            assert httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
            found = httpx.get(f"{url}/orders/{number}", trust_env=False).json()
            assert {key: found[key] for key in order} == order
            schemas.append(httpx.get(f"{url}/schema", trust_env=False).json()["version"])
    assert schemas == [2, 3, 3]
