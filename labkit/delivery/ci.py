"""The CI receiver: takes Gitea's push webhook, tests and builds commits, and says in Gitea how it went.

It keeps no state of its own: a commit is done when Gitea has its final statuses. So a push that came while the
receiver was down, or twice, makes no difference. Run as `python -m labkit.delivery.ci --config FILE`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import queue
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import click
import httpx
import psutil
import yaml

from labkit.delivery.build import BuildResult, Commit, build_images, run_unit_tests
from labkit.delivery.git import git_environment
from labkit.delivery.gitea import Gitea
from labkit.delivery.oci import Registry, RegistryError
from labkit.delivery.tags import RELEASE_BRANCH
from labkit.delivery.wheels import WheelsError
from labkit.errors import LabError, UsageError
from labkit.kube import UNREACHABLE, Kube
from labkit.process import LOOPBACK, run
from labkit.wait import wait_for

UNIT_TESTS = "ci/unit-tests"
BUILD = "ci/build"
SIGNATURE_HEADER = "X-Gitea-Signature"
WEBHOOK_PATH = "/webhook"
MAX_PAYLOAD = 5 * 1024 * 1024  # bytes
MAX_DESCRIPTION = 200  # characters of a status
DISCOVERY_TIMEOUT = 20.0  # seconds
REFRESH = "kargo.akuity.io/refresh"
_FINAL = {"success", "failure"}
log = logging.getLogger("labkit.ci")


@dataclass(frozen=True)
class WarehouseRef:
    """A Kargo Warehouse that is asked to look for new images of the branches whose name matches a pattern."""

    branches: str
    kubeconfig: Path
    context: str
    namespace: str
    warehouse: str


@dataclass(frozen=True)
class CiConfig:
    """The receiver's configuration file."""

    port: int
    gitea: str
    organisation: str
    repo: str
    user: str
    token: str
    webhook_secret: str
    registry: str
    images: tuple[str, ...]
    work_dir: Path
    test_seconds: float
    after_build: tuple[WarehouseRef, ...]

    @classmethod
    def load(cls, file: Path) -> CiConfig:
        """Read a configuration file.

        Raises:
            UsageError: A key is missing or unknown.
        """
        try:
            values = dict(yaml.safe_load(file.read_text()))
            config = cls(
                port=int(values.pop("port")),
                gitea=values.pop("gitea").rstrip("/"),
                organisation=values.pop("organisation"),
                repo=values.pop("repo"),
                user=values.pop("user"),
                token=values.pop("token"),
                webhook_secret=values.pop("webhookSecret"),
                registry=values.pop("registry"),
                images=tuple(values.pop("images")),
                work_dir=Path(values.pop("workDir")),
                test_seconds=float(values.pop("testSeconds", 120)),
                after_build=tuple(
                    WarehouseRef(
                        item["branches"],
                        Path(item["kubeconfig"]),
                        item["context"],
                        item["namespace"],
                        item["warehouse"],
                    )
                    for item in values.pop("afterBuild", [])
                ),
            )
        except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"{file} is no configuration of the CI receiver", seen=repr(error)) from error
        if values:
            raise UsageError(f"{file} has unknown keys: {', '.join(map(str, values))}")
        if not config.webhook_secret:
            raise UsageError(f"{file} has an empty webhookSecret: anybody could start builds")
        return config


def signature(secret: str, body: bytes) -> str:
    """The hex HMAC-SHA256 of a webhook's body, as Gitea sends it in `X-Gitea-Signature`.

    Source: https://docs.gitea.com/usage/webhooks.
    """
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def signed(secret: str, body: bytes, given: str) -> bool:
    """Whether a webhook's signature is right; takes the same time for every wrong one."""
    return hmac.compare_digest(signature(secret, body).encode(), given.encode("utf-8", "surrogateescape"))


