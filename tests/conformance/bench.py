"""The lab in which the recorded situations are replayed, and what people and CI do in it."""

from __future__ import annotations

import copy
import gzip
import hashlib
import io
import json
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from conformance.gate import Gate

from labkit.clusters import kube
from labkit.config import APPLICATION, ARGOCD_NAMESPACE, BOT, GITOPS_REPO, ORGANISATION, PROJECT, Lab, choose
from labkit.delivery.git import repo_path
from labkit.delivery.gitea import ADMIN, CI, gitea_as, gitea_token
from labkit.delivery.oci import CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE, Blob, Image, Registry
from labkit.errors import LabError, WaitTimeout
from labkit.install import create_clusters, ensure_programs, install_argocd
from labkit.kube import conditions
from labkit.process import run
from labkit.services.argocd import APPLICATION_API
from labkit.services.kargo import ensure_kargo, running_engine
from labkit.services.rollouts import ensure_rollouts
from labkit.wait import wait_for

PIPELINE = Path(__file__).parent / "pipeline"
KARGO_API = "kargo.akuity.io/v1alpha1"
APIS = {
    **dict.fromkeys(("Project", "ProjectConfig", "Warehouse", "Freight", "Stage", "Promotion"), KARGO_API),
    "AnalysisRun": "argoproj.io/v1alpha1",
    "Event": "v1",
}
REFRESH = "kargo.akuity.io/refresh"
PROMOTION_ENDS = ("Succeeded", "Failed", "Errored", "Aborted")
RUN_ENDS = ("Successful", "Failed", "Error", "Inconclusive")
PATIENCE = 360.0

SOON = 5.0  # seconds in which a genuine Kargo mostly sees that an AnalysisRun has ended

