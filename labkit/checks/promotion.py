"""Checks of gates, approvals and records of Promotions."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime

import semver

from labkit.checks.check import Mistake, expect, register
from labkit.config import GITOPS_REPO, PROJECT, Lab
from labkit.delivery.git import repo_path
from labkit.delivery.gitea import gitea_as
from labkit.kubectl import kubectl
from labkit.promotion import freight_table, promotion_table
from labkit.rules import GATES
from labkit.status import running_versions
from labkit.tables import as_text


@register("gate-held", "introduce slow-query, wait for DEV, and promote it to PRE")
def _gate_held(lab: Lab) -> str:
    """By the AnalysisRuns of PRE and by what its cluster runs, where the gate's verdict came from a Job."""
    where = f"kubectl --context {lab.control.context} -n {PROJECT}"
    runs = json.loads(kubectl(lab, f"{where} get analysisruns -l kargo.akuity.io/stage=pre -o json").output)["items"]
    results = [item for run in runs for item in (run.get("status") or {}).get("metricResults") or []]
    if ("performance-test", "Failed") not in [(item["name"], item["phase"]) for item in results]:
        raise AssertionError("no AnalysisRun of pre has a failed performance-test")
    newest = promotion_table(lab, "pre")[0]
    if not newest.rolled_back_from:
        raise AssertionError(f"the newest Promotion of pre, {newest.promotion}, is no rollback")
    left = {item.name: item for item in freight_table(lab)}[newest.rolled_back_from]
    if "pre" in left.verified_in:
        raise Mistake(f"Freight {left.alias} is verified in pre")
    running = running_versions(lab, lab.environment("pre"))
    if running == left.versions:
        raise AssertionError(f"PRE still runs Freight {left.alias}")
    return f"PRE refused Freight {left.alias}, went back, and runs {as_text(running)}"


@register("prod-refuses-unverified", "PROD must run Freight that was verified in PRE, and nothing else")
def _prod_refuses_unverified(lab: Lab) -> str:
    """By all Promotions that exist, and by what runs in PROD's cluster."""
    freight = {item.name: item for item in freight_table(lab)}
    for promotion in promotion_table(lab, "prod"):
        if "pre" not in freight[promotion.freight_name].verified_in:
            raise Mistake(f"{promotion.promotion} was accepted, though its Freight is not verified in pre")
    running = running_versions(lab, lab.environment("prod"))
    if not any(item.versions == running and "pre" in item.verified_in for item in freight.values()):
        raise Mistake(f"PROD runs {as_text(running)}")
    return "no Promotion exists that takes unverified Freight to prod, and PROD runs what was verified in pre"


@register("releases-apart", "promote to PRE what DEV runs, or have CI build a new release: `labkit get stages`")
def _releases_apart(lab: Lab) -> str:
    """By the Deployments of each cluster, as semantic versions of every tier."""
    running = {item.name: running_versions(lab, item) for item in lab.environments}
    for earlier, later in itertools.pairwise(running):
        tiers = {tier: semver.compare(running[earlier][tier], version) for tier, version in running[later].items()}
        if min(tiers.values()) < 0 or not any(tiers.values()):
            raise AssertionError(f"{later} runs {running[later]}, and {earlier} before it {running[earlier]}")
    return " > ".join(running) + ": each runs an older release than the one before it"


@register("prod-not-moved", "nothing may reach PROD but by a merged pull request: `labkit get promotions --stage prod`")
def _prod_not_moved(lab: Lab) -> str:
    """By the commits of PROD's branch, and by what runs in its cluster."""
    promotions = promotion_table(lab, "prod")
    if promotions[0].phase == "Succeeded":
        raise AssertionError(f"{promotions[0].promotion}, the newest Promotion of prod, has gone through")
    _expect_prod(lab, next(row.freight_name for row in promotions if row.phase == "Succeeded"))
    _expect_only_merges(lab)
    return "PROD runs what it ran, and its branch holds merged pull requests only"


def _expect_prod(lab: Lab, freight_name: str) -> None:
    wanted = {item.name: item.versions for item in freight_table(lab)}[freight_name]
    expect(running_versions(lab, lab.environment("prod")), wanted, "versions in PROD", else_wrong=True)


def _expect_only_merges(lab: Lab) -> None:
    viewer, prod = gitea_as(lab, "viewer"), lab.destination("prod")
    pulls = viewer.pull_requests(repo_path(GITOPS_REPO), "closed")
    merged = {pull["merge_commit_sha"] for pull in pulls if pull["merged"]}
    head = viewer.branch_commit(repo_path(GITOPS_REPO), prod.branch)
    if head not in merged:
        raise Mistake(f"the head {head[:7]} of {prod.branch} is no merge of a pull request")


@register("prod-runs-candidate", "run notebook 10-promotion-in-depth, up to its third Promotion")
def _prod_runs_candidate(lab: Lab) -> str:
    """By the Deployments in the clusters of PRE and PROD, where Kargo only wrote to Git."""
    candidate = running_versions(lab, lab.environment("pre"))
    expect(running_versions(lab, lab.environment("prod")), candidate, "versions in PROD")
    return "PROD runs the versions that PRE runs"


