"""Kargo's own API server, where the genuine engine runs: pages, sign-in, and the resources that the lab made."""

from pathlib import Path

import httpx
import pytest
from _labkit import get, labkit

from labkit.services.supervisor import Supervisor


@pytest.fixture(scope="module")
def kargo(lab):
    """The row of `labkit urls`, and a client for its address."""
    rows = [row for row in labkit(lab, "urls", "--output", "json").json if row["what"] == "Kargo"]
    if not rows:
        pytest.skip("this lab runs kargolite, which has no API server of Kargo's")
    with httpx.Client(base_url=rows[0]["url"], trust_env=False, timeout=20) as client:
        yield rows[0], client


def _token(client, password):
    return client.post("/v1beta1/login", headers={"Authorization": f"Bearer {password}"})


def test_the_page_is_served(kargo):
    _, client = kargo
    page = client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")


def test_the_admin_signs_in_with_the_labs_password_and_nobody_else_does(kargo):
    row, client = kargo
    assert row["account"] == "admin"
    password = Path(row["password_file"]).read_text()
    assert client.get("/v1beta1/projects").status_code == 401
    assert _token(client, password[:-1]).status_code == 403
    answer = _token(client, password)
    assert answer.status_code == 200, answer.text
    signed_in = {"Authorization": f"Bearer {answer.json()['idToken']}"}
    projects = client.get("/v1beta1/projects", headers=signed_in).json()["items"]
    assert [item["metadata"]["name"] for item in projects] == ["demo-app"]


def test_it_shows_the_stages_that_kubectl_shows(kargo, lab):
    row, client = kargo
    token = _token(client, Path(row["password_file"]).read_text()).json()["idToken"]
    answer = client.get("/v1beta1/projects/demo-app/stages", headers={"Authorization": f"Bearer {token}"})
    shown = {item["metadata"]["name"]: item["spec"] for item in answer.json()["items"]}
    expected = {item["metadata"]["name"]: item["spec"] for item in get(lab, lab.control, "stages -n demo-app")["items"]}
    assert shown.keys() == expected.keys()
    assert {name: spec["shard"] for name, spec in shown.items()} == {
        name: spec["shard"] for name, spec in expected.items()
    }


def test_the_garbage_collector_has_run(kargo, lab):
    (row,) = (row for row in Supervisor(lab).status() if row.service == "kargo-garbage-collector")
    assert row.healthy
    assert httpx.get(f"{row.address}/healthz", trust_env=False).text == "ok\n"