def pushed_branch(payload: Any, repo: str) -> str:
    """The branch that a push webhook is about; empty where it is about a tag, a deletion or another repo.

    Args:
        payload: The webhook's JSON.
        repo: `organisation/name` of the repo that is built.
    """
    if not isinstance(payload, Mapping):
        return ""
    ref, after, origin = payload.get("ref"), payload.get("after"), payload.get("repository")
    if not isinstance(ref, str) or not isinstance(after, str) or not isinstance(origin, Mapping):
        return ""
    if origin.get("full_name") != repo or not ref.startswith("refs/heads/") or not after.strip("0"):
        return ""
    return ref.removeprefix("refs/heads/")


class Ci:
    """Tests and builds the commits of one repo, one after another.

    Args:
        config: Where everything is.
    """

    def __init__(self, config: CiConfig) -> None:
        self.config = config
        self.repo = f"{config.organisation}/{config.repo}"
        self._gitea = Gitea(config.gitea, config.user, config.token)
        self._registry = Registry(config.registry, config.user, config.token)
        self._mirror = config.work_dir / "mirror.git"
        self._runs = config.work_dir / "runs"
        self._pushes: queue.Queue[str] = queue.Queue()

    @property
    def url(self) -> str:
        """The receiver's own address."""
        return f"http://{LOOPBACK}:{self.config.port}"

    def log_file(self, commit: str) -> Path:
        """The log of a commit's run."""
        return self._runs / f"{commit}.log"

    def enqueue(self, branch: str) -> None:
        """Have a branch looked at."""
        self._pushes.put(branch)

    def run_forever(self) -> None:
        """First everything that was missed, then every push as it comes.

        Raises:
            LabError: Gitea does not answer at the start.
        """
        self._runs.mkdir(parents=True, exist_ok=True)
        wait_for(
            f"Gitea at {self.config.gitea}",
            lambda: self._gitea.find(f"/repos/{self.repo}") is not None,
            tolerate=(LabError, httpx.HTTPError),
        )
        self._fetch()
        for branch in sorted(self._branches(), key=lambda name: (name != RELEASE_BRANCH, name)):
            self.enqueue(branch)
        while True:
            branch = self._pushes.get()
            try:
                self.build_branch(branch)
            except LabError as error:
                log.error("branch %s could not be built: %s", branch, error)

    def build_branch(self, branch: str) -> None:
        """Test and build what a branch has that was not built yet, oldest first.

        On `main` these are all commits since the last that has its statuses; on other branches it is the head.
        """
        self._fetch()
        if branch not in self._branches():
            return
        for commit in self._unbuilt(branch):
            self._build(commit, branch)

    def _unbuilt(self, branch: str) -> list[str]:
        newest_first = self._git("rev-list", "--first-parent", f"refs/heads/{branch}").split()
        if branch != RELEASE_BRANCH:
            newest_first = newest_first[:1]
        waiting: list[str] = []
        for commit in newest_first:
            states = self._gitea.commit_statuses(self.repo, commit)
            if {states.get(UNIT_TESTS), states.get(BUILD)} <= _FINAL:
                break
            waiting.insert(0, commit)
        return waiting

    def _build(self, revision: str, branch: str) -> None:
        started = time.monotonic()
        self._say(revision, UNIT_TESTS, "pending", "running")
        self._say(revision, BUILD, "pending", "waits for the unit tests")
        with (
            self.log_file(revision).open("w") as lines,
            tempfile.TemporaryDirectory(dir=self.config.work_dir) as folder,
        ):
            _write(lines, f"commit {revision} on branch {branch}")
            try:
                self._test_and_build(self._checkout(revision, branch, Path(folder) / "source"), lines)
            except LabError as error:
                # Not the commit's fault: the statuses stay open for another try.
                _write(lines, f"CI itself failed:\n{error}")
                for context in (UNIT_TESTS, BUILD):
                    if self._gitea.commit_statuses(self.repo, revision).get(context) == "pending":
                        self._say(revision, context, "error", f"CI itself failed: {error.what}")
                log.error("commit %s: %s", revision[:7], error)
            _write(lines, f"done after {time.monotonic() - started:.1f} s")

    def _test_and_build(self, commit: Commit, lines: IO[str]) -> None:
        tests = run_unit_tests(commit.source, self.config.images, lines, timeout=self.config.test_seconds)
        self._say(commit.revision, UNIT_TESTS, "success" if tests.passed else "failure", tests.summary)
        if not tests.passed:
            _write(lines, "no image is built: the unit tests failed")
            self._say(commit.revision, BUILD, "failure", "not built: the unit tests failed")
            return
        self._say(commit.revision, BUILD, "pending", "building")
        try:
            built = build_images(commit, self.config.images, self._registry, self.config.organisation)
        except (RegistryError, WheelsError):
            raise
        except LabError as error:
            _write(lines, str(error))
            self._say(commit.revision, BUILD, "failure", f"{error.what}. {error.todo}".rstrip(". "))
            return
        _write(lines, built.summary)
        if commit.branch == RELEASE_BRANCH:
            self._tag(commit, built)
        # First the status: Freight is checked against it as soon as there is some.
        self._say(commit.revision, BUILD, "success", built.summary)
        self._request_discovery(commit, built, lines)

    def _tag(self, commit: Commit, built: BuildResult) -> None:
        """Mark in Git from which commit each released version was built: a hotfix begins there."""
        for image, version in built.pushed.items():
            tag = f"{image}/{version}"
            if self._gitea.find(f"/repos/{self.repo}/tags/{quote(tag, safe='')}") is None:
                body = {"tag_name": tag, "target": commit.revision, "message": f"{image} {version}"}
                self._gitea.request("POST", f"/repos/{self.repo}/tags", body)

    def _request_discovery(self, commit: Commit, built: BuildResult, lines: IO[str]) -> None:
        """Tell the Warehouses once, after all images of a commit are out, so that they become one Freight.

        Source: https://docs.kargo.io/user-guide/how-to-guides/working-with-warehouses (refreshing a Warehouse).
        """
        asked = [ref for ref in self.config.after_build if fnmatch(commit.branch, ref.branches)]
        if not asked or not self._is_out(commit, built):
            return
        for ref in asked:
            try:
                wait_for(
                    f"Warehouse {ref.warehouse} in {ref.context} to take the request",
                    lambda ref=ref: _refresh(ref),  # type: ignore[misc]
                    tolerate=(LabError, *UNREACHABLE),
                    timeout=DISCOVERY_TIMEOUT,
                )
            except LabError as error:
                _write(lines, str(error))
                words = f"images pushed, but Warehouse {ref.warehouse} in {ref.context} was not told: {error.seen}"
                self._say(commit.revision, BUILD, "error", words)
            else:
                _write(lines, f"asked Warehouse {ref.namespace}/{ref.warehouse} in {ref.context} for discovery")

    def _is_out(self, commit: Commit, built: BuildResult) -> bool:
        """Whether images of this very commit are out: pushed now, or by a run that did not come to its end."""
        if built.pushed:
            return True
        found = (
            self._registry.find(f"{self.config.organisation}/{tier}", tag) for tier, tag in built.unchanged.items()
        )
        return any(
            image is not None and image.labels.get("org.opencontainers.image.revision") == commit.revision
            for image in found
        )

    def _checkout(self, revision: str, branch: str, folder: Path) -> Commit:
        self._git("clone", "--quiet", "--shared", "--no-checkout", str(self._mirror), str(folder))
        run(["git", "checkout", "--quiet", "--detach", revision], cwd=folder, env=self._environment)
        created = run(
            ["git", "show", "--no-patch", "--format=%cI", revision], cwd=folder, env=self._environment
        ).strip()
        return Commit(revision, branch, created, folder, f"{self.config.gitea}/{self.repo}")

    def _fetch(self) -> None:
        if not (self._mirror / "HEAD").exists():
            shutil.rmtree(self._mirror, ignore_errors=True)
            self._mirror.mkdir(parents=True)
            self._git("init", "--quiet", "--bare")
        origin = f"{self.config.gitea}/{self.repo}.git"
        self._git("fetch", "--quiet", "--prune", origin, "+refs/heads/*:refs/heads/*")

    def _branches(self) -> list[str]:
        return self._git("for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads").split()

    def _git(self, *arguments: str) -> str:
        return run(["git", *arguments], cwd=self._mirror, env=self._environment)

    @property
    def _environment(self) -> dict[str, str]:
        return git_environment(self.config.gitea, self.config.user, self.config.token)

    def _say(self, commit: str, context: str, state: str, words: str) -> None:
        log.info("commit %s: %s %s: %s", commit[:7], context, state, words)
        self._gitea.request(
            "POST",
            f"/repos/{self.repo}/statuses/{commit}",
            {
                "context": context,
                "state": state,
                "description": words if len(words) <= MAX_DESCRIPTION else words[: MAX_DESCRIPTION - 1] + "…",
                "target_url": f"{self.url}/runs/{commit}",
            },
        )