@register("prod-as-before", "run notebook 10-promotion-in-depth to its rollback")
def _prod_as_before(lab: Lab) -> str:
    """By PROD's branch and what runs in its cluster; what it ran before, by the Promotions' own order."""
    succeeded = [row for row in promotion_table(lab, "prod") if row.phase == "Succeeded"]
    if len(succeeded) < 3:
        raise AssertionError(f"only {len(succeeded)} Promotions of prod have gone through")
    newest, undone, before = succeeded[:3]
    expect(newest.rolled_back_from, undone.freight_name, "what the newest Promotion of prod has rolled back from")
    expect(newest.freight_name, before.freight_name, "what the newest Promotion of prod went back to")
    _expect_prod(lab, before.freight_name)
    _expect_only_merges(lab)
    return "PROD runs what it ran before, and its branch holds merged pull requests only"


def _stopped_stages(lab: Lab) -> dict[str, list[str]]:
    """Which Stages are frozen now, and which do not take new Freight by themselves though they are made for it."""
    where, now = f"kubectl --context {lab.control.context} -n {PROJECT}", datetime.now(UTC)
    freezes = json.loads(kubectl(lab, f"{where} get configmaps -l lab.labkit.dev/freeze=true -o json").output)["items"]
    ends = {item["data"]["stage"]: item["data"].get("until") for item in freezes}
    frozen = [name for name, until in ends.items() if until and datetime.fromisoformat(until) > now]
    config = json.loads(kubectl(lab, f"{where} get projectconfig {PROJECT} -o json").output)
    policies = config["spec"]["promotionPolicies"]
    held = [item["stageSelector"]["name"] for item in policies if not item["autoPromotionEnabled"]]
    return {"frozen": sorted(frozen), "held": sorted(held)}


@register("frozen", "`labkit freeze prod --until 10m --reason …`")
def _frozen(lab: Lab) -> str:
    """By the ConfigMaps that the API server's own admission reads."""
    expect(_stopped_stages(lab)["frozen"], ["prod"], "frozen Stages")
    return "prod is frozen, and no other Stage is"


@register("line-stopped", "`labkit hold dev`, and `labkit freeze prod --until 30m --reason …`")
def _line_stopped(lab: Lab) -> str:
    """By the ProjectConfig, and by the ConfigMaps that the API server's own admission reads."""
    expect(_stopped_stages(lab), {"frozen": ["prod"], "held": ["dev"]}, "Stages")
    return "dev takes nothing by itself, and prod is frozen"


@register("line-free", "`labkit unfreeze prod`, `labkit unhold dev`")
def _line_free(lab: Lab) -> str:
    """By the ProjectConfig, and by the ConfigMaps that the API server's own admission reads."""
    expect(_stopped_stages(lab), {"frozen": [], "held": []}, "Stages")
    return "no Stage is frozen, and dev takes new Freight by itself"


@register("evidence", "run notebook 10-promotion-in-depth; `labkit logs promotion-guard` says what was recorded")
def _evidence(lab: Lab) -> str:
    """By the files, where the Promotions are Kargo's."""
    records = [json.loads(file.read_text()) for file in lab.home.evidence.glob("prod.*.json")]
    merged = [item for item in records if item["promotion"]["phase"] == "Succeeded" and item["pull_request"]]
    if not merged:
        raise AssertionError("there is no record of a Promotion that was merged into PROD")
    for item in merged:
        name, people = (
            item["promotion"]["promotion"],
            (item["promotion"]["requester"], item["pull_request"]["merged_by"]),
        )
        if people[0] == people[1] and not item["exceptions"]:
            raise Mistake(f"{name} was requested and merged by {people[0]}")
        expect({gate["state"] for gate in item["gates"]}, {"success"}, f"gates of {name}")
    rejected = [item for item in records if item["promotion"]["reason"].startswith("rejected")]
    return f"{len(records)} records of Promotions to PROD: {len(merged)} merged, {len(rejected)} rejected with a reason"


@register("prod-by-pull-request", "ask for a Promotion to prod, have qa sign it off, and release-manager approve it")
def _prod_by_pull_request(lab: Lab) -> str:
    """By the newest pull request in Gitea and its commit statuses, and by what runs in PROD's cluster."""
    viewer, repo, prod = gitea_as(lab, "viewer"), repo_path(GITOPS_REPO), lab.destination("prod")
    head = viewer.branch_commit(repo, prod.branch)
    numbers = [pull["number"] for pull in viewer.pull_requests(repo, "closed") if pull["merge_commit_sha"] == head]
    if not numbers:
        raise AssertionError(f"the head {head[:7]} of {prod.branch} is no merge of a pull request")
    # Who has merged it, only the pull request itself says, and no list.
    merged = viewer.request("GET", f"/repos/{repo}/pulls/{numbers[0]}")
    expect(viewer.commit_statuses(repo, merged["head"]["sha"]), dict.fromkeys(GATES, "success"), "gates")
    newest = promotion_table(lab, "prod")[0]
    expect(merged["head"]["label"], f"kargo/promotion/{newest.promotion}", "branch that was merged last")
    by = merged["merged_by"]["login"]
    if by == newest.requester:
        raise Mistake(f"{by} has asked for it and merged it")
    wanted = {item.name: item.versions for item in freight_table(lab)}[newest.freight_name]
    expect(running_versions(lab, prod.environment), wanted, "versions in PROD")
    return f"{newest.requester} asked, {by} merged #{numbers[0]}, and PROD runs {as_text(wanted)}"
