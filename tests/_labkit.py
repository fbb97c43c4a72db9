"""The command line as a user calls it, and how a lab is seen from outside labkit."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.config import Environment, Lab, load_lab
from labkit.kubectl import kubectl
from labkit.process import PYTHON
from labkit.wait import wait_for

LABKIT = (PYTHON, "-m", "labkit")
# The pods of the app itself, and not those of its tests.
TIERS = "app.kubernetes.io/component!=acceptance"


def variables(lab: Lab, **more: str) -> dict[str, str]:
    """The environment of a shell in which this lab is meant."""
    return {**os.environ, "LABKIT_HOME": str(lab.home.root), "LABKIT_PORT_BASE": str(lab.settings.port_base), **more}


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"exit {self.code}\n{self.out}\n{self.err}"

    @property
    def json(self) -> Any:
        assert self.code == 0, self
        return json.loads(self.out)


def labkit(lab: Lab, *words: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Done:
    """Run `labkit` to its end."""
    done = subprocess.run(
        [*LABKIT, *words], env={**variables(lab), **(env or {})}, cwd=cwd, capture_output=True, text=True, timeout=300
    )
    return Done(done.returncode, done.stdout, done.stderr)


def deployed(lab: Lab, *choices: str) -> Lab:
    """Bring a lab up, and the seed's versions onto it.

    Args:
        lab: A lab that may not exist yet.
        choices: Options of `labkit up`.

    Returns:
        The lab as it was created.
    """
    for words in (("up", *choices), ("deploy",)):
        done = labkit(lab, *words)
        assert done.code == 0, done
    return load_lab(lab.home)


def assert_refused(done: Done, code: int, *words: str) -> None:
    """A command ended with this code and one clear message that holds these words: no traceback, no result."""
    assert done.code == code, done
    missing = [word for word in words if word not in done.err]
    assert not missing, f"the message does not say {missing}:\n{done.err}"
    assert "Traceback" not in done.out + done.err, done
    assert not done.out.strip(), f"a refused command printed a result: {done.out}"


def get(lab: Lab, environment: Environment, what: str) -> Any:
    """`kubectl get` as JSON."""
    return json.loads(kubectl(lab, f"kubectl --context {environment.context} get {what} -o json").output)


def wait_settled(lab: Lab, environment: Environment) -> None:
    """Wait until no pod of a version before is left: a pod that ends still serves, and has a log, for a while."""
    wait_for(
        f"the pods of {environment.context} that end to be gone",
        lambda: [
            item["metadata"]["name"]
            for item in get(lab, environment, f"pods -n demo-app -l {TIERS}")["items"]
            if item["metadata"].get("deletionTimestamp")
        ],
        lambda ending: not ending,
        describe=", ".join,
        timeout=60,
    )


def rollout_state(lab: Lab, name: str) -> dict[str, Any]:
    """What must not change in an environment that is not promoted to: revision, branch, pods by uid, image tags."""
    environment = lab.environment(name)
    app = get(lab, environment, "application demo-app -n argocd")
    found = get(lab, environment, f"pods -n demo-app -l {TIERS}")["items"]
    # Those that end are of a version before.
    pods = [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]
    return {
        "revision": app["status"]["sync"]["revision"],
        "history": [entry["revision"] for entry in app["status"].get("history", [])],
        "pods": {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in pods},
        "images": sorted({container["image"] for pod in pods for container in pod["spec"]["containers"]}),
    }
