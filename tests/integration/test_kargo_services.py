"""The genuine engine's host processes as the supervisor starts them, with a program that listens where Kargo would.

What Kargo itself does with its environment is seen on a lab with the genuine engine (`test_kargo_pages`).
"""

import stat

import bcrypt
import httpx
import psutil
import pytest

from labkit.config import choose
from labkit.process import LOOPBACK, PYTHON
from labkit.services.kargo import ADMIN_PASSWORD, Engine, install, kargo_pages, recorded_engine, running_engine
from labkit.services.supervisor import Service, Supervisor
from labkit.urls import lab_urls

# Listens where the environment of its role says, and answers every request with that environment.
LISTENER = f"""#!{PYTHON}
import http.server, json, os, sys
role = sys.argv[1]
if role == "garbage-collector":
    sys.exit(0 if os.environ["KUBECONFIG"] else 1)
address = {{
    "api": lambda: (os.environ["BIND_ADDRESS"], os.environ["PORT"]),
    "kubernetes-webhooks-server": lambda: ("{LOOPBACK}", os.environ["WEBHOOK_SERVER_PORT"]),
}}.get(role, lambda: os.environ["METRICS_BIND_ADDRESS"].split(":"))()

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(dict(os.environ)).encode())

http.server.ThreadingHTTPServer((address[0], int(address[1])), Answer).serve_forever()
"""
GENUINE = {
    "kargo-webhooks",
    "kargo-management",
    "kargo-controller-dev",
    "kargo-controller-pre",
    "kargo-controller-prod",
    "kargo-api",
    "kargo-garbage-collector",
}


@pytest.fixture
def kargo(empty_lab, tmp_path):
    """A lab in which nothing runs yet, and an engine whose program listens."""
    program = tmp_path / "kargo"
    program.write_text(LISTENER)
    program.chmod(0o755)
    return choose(empty_lab), Engine("kargo", "a test says so", str(program))


def test_every_process_runs_and_is_healthy_where_its_environment_says(kargo, tmp_path):
    lab, engine = kargo
    install._run_engine(lab, engine, tmp_path)
    status = Supervisor(lab).status()
    assert {row.service for row in status} == GENUINE
    assert not [row for row in status if not row.healthy]
    assert running_engine(lab) == "kargo"
    assert recorded_engine(lab) == engine
    pids = {row.service: row.pid for row in status}
    install._run_engine(lab, engine, tmp_path)
    assert {row.service: row.pid for row in Supervisor(lab).status()} == pids, "what ran as described was restarted"


def test_each_shard_has_a_controller_of_its_own_and_one_is_the_default(kargo, tmp_path):
    lab, engine = kargo
    install._run_engine(lab, engine, tmp_path)
    told = {
        item.name: httpx.get(f"http://{LOOPBACK}:{lab.port('kargo-metrics', item)}", trust_env=False).json()
        for item in lab.environments
    }
    assert {name: env["SHARD_NAME"] for name, env in told.items()} == {name: name for name in ("dev", "pre", "prod")}
    assert {name for name, env in told.items() if env["IS_DEFAULT_CONTROLLER"] == "true"} == {"dev"}
    assert len({env["KUBECONFIG"] for env in told.values()}) == 1
    assert len({env["ARGOCD_KUBECONFIG"] for env in told.values()}) == 3
    assert len({env["TMPDIR"] for env in told.values()}) == 3


def test_the_api_server_knows_a_hash_of_a_password_that_only_the_owner_can_read(kargo, tmp_path):
    lab, engine = kargo
    install._run_engine(lab, engine, tmp_path)
    (row,) = (row for row in lab_urls(lab) if row.what == "Kargo")
    assert (row.url, row.account) == (kargo_pages(lab), "admin")
    told = httpx.get(row.url, trust_env=False).json()
    file = lab.home.secrets / ADMIN_PASSWORD
    assert row.password_file == str(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert bcrypt.checkpw(file.read_bytes(), told["ADMIN_ACCOUNT_PASSWORD_HASH"].encode())
    assert file.read_text() not in told.values()
    assert told["ADMIN_ACCOUNT_TOKEN_ISSUER"] == row.url
    assert len(told["ADMIN_ACCOUNT_TOKEN_SIGNING_KEY"]) >= 32
    assert told["ARGOCD_URLS"].count("=http://127.0.0.1:") == 3
    assert told["BIND_ADDRESS"] == LOOPBACK


def test_one_engine_takes_the_others_place(kargo, tmp_path, monkeypatch):
    """A lab that could not have the genuine one may get it later, and the other way round: never both at once."""
    lab, engine = kargo
    port = lab.port("kargo-webhooks")
    command = (PYTHON, "-m", "http.server", "--bind", LOOPBACK, str(port))
    stand_in = Service("kargolite", "stands in", command, f"tcp://{LOOPBACK}:{port}", ports={"webhooks": port})
    monkeypatch.setattr(install, "stand_in_services", lambda *_: [stand_in])
    install._run_engine(lab, Engine("kargolite", "no registry"), tmp_path)
    assert (running_engine(lab), kargo_pages(lab)) == ("kargolite", "")
    assert "Kargo" not in {row.what for row in lab_urls(lab)}
    old = Supervisor(lab).status().rows[0].pid
    install._run_engine(lab, engine, tmp_path)
    assert {row.service for row in Supervisor(lab).status()} == GENUINE
    assert not psutil.pid_exists(old)
    install._run_engine(lab, Engine("kargolite", "no registry"), tmp_path)
    assert [row.service for row in Supervisor(lab).status()] == ["kargolite"]
    assert recorded_engine(lab).why == "no registry"


def test_without_a_lab_there_is_no_engine(empty_lab):
    assert (running_engine(empty_lab), recorded_engine(empty_lab), kargo_pages(empty_lab)) == ("", None, "")