def _refresh(ref: WarehouseRef) -> bool:
    now = datetime.now(UTC).isoformat()
    change = {"metadata": {"annotations": {REFRESH: now}}}
    warehouse = Kube(ref.kubeconfig, ref.context).patch(
        "kargo.akuity.io/v1alpha1", "Warehouse", ref.warehouse, change, ref.namespace
    )
    return bool(warehouse["metadata"]["annotations"][REFRESH] == now)


def _write(lines: IO[str], text: str) -> None:
    lines.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    lines.flush()


class _Handler(BaseHTTPRequestHandler):
    """`POST /webhook`, `GET /healthz`, `GET /runs/<commit>`."""

    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        """Health, or a run's log."""
        if self.path == "/healthz":
            working = self.server.worker.is_alive()
            self._answer(200 if working else 503, "ok" if working else "the worker has ended")
            return
        match = re.fullmatch(r"/runs/([0-9a-f]{40})", self.path)
        file = self.server.ci.log_file(match[1]) if match else None
        if file is None or not file.is_file():
            self._answer(404, "there is no such run")
        else:
            self._answer(200, file.read_text(errors="replace"))

    def do_POST(self) -> None:
        """A webhook of Gitea."""
        size = self.headers.get("Content-Length", "")
        if self.path != WEBHOOK_PATH:
            return self._refuse(404, "webhooks go to " + WEBHOOK_PATH)
        if not (size.isascii() and size.isdecimal()):
            return self._refuse(411, "the length is needed")
        if int(size) > MAX_PAYLOAD:
            return self._refuse(413, "the payload is too large")
        body = self.rfile.read(int(size))
        ci = self.server.ci
        if not signed(ci.config.webhook_secret, body, self.headers.get(SIGNATURE_HEADER, "")):
            return self._refuse(403, "the signature is wrong")
        try:
            payload = json.loads(body)
        except ValueError:
            return self._refuse(400, "this is no JSON")
        event = self.headers.get("X-Gitea-Event", "")
        branch = pushed_branch(payload, ci.repo) if event == "push" else ""
        if branch:
            ci.enqueue(branch)
        self._answer(202, f"branch {branch} will be built" if branch else "nothing to build")
        return None

    def _refuse(self, status: int, words: str) -> None:
        self.close_connection = True
        self._answer(status, words)

    def _answer(self, status: int, text: str) -> None:
        body = (text + "\n").encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Log requests like everything else."""
        log.debug(format, *args)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, ci: Ci) -> None:
        self.ci = ci
        self.worker = threading.Thread(target=self._work, daemon=True, name="builds")
        self.failure: Exception | None = None
        super().__init__((LOOPBACK, ci.config.port), _Handler)

    def _work(self) -> None:
        try:
            self.ci.run_forever()
        except Exception as error:
            self.failure = error
        self.shutdown()


def serve(config: CiConfig) -> None:
    """Receive webhooks and build until the process is told to end.

    Raises:
        LabError: The worker cannot go on; a supervisor starts the receiver again.
    """
    server = _Server(Ci(config))
    server.worker.start()
    log.info("listening on %s, building %s", server.ci.url, server.ci.repo)
    try:
        server.serve_forever()
    finally:
        server.server_close()
        for child in psutil.Process().children(recursive=True):
            child.kill()
    if server.failure:
        raise server.failure


@click.command()
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), required=True, help="YAML file.")
def main(config: Path) -> None:
    """Run the CI receiver."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        serve(CiConfig.load(config))
    except LabError as error:
        log.error("%s", error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