Obj = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What admission said to a new object: the name it got, or the refusal."""

    accepted: str | None
    said: str


class Bench:
    """A lab with the recorded pipeline.

    Args:
        lab: A lab in which Gitea, the Argo CDs, analysis and an engine run.
        gate: What the web metric asks.
    """

    def __init__(self, lab: Lab, gate: Gate) -> None:
        self.lab = lab
        self.gate = gate
        self.engine = running_engine(lab)
        self._project = PROJECT
        self._kube = kube(lab, lab.control)
        self._gitea = gitea_as(lab, ADMIN)
        self._registry = Registry(lab.registry, CI, gitea_token(lab, CI))
        self.token = gitea_token(lab, BOT)
        # What stands in the recorded manifests, and what stands for it here.
        self._here = {
            "127.0.0.1:13000": lab.registry,
            "localhost:13000": lab.registry.replace("127.0.0.1", "localhost"),
            "127.0.0.1:18999": gate.address,
            "http://bot:": f"http://{BOT}:",
            "username: bot": f"username: {BOT}",
            "BOT_TOKEN": self.token,
        }
        # Ports are placeholders in a comparison; what else differs is read as it was recorded.
        self._nudges: set[str] = set()
        self.same = {f"http://{BOT}:": "http://bot:"}

    def in_project(self, project: str) -> Bench:
        """The same lab, in another Project."""
        other = copy.copy(self)
        other._project = project
        return other

    # The pipeline

    def manifests(self, name: str, **more: object) -> list[Obj]:
        """The objects in a file of `pipeline/`, with this lab's addresses, and other words put in."""
        text = (PIPELINE / f"{name}.yaml").read_text()
        for recorded, here in {**self._here, **{word: str(value) for word, value in more.items()}}.items():
            text = text.replace(recorded, here)
        return [document for document in yaml.safe_load_all(text) if document]

    def apply(self, *names: str, **more: object) -> None:
        """Apply files of `pipeline/`; see `manifests`."""
        self._kube.apply(*(manifest for name in names for manifest in self.manifests(name, **more)))

    def be_as_recorded(self) -> None:
        """The recordings' repo had no branch protection, and their Applications no options for a sync."""
        repo = repo_path(GITOPS_REPO)
        for rule in self._gitea.request("GET", f"/repos/{repo}/branch_protections"):
            name = rule["rule_name"].replace("/", "%2F")
            self._gitea.request("DELETE", f"/repos/{repo}/branch_protections/{name}")
        for environment in self.lab.environments:
            change = {"spec": {"syncPolicy": None}}
            kube(self.lab, environment).patch(APPLICATION_API, "Application", APPLICATION, change, ARGOCD_NAMESPACE)

    def wait_for_project(self) -> None:
        """Wait until Kargo has taken the Project into care."""
        wait_for(
            f"Project {self._project} to be Ready",
            lambda: conditions(self._kube.need(APIS["Project"], "Project", self._project)).get("Ready", "Unknown"),
            lambda ready: ready == "True",
            timeout=PATIENCE,
        )

    # What CI does

    def push(self, tier: str, version: str) -> None:
        """Push a small image of a tier."""
        image = _image(tier, version)
        self._registry.push(image, f"{ORGANISATION}/{tier}")

    def push_release(self, frontend: str, backend: str, database: str) -> None:
        """Push the three images of a release."""
        for tier, version in (("frontend", frontend), ("backend", backend), ("database", database)):
            self.push(tier, version)

    # What people do

    def kubectl(self, *words: str, stdin: str | None = None, namespace: str = "") -> str:
        """Run kubectl in gitops-dev, in the Project's namespace unless told otherwise.

        Raises:
            LabError: It failed; `seen` has its words.
        """
        return run([*self._kubectl(namespace or self._project), *words], stdin=stdin)

    def _kubectl(self, namespace: str) -> list[str | Path]:
        context = ("--kubeconfig", self.lab.home.kubeconfig, "--context", self.lab.control.context)
        return [self.lab.home.bin / "kubectl", *context, "--namespace", namespace]

    def create(self, manifest: Mapping[str, Any]) -> Answer:
        """Create an object with kubectl."""
        try:
            namespace = manifest["metadata"]["namespace"]
            made = self.kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(manifest), namespace=namespace)
        except LabError as error:
            return Answer(None, error.seen)
        return Answer(json.loads(made)["metadata"]["name"], "")

    def refusal(self, *words: str) -> str:
        """What kubectl says to a command that is refused."""
        try:
            done = self.kubectl(*words)
        except LabError as error:
            return error.seen
        raise AssertionError(f"kubectl {' '.join(words)} was not refused: {done}")

    def ask_promotion(self, stage: str, freight: str) -> Answer:
        """Ask for a Promotion."""
        return self.create(
            {
                "apiVersion": APIS["Promotion"],
                "kind": "Promotion",
                "metadata": {"generateName": f"{stage}-", "namespace": self._project},
                "spec": {"stage": stage, "freight": freight},
            }
        )

    def promote(self, stage: str, freight: str) -> str:
        """Ask for a Promotion that is not refused; gives its name."""
        answer = self.ask_promotion(stage, freight)
        assert answer.accepted, answer.said
        return answer.accepted

    def change_steps(self, stage: str, change: Any) -> None:
        """Replace a Stage's steps: what `change` makes of a copy of the recorded ones."""
        (manifest,) = (item for item in self.manifests("stages") if item["metadata"]["name"] == stage)
        template = manifest["spec"]["promotionTemplate"]
        change(template["spec"]["steps"])
        self.patch("Stage", stage, {"spec": {"promotionTemplate": template}})

    def patch(self, kind: str, name: str, change: Mapping[str, Any]) -> None:
        """Merge a change into an object."""
        self._kube.patch(APIS[kind], kind, name, change, self._project)

    def patch_status(self, kind: str, name: str, status: Mapping[str, Any]) -> None:
        """Merge a change into an object's status."""
        self.kubectl(
            *("patch", kind, name, "--subresource", "status", "--type", "merge"),
            *("--patch", json.dumps({"status": status})),
        )

    def annotate(self, kind: str, name: str, key: str, value: str) -> None:
        """Set an annotation."""
        self.patch(kind, name, {"metadata": {"annotations": {key: value}}})

    def refresh(self, kind: str, name: str) -> str:
        """Ask Kargo to look at an object, and wait until it says that it did; gives the request's token."""
        token = str(time.time_ns())
        self.annotate(kind, name, REFRESH, token)
        wait_for(
            f"{kind} {name} to be refreshed",
            lambda: (self.get(kind, name).get("status") or {}).get("lastHandledRefresh", ""),
            lambda handled: handled == token,
            timeout=PATIENCE,
        )
        return token

    # Pull requests

    def pull_requests(self, state: str = "open") -> list[Obj]:
        """Pull requests of the gitops repo, newest first."""
        return self._gitea.pull_requests(repo_path(GITOPS_REPO), state)

    def merge_newest(self) -> None:
        """Merge the newest open pull request, once Gitea has found that it can be merged."""
        wait_for("the pull request to be mergeable", lambda: self.pull_requests()[0]["mergeable"])
        self._gitea.merge(repo_path(GITOPS_REPO), self.pull_requests()[0]["number"])

    def close_newest(self) -> None:
        """Close the newest open pull request."""
        number = self.pull_requests()[0]["number"]
        self._gitea.request("PATCH", f"/repos/{repo_path(GITOPS_REPO)}/pulls/{number}", {"state": "closed"})

    # What there is

    def get(self, kind: str, name: str) -> Obj:
        """One object.

        Raises:
            LookupError: There is none.
        """
        found = self._kube.get(APIS[kind], kind, name, self._project)
        if found is None:
            raise LookupError(f"{kind} {name}")
        return found

    def list(self, kind: str, selector: str | None = None) -> list[Obj]:
        """The Project's objects of a kind, sorted by name."""
        found = self._kube.list(APIS[kind], kind, self._project, selector=selector)
        return sorted(found, key=lambda item: item["metadata"]["name"])

    def freight(self, backend: str) -> str:
        """The name of the Freight with a version of the backend."""
        for item in self.list("Freight"):
            if any(image["repoURL"].endswith("/backend") and image["tag"] == backend for image in item["images"]):
                return str(item["metadata"]["name"])
        raise LookupError(f"Freight with backend {backend}")

    def promotions(self, stage: str) -> list[Obj]:
        """The Promotions of a Stage, oldest first."""
        return self.list("Promotion", f"kargo.akuity.io/stage={stage}")

    def verification(self, stage: str) -> Obj:
        """The newest entry of the verification history of what a Stage has."""
        status = self.get("Stage", stage).get("status") or {}
        newest: Obj = status["freightHistory"][0]["verificationHistory"][0]
        return newest

    def analysis_run(self, stage: str) -> Obj:
        """The AnalysisRun that counts for what a Stage has."""
        return self.get("AnalysisRun", self.verification(stage)["analysisRun"]["name"])

    # Waiting

    def wait_for_freight(self, backend: str) -> str:
        """Wait for Freight; gives its name."""
        return wait_for(
            f"Freight with backend {backend}",
            lambda: self.freight(backend),
            tolerate=(LookupError,),
            timeout=PATIENCE,
        )

    def wait_for_phase(self, promotion: str, *phases: str) -> str:
        """Wait until a Promotion is in one of these phases (by default: over)."""
        wanted = phases or PROMOTION_ENDS
        return wait_for(
            f"Promotion {promotion} to be {' or '.join(wanted)}",
            lambda: str((self.get("Promotion", promotion).get("status") or {}).get("phase", "")),
            lambda phase: phase in wanted,
            failed=lambda phase: phase in PROMOTION_ENDS,
            timeout=PATIENCE,
        )

    def wait_for_promotions(self, stage: str, number: int) -> None:
        """Wait until a Stage has had so many Promotions, all of which succeeded."""
        wait_for(
            f"{number} Promotions of Stage {stage}",
            lambda: [(item.get("status") or {}).get("phase", "") for item in self.promotions(stage)],
            lambda phases: phases == ["Succeeded"] * number,
            timeout=PATIENCE,
        )

    def wait_for_step(self, promotion: str, alias: str, status: str) -> None:
        """Wait until a step of a Promotion has a status."""
        wait_for(
            f"step {alias} of Promotion {promotion} to be {status}",
            lambda: {
                step["alias"]: step.get("status", "")
                for step in (self.get("Promotion", promotion).get("status") or {}).get("stepExecutionMetadata") or []
            },
            lambda steps: steps.get(alias) == status,
            timeout=PATIENCE,
        )

    def wait_for_run(self, stage: str, freight: str) -> None:
        """Wait until the newest AnalysisRun of Freight in a Stage has ended."""
        wait_for(
            f"the verification of {freight[:7]} in {stage}",
            lambda: self._newest_run(stage, freight),
            lambda phase: phase in RUN_ENDS,
            tolerate=(LookupError,),
            timeout=PATIENCE,
        )

    def wait_for_other_run(self, stage: str, name: str) -> None:
        """Wait until an AnalysisRun of a Stage that is newer than this one has ended."""

        def phase() -> str:
            newest = self.list("AnalysisRun", f"kargo.akuity.io/stage={stage}")[-1]
            return "" if newest["metadata"]["name"] == name else str((newest.get("status") or {}).get("phase", ""))

        wait_for(f"a new AnalysisRun of Stage {stage}", phase, lambda found: found in RUN_ENDS, timeout=PATIENCE)

    def _newest_run(self, stage: str, freight: str) -> str:
        runs = self.list("AnalysisRun", f"kargo.akuity.io/stage={stage}")
        own = [run for run in runs if run["metadata"]["ownerReferences"][0]["name"] == freight]
        return str((own[-1].get("status") or {}).get("phase", ""))

    def wait_for_verification(self, stage: str, phase: str) -> None:
        """Wait until a Stage says that the newest verification of what it has is in a phase."""
        what = f"the verification in Stage {stage} to be {phase}"

        def state() -> str:
            return str(self.verification(stage)["phase"])

        if not self._soon(state, phase):
            self._nudges.add(self.refresh("Stage", stage))
        wait_for(what, state, lambda found: found == phase, tolerate=(LookupError,), timeout=PATIENCE)

    def wait_until_verified(self, stage: str, freight: str) -> None:
        """Wait until a Stage says that it has Freight, and has verified it.

        A genuine Kargo may notice only minutes later that an AnalysisRun has ended: it is asked to look, then.
        """

        def state() -> tuple[str, str]:
            status = self.get("Stage", stage).get("status") or {}
            ready = next((item for item in status.get("conditions") or [] if item["type"] == "Ready"), {})
            return status.get("freightSummary", ""), ready.get("reason", "")

        wanted = (freight, "Verified")
        if not self._soon(state, wanted):
            self.wait_for_run(stage, freight)
            if not self._soon(state, wanted):
                self._nudges.add(self.refresh("Stage", stage))
        wait_for(
            f"Stage {stage} to have verified {freight[:7]}", state, lambda found: found == wanted, timeout=PATIENCE
        )

    def _soon(self, probe: Callable[[], object], wanted: object) -> bool:
        try:
            wait_for(
                "what Kargo sees by itself", probe, lambda found: found == wanted, timeout=SOON, tolerate=(LookupError,)
            )
        except WaitTimeout:
            return False
        return True

    def without_nudges(self, obj: Obj) -> Obj:
        """An object without the trace of having been asked to look, where the recorded one was not asked."""
        annotations = obj["metadata"].get("annotations") or {}
        token = annotations.get(REFRESH, "")
        if token not in self._nudges or obj["status"].get("lastHandledRefresh") != token:
            return obj
        kept = {key: value for key, value in annotations.items() if key != REFRESH}
        status = {key: value for key, value in obj["status"].items() if key != "lastHandledRefresh"}
        return {**obj, "metadata": {**obj["metadata"], "annotations": kept}, "status": status}

    def wait_for_soak(self, freight: str, stage: str, seconds: float) -> None:
        """Wait until Freight has been in a Stage, verified, for some seconds."""
        status = self.get("Freight", freight)["status"]
        since = datetime.fromisoformat(status["currentlyIn"][stage]["since"])
        wait_for(
            f"{freight[:7]} to have been in {stage} for {seconds:.0f} s",
            lambda: (datetime.now(UTC) - since).total_seconds(),
            lambda soaked: soaked > seconds,
            timeout=seconds + 5,
        )

    @contextmanager
    def watching(self, resource: str, folder: Path) -> Iterator[Seen]:
        """All versions of all objects of a resource, from now on."""
        file = folder / f"{resource}-{time.time_ns()}.json"
        with file.open("w") as out:
            process = subprocess.Popen(
                [*self._kubectl(self._project), "get", resource, "--watch", "--output", "json"], stdout=out
            )
        try:
            seen = Seen(file)
            wait_for(f"the watch on {resource}", lambda: bool(seen.versions()))
            yield seen
        finally:
            process.terminate()
            process.wait(timeout=15)


