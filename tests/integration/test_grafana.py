"""Grafana as a service: from its release to a healthy address, with another program in Grafana's place.

Grafana itself is no package that tests could install. What runs here is the real way there: the catalogue's own entry,
a release server with an archive laid out as Grafana's, the checksum, the files kept of it, the provisioning, the
supervisor and the health check. The program in the archive reads the configuration and the provisioned files, and ends
where one is missing or cannot be read. Not proven: that Grafana accepts these files, shows the dashboards, and calls
nobody. `test_dashboards_live` asks a real Grafana where there is one.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import yaml
from release_server import ReleaseServer, catalogue, sha256, tar_gz

from labkit.config import choose
from labkit.errors import LabError
from labkit.observability.alerts import alert_rules
from labkit.observability.panels import dashboard_plans
from labkit.paths import DATA
from labkit.services.dashboards import dashboard_pages_url
from labkit.services.grafana import GRAFANA, dashboards_url, ensure_grafana, grafana_url
from labkit.services.prometheus import prometheus_url
from labkit.services.supervisor import Supervisor
from labkit.toolchain import ensure_tools, find_tools
from labkit.toolchain.catalogue import this_platform
from labkit.urls import lab_urls

ENTRY = next(
    entry for entry in yaml.safe_load((DATA / "tools.yaml").read_text())["programs"] if entry["name"] == GRAFANA
)
VERSION = ENTRY["version"]
PROGRAM = f"#!{sys.executable}\n{Path(__file__).with_name('grafana_in_its_place.py').read_text()}".encode()
# As in the release: one folder, of whose files some are for packagers only.
FILES = {
    "bin/grafana": PROGRAM,
    "bin/grafana-server": b"#!/bin/sh\n",
    "conf/defaults.ini": b"app_mode = production\n",
    "conf/provisioning/dashboards/sample.yaml": b"apiVersion: 1\n",
    "public/build/app.js": b"// built pages\n",
    "public/app/plugins/panel/stat/plugin.json": b"{}",
    "npm-artifacts/grafana-ui.tgz": b"for publishing",
    "storybook/index.html": b"for developers",
    "VERSION": VERSION.encode(),
}
KEPT = {
    "bin/grafana",
    "conf/defaults.ini",
    "conf/provisioning/dashboards/sample.yaml",
    "public/build/app.js",
    "public/app/plugins/panel/stat/plugin.json",
    "VERSION",
}


def archive(root: str, files: dict[str, bytes] = FILES) -> bytes:
    return tar_gz({f"{root}/{name}": content for name, content in files.items()}, programs=("bin/grafana",))


@pytest.fixture
def release():
    server = ReleaseServer()
    yield server
    server.close()


@pytest.fixture
def offered(release, tmp_path):
    """Grafana's entry of the catalogue, with a local server in place of its project's."""
    asset = f"/oss/release/grafana-{VERSION}.{this_platform().os}-{this_platform().arch}.tar.gz"
    entry = yaml.safe_load(yaml.safe_dump(ENTRY).replace("https://dl.grafana.com", release.address))

    def offer(content: bytes):
        release.files[asset] = content
        release.files[f"{asset}.sha256"] = sha256(content).encode()
        return catalogue(tmp_path, {**entry, "path": ["grafana-of-the-tests"]})

    offer.asset = asset
    return offer


@pytest.fixture
def lab(empty_lab):
    return choose(empty_lab, extras=(GRAFANA,))


@pytest.mark.parametrize("root", [f"grafana-{VERSION}", f"grafana-v{VERSION}", f"./grafana-{VERSION}"])
def test_what_is_needed_of_its_folder_is_kept_whatever_the_folder_is_called(offered, tmp_path, root):
    cache = tmp_path / "cache"
    tools = ensure_tools([GRAFANA], catalogue=offered(archive(root)), cache=cache)
    program = tools.path(GRAFANA)
    home = program.parent.parent
    assert {str(file.relative_to(home)) for file in home.rglob("*") if file.is_file()} == KEPT
    assert program.stat().st_mode & 0o777 == 0o755
    assert (home / "conf" / "defaults.ini").stat().st_mode & 0o777 == 0o644
    found = find_tools([GRAFANA], catalogue=offered(archive(root)), cache=cache)
    assert (found[0].source, found.path(GRAFANA), found[0].version) == ("cache", program, VERSION)


def test_every_lab_does_without_it_unless_asked(offered, release, tmp_path):
    tools = offered(archive("grafana"))
    cache = tmp_path / "cache"
    assert not list(ensure_tools(catalogue=tools, cache=cache))
    assert release.asked == []
    assert [tool.source for tool in ensure_tools(extras=[GRAFANA], catalogue=tools, cache=cache)] == ["release"]


def test_links_and_what_leads_out_of_its_folder_are_left_out(offered, tmp_path):
    evil = {**FILES, "conf/../../../../../evil": b"evil", "conf//etc/evil": b"evil", "/conf/evil": b"evil"}
    content = tar_gz(
        {f"grafana/{name}": data for name, data in evil.items()},
        programs=("bin/grafana",),
        links={"grafana/public/passwd": "/etc/passwd", "grafana/conf/up": "../../.."},
    )
    home = ensure_tools([GRAFANA], catalogue=offered(content), cache=tmp_path / "cache").path(GRAFANA).parent.parent
    assert not [file for file in tmp_path.rglob("evil") if not file.is_relative_to(home)]
    assert not [file for file in home.rglob("*") if file.is_symlink()]


def test_an_archive_without_the_program_is_refused(offered, tmp_path):
    files = {name: content for name, content in FILES.items() if name != "bin/grafana"}
    with pytest.raises(LabError, match="does not unpack to grafana"):
        ensure_tools([GRAFANA], catalogue=offered(archive("grafana", files)), cache=tmp_path / "cache")
    assert not (tmp_path / "cache" / "programs").exists()


def test_a_broken_archive_is_refused(offered, tmp_path):
    with pytest.raises(LabError, match="does not unpack"):
        ensure_tools([GRAFANA], catalogue=offered(archive("grafana")[:400]), cache=tmp_path / "cache")
    assert not (tmp_path / "cache" / "programs").exists()


def test_where_it_cannot_be_had_the_error_says_what_to_do(offered, release, tmp_path):
    tools = offered(archive("grafana"))
    release.files.clear()
    with pytest.raises(LabError, match="grafana could not be downloaded") as error:
        ensure_tools([GRAFANA], catalogue=tools, cache=tmp_path / "cache")
    assert "answered 404" in error.value.seen
    assert "on PATH" in error.value.todo
    assert "leave out `--with grafana`" in error.value.todo


def test_from_its_release_to_a_healthy_service(lab, offered, tmp_path):
    tools = ensure_tools([GRAFANA], catalogue=offered(archive(f"grafana-{VERSION}")), cache=tmp_path / "cache")

    ensure_grafana(lab, tools)

    (status,) = Supervisor(lab).status()
    assert (status.service, status.healthy, status.address) == (GRAFANA, True, grafana_url(lab))
    with httpx.Client(base_url=grafana_url(lab), trust_env=False) as client:
        for plan in dashboard_plans():
            built = client.get(f"/api/dashboards/uid/{plan.uid}").json()["dashboard"]
            assert built["title"] == plan.title
            asked = {panel["datasource"]["uid"] for panel in built["panels"] if panel["type"] != "row"}
            assert [client.get(f"/api/datasources/uid/{uid}").json()["url"] for uid in asked] == [prometheus_url(lab)]
    secret = lab.home.secrets / GRAFANA
    assert secret.stat().st_mode & 0o777 == 0o600
    config = (lab.home.services / GRAFANA / "grafana.ini").read_text()
    assert secret.read_text() not in config
    address = next(item for item in lab_urls(lab) if item.what == "Grafana")
    assert (address.url, address.account, address.password_file) == (grafana_url(lab), "admin", str(secret))

    ensure_grafana(lab, tools)
    assert Supervisor(lab).status()[0].pid == status.pid, "what runs is left alone"


def test_one_that_a_systems_package_installed_runs_too(lab, tmp_path, monkeypatch):
    """On PATH such a package has a script that adds its own settings; the program is with the pages."""
    home = tmp_path / "usr" / "share" / "grafana"
    script = tmp_path / "usr" / "bin" / "grafana"
    for name, content in FILES.items():
        file = home / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    (home / "bin" / "grafana").chmod(0o755)
    script.parent.mkdir(parents=True)
    script.write_text(f'#!/bin/sh\ntest "$1" = --version && exec {home}/bin/grafana --version\nexit 5\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    tools = find_tools([GRAFANA], cache=tmp_path / "cache")
    assert (tools[0].source, tools.path(GRAFANA)) == ("path", script)

    ensure_grafana(lab, tools)

    assert [status.healthy for status in Supervisor(lab).status()] == [True]


def test_a_program_alone_is_no_grafana(lab, tmp_path, monkeypatch):
    alone = tmp_path / "bin" / "grafana"
    alone.parent.mkdir()
    alone.write_text(f"#!/bin/sh\necho grafana version {VERSION}\n")
    alone.chmod(0o755)
    monkeypatch.setenv("PATH", f"{alone.parent}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(LabError, match="no pages and defaults") as error:
        ensure_grafana(lab, find_tools([GRAFANA], cache=tmp_path / "cache"))
    assert "unpacked Grafana release" in error.value.todo


def test_alerts_name_grafanas_dashboards_where_there_is_one(lab):
    def dashboards(lab):
        groups = alert_rules(lab, dashboards_url(lab))["groups"]
        return {rule["annotations"]["dashboard"].partition("/d/")[0] for group in groups for rule in group["rules"]}

    assert dashboards(lab) == {grafana_url(lab)}
    without = replace(lab, settings=replace(lab.settings, extras=()))
    assert dashboards(without) == {dashboard_pages_url(lab)}
    assert "Grafana" not in [item.what for item in lab_urls(without)]
