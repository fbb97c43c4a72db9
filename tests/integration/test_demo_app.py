"""The demo app's releases: each passes its own unit tests, and the tiers bear each other's previous release."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from labkit.config import ACCEPTANCE, load_lab
from labkit.delivery.build import run_unit_tests
from labkit.delivery.changes import add_migration, apply
from labkit.delivery.defects import defect_table
from labkit.delivery.dockerfile import read_recipe_file
from labkit.delivery.git import WorkingCopy
from labkit.delivery.oci import build_image
from labkit.delivery.wheels import ensure_wheels
from labkit.paths import DATA, LabHome
from labkit.process import run

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


def unit_tests(lab, source, folder):
    with (folder / "log").open("w") as log:
        result = run_unit_tests(source, [*lab.tiers, ACCEPTANCE], log, timeout=60)
    assert result.passed, (folder / "log").read_text()


@pytest.mark.parametrize("number", RELEASES)
def test_a_releases_own_unit_tests_pass(lab, sources, tmp_path, number):
    unit_tests(lab, sources[number], tmp_path)


@pytest.fixture
def defective(sources, tmp_path):
    """The newest release with a defect in it."""

    def introduce(name):
        source = tmp_path / "source"
        shutil.copytree(sources[max(RELEASES)], source)
        run(["git", "init", "--quiet"], cwd=source)
        copy = WorkingCopy(source, "developer", {})
        apply(copy, (DATA / "demo-app-defects" / f"{name}.patch").read_text())
        migration = DATA / "demo-app-defects" / f"{name}.sql"
        if migration.exists():
            add_migration(copy, name, migration.read_text())
        return source

    return introduce


@pytest.mark.parametrize("defect", defect_table(), ids=lambda row: row.defect)
def test_a_defect_passes_the_unit_tests_and_changes_the_image_of_its_tier_alone(
    lab, sources, defective, tmp_path, defect
):
    source = defective(defect.defect)
    unit_tests(lab, source, tmp_path)
    changed = [
        tier
        for tier in lab.tiers
        if build_image(source, tier, "1.0.0", "a" * 40, created="").content_digest
        != build_image(sources[max(RELEASES)], tier, "1.0.0", "a" * 40, created="").content_digest
    ]
    assert changed == [defect.tier]


def test_every_patch_is_in_the_table():
    patches = {file.stem for file in (DATA / "demo-app-defects").glob("*.patch")}
    assert patches == {row.defect for row in defect_table()}


def test_the_leak_leaks(sources, defective, tmp_path):
    """Memory of the backend after 300 requests, in MiB more than after 20."""

    def growth(source, folder):
        with ExitStack() as tiers:
            data = tiers.enter_context(running(source, "database", DATA_DIR=str(folder)))
            api = tiers.enter_context(running(source, "backend", DATABASE_URL=data))
            (process,) = [item for item in psutil.Process().children() if item.environ().get("DATABASE_URL") == data]
            sizes = []
            for count in (20, 280):
                for _ in range(count):
                    assert httpx.get(f"{api}/api/orders", trust_env=False).status_code == 200
                sizes.append(process.memory_info().rss)
            return (sizes[1] - sizes[0]) / 2**20

    sound = growth(sources[max(RELEASES)], tmp_path / "sound")
    leaking = growth(defective("leak"), tmp_path / "leaking")
    assert leaking > sound + 1, f"{leaking:.1f} MiB with the leak, {sound:.1f} MiB without"


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


@pytest.mark.parametrize("number", RELEASES)
@pytest.mark.parametrize("suite", ["smoke", "integration"])
def test_every_release_passes_the_acceptance_tests_which_write_to_no_file(sources, tmp_path, number, suite):
    source = sources[number] / ACCEPTANCE
    without_temporary_files = (
        "import sys, tempfile; tempfile.tempdir = '/nowhere'; import pytest; sys.exit(pytest.main())"
    )
    with ExitStack() as tiers:
        data = tiers.enter_context(running(sources[number], "database", DATA_DIR=str(tmp_path)))
        api = tiers.enter_context(running(sources[number], "backend", DATABASE_URL=data))
        shop = tiers.enter_context(running(sources[number], "frontend", BACKEND_URL=api, ENVIRONMENT="test"))
        done = subprocess.run(
            [sys.executable, "-S", "-c", without_temporary_files, f"{suite}.py"],
            cwd=source,
            env={
                "PYTHONPATH": str(ensure_wheels(source / "requirements.txt")),
                "PYTHONDONTWRITEBYTECODE": "1",
                "FRONTEND_URL": shop,
                "BACKEND_URL": api,
                "DATABASE_URL": data,
                "PROMOTED_VERSIONS": " ".join(
                    f"{tier}={(sources[number] / tier / 'VERSION').read_text().strip()}" for tier in PROGRAMS
                ),
            },
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


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
