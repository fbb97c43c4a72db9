"""Local Git repositories and a promotion's context, for tests of steps."""

import asyncio
import subprocess
from pathlib import Path
from types import SimpleNamespace

from labkit.kargolite.functions import freight_functions
from labkit.kargolite.runner import Names, run_steps
from labkit.kargolite.steps.base import StepContext

IMAGE = "127.0.0.1:3000/lab/frontend"
FREIGHT = {
    "name": "f" * 40,
    "origin": {"kind": "Warehouse", "name": "demo-app"},
    "images": [{"repoURL": IMAGE, "tag": "1.0.0", "digest": "sha256:abc"}],
}
KUSTOMIZATION = "resources: [deployment.yaml]\nimages:\n- {name: other, newTag: '2'}\n"
DEPLOYMENT = f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: frontend, namespace: demo-app, labels: {{build: "1e3"}}}}
spec:
  selector: {{matchLabels: {{app: frontend}}}}
  template:
    metadata: {{labels: {{app: frontend}}}}
    spec: {{containers: [{{name: frontend, image: "{IMAGE}"}}]}}
"""


def git(folder, *arguments):
    """Run git, and return what it says."""
    user = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "init.defaultBranch=main")
    done = subprocess.run(["git", *user, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def gitops_repository(folder: Path) -> Path:
    """A bare repository with `main` (an overlay) and an empty branch `stage/dev`."""
    bare, copy = folder / "gitops.git", folder / "copy"
    git(folder, "init", "--bare", str(bare))
    git(folder, "clone", str(bare), str(copy))
    overlay = copy / "overlays" / "dev"
    overlay.mkdir(parents=True)
    (overlay / "kustomization.yaml").write_text(KUSTOMIZATION)
    (overlay / "deployment.yaml").write_text(DEPLOYMENT)
    git(copy, "add", ".")
    git(copy, "commit", "-m", "overlay")
    git(copy, "push", "origin", "HEAD:main")
    git(copy, "checkout", "--orphan", "stage/dev")
    git(copy, "rm", "-rf", ".")
    git(copy, "commit", "--allow-empty", "-m", "empty")
    git(copy, "push", "origin", "stage/dev")
    return bare


def push_elsewhere(bare: Path, branch: str, file: str, text: str) -> None:
    """Somebody else pushes a commit to a branch."""
    copy = bare.parent / f"other-{file}"
    git(bare.parent, "clone", "--branch", branch, str(bare), str(copy))
    (copy / file).write_text(text)
    git(copy, "add", ".")
    git(copy, "commit", "-m", f"other {file}")
    git(copy, "push", "origin", branch)


def run(work: Path, *steps, start=0, metadata=None, state=None, variables=()):
    """Run steps as a Promotion `dev.01x.fffffff` would."""
    context = StepContext(
        work=work,
        project="demo-app",
        stage="dev",
        promotion="dev.01x.fffffff",
        actor="developer",
        alias="",
        state={},
        freight=(FREIGHT,),
        secrets=list,
        applications=SimpleNamespace(get=lambda *_: None),
        argocd_namespace="argocd",
    )
    warehouse = {"spec": {"subscriptions": [{"image": {"repoURL": IMAGE}}]}}
    names = Names(
        ctx={"stage": "dev", "promotion": "dev.01x.fffffff", "meta": {"promotion": {"actor": "developer"}}},
        functions=freight_functions([{"origin": FREIGHT["origin"]}], [FREIGHT], lambda _: warehouse, lambda _: None),
        variables=variables,
    )
    work.mkdir(exist_ok=True)
    return asyncio.run(
        run_steps(
            steps,
            context,
            names,
            start=start,
            metadata=[] if metadata is None else metadata,
            state={} if state is None else state,
        )
    )


def step(uses, alias, config=None, **more):
    """A promotion step."""
    return {"uses": uses, "as": alias, "config": config or {}, **more}


def clone(bare, branch="stage/dev"):
    """The git-clone step of the lab's Stages."""
    checkout = [{"branch": "main", "path": "./src"}, {"branch": branch, "path": "./out"}]
    return step("git-clone", "clone", {"repoURL": str(bare), "checkout": checkout})
