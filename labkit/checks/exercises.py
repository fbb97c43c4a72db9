"""Exercises at the end of the stories: what a reader has changed, as the API servers have it."""

from __future__ import annotations

import json
import re
from typing import Any

from labkit.checks.check import Mistake, expect, register
from labkit.config import PRODUCTION, PROJECT, Lab
from labkit.kubectl import kubectl
from labkit.status import running_versions
from labkit.tables import as_text


def _objects(lab: Lab, what: str) -> list[dict[str, Any]]:
    shown = kubectl(lab, f"kubectl --context {lab.control.context} -n {PROJECT} get {what} -o json").output
    return list(json.loads(shown)["items"])


@register(
    "exercise-stricter-gate",
    "give Stage pre an argument of its own for performance-test: p95-factor below 2",
    solution="""kubectl --context gitops-dev -n demo-app patch stage pre --type json -p '[{"op": "add",
  "path": "/spec/verification/args/-", "value": {"name": "p95-factor", "value": "1.5"}}]'""",
)
def _stricter_gate(lab: Lab) -> str:
    """By what the next AnalysisRun of pre will be given."""
    (pre,) = (item for item in _objects(lab, "stages") if item["metadata"]["name"] == "pre")
    given = {item["name"]: item.get("value", "") for item in pre["spec"]["verification"].get("args") or []}
    if "p95-factor" not in given:
        raise AssertionError("Stage pre leaves p95-factor to the template, which says 2")
    if not 0 < float(given["p95-factor"]) < 2:
        raise Mistake(f"p95-factor is {given['p95-factor']}, which is not stricter than 2")
    return f"PRE's p95 may be {given['p95-factor']} times PROD's"


@register(
    "exercise-fourth-stage",
    "create a Stage qa in demo-app whose requestedFreight comes from Stage dev",
    solution="""kubectl --context gitops-dev apply -f - <<'END'
apiVersion: kargo.akuity.io/v1alpha1
kind: Stage
metadata: {name: qa, namespace: demo-app}
spec:
  shard: dev
  requestedFreight:
    - origin: {kind: Warehouse, name: demo-app}
      sources: {stages: [dev]}
END""",
)
def _fourth_stage(lab: Lab) -> str:
    """By the Stages that there are, and by what Kargo says of the new one."""
    known = {item.stage for item in lab.destinations}
    new = [item for item in _objects(lab, "stages") if item["metadata"]["name"] not in known]
    if not new:
        raise AssertionError("there is no Stage but the lab's own")
    sources = [
        source for request in new[0]["spec"]["requestedFreight"] for source in request["sources"].get("stages", [])
    ]
    expect(sources, ["dev"], f"Stages that {new[0]['metadata']['name']} takes Freight from", else_wrong=True)
    if not (new[0].get("status") or {}).get("conditions"):
        raise AssertionError(f"Kargo has not looked at Stage {new[0]['metadata']['name']}: does it name its shard?")
    return f"Stage {new[0]['metadata']['name']} takes what was verified in dev"


@register(
    "exercise-hotfix-replaced",
    "promote the newest release, which has the fix, to PROD by the long way",
    solution="""labkit promote --from dev --to pre
labkit validate pre --as qa
labkit promote --from pre --to prod
labkit approve --as release-manager""",
)
def _hotfix_replaced(lab: Lab) -> str:
    """By the images in PROD's cluster."""
    running = running_versions(lab, lab.environment(PRODUCTION))
    builds = {tier: version for tier, version in running.items() if "-hotfix-" in version}
    expect(builds, {}, "hotfix builds in PROD")
    return f"PROD runs releases only: {as_text(running)}"


@register(
    "exercise-two-regions",
    "create a Stage prod-2 in demo-app beside prod: the same source, and a branch of its own, stage/prod-2",
    solution="""kubectl --context gitops-dev -n demo-app get stage prod -o yaml \\
  | sed 's/^  name: prod$/  name: prod-2/; s#stage/prod#stage/prod-2#; /authorized-stage/d' \\
  | kubectl --context gitops-dev create -f -""",
)
def _two_regions(lab: Lab) -> str:
    """By the Stages that there are."""
    stages = {item["metadata"]["name"]: item for item in _objects(lab, "stages")}
    if "prod-2" not in stages:
        raise AssertionError("there is no Stage prod-2")
    first, second = (stages[name]["spec"]["requestedFreight"] for name in (PRODUCTION, "prod-2"))
    taken, wanted = second[0]["sources"].get("stages"), first[0]["sources"]["stages"]
    expect(taken, wanted, "Stages that prod-2 takes Freight from", else_wrong=True)
    branches = set(re.findall(r"\bstage/[\w-]+", json.dumps(stages["prod-2"]["spec"].get("promotionTemplate"))))
    expect(branches, {"stage/prod-2"}, "branches that the steps of prod-2 name", else_wrong=True)
    return "prod-2 takes the Freight that prod takes, and writes to a branch of its own"