class Seen:
    """What a watch has seen so far."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def versions(self, name: str = "") -> list[Obj]:
        """The versions of an object (of all, without a name), in the order in which they came."""
        text, decoder, position, found = self._file.read_text(), json.JSONDecoder(), 0, []
        while (position := _skip_space(text, position)) < len(text):
            try:
                item, position = decoder.raw_decode(text, position)
            except json.JSONDecodeError:  # the last one is still being written
                break
            found.append(item)
        return [item for item in found if not name or item["metadata"]["name"] == name]


def _skip_space(text: str, position: int) -> int:
    while position < len(text) and text[position].isspace():
        position += 1
    return position


def ensure_bench(lab: Lab, gate: Gate) -> Bench:
    """Clusters, Gitea, Argo CDs, analysis and the engine: a lab without a pipeline of its own."""
    lab = choose(lab)
    create_clusters(lab)
    install_argocd(lab)
    tools = ensure_programs(lab)
    ensure_rollouts(lab, tools)
    ensure_kargo(lab, tools)
    bench = Bench(lab, gate)
    bench.be_as_recorded()
    return bench


def _image(tier: str, version: str) -> Image:
    """A small image: one layer with one file, and no annotations, like the recorded ones."""
    content = f"{tier} {version}\n".encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("VERSION")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    tar = buffer.getvalue()
    layer = Blob(LAYER_TYPE, gzip.compress(tar, mtime=0))
    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    digest = "sha256:" + hashlib.sha256(tar).hexdigest()
    config = Blob(
        CONFIG_TYPE,
        json.dumps(
            {
                "created": created,
                "architecture": "amd64",
                "os": "linux",
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": [digest]},
            }
        ).encode(),
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": config.descriptor,
        "layers": [layer.descriptor],
    }
    return Image(tier, version, "", digest, layer, config, Blob(MANIFEST_TYPE, json.dumps(manifest).encode()))
