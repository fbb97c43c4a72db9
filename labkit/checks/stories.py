"""Checks of the stories: what a feature, a hotfix or a rollback has left behind."""

from __future__ import annotations

import json

from labkit.checks.check import Mistake, expect, register
from labkit.config import HOTFIX, PREVIEW, PREVIEW_PROJECT, PRODUCTION, PROJECT, SOURCE_REPO, Lab
from labkit.delivery.bugs import bug_table
from labkit.delivery.git import repo_path
from labkit.delivery.gitea import gitea_as
from labkit.demo_app import app_page, try_markup
from labkit.kubectl import kubectl
from labkit.promotion import freight_table, promotion_table
from labkit.status import running_versions


@register("previewed", "run notebook 05-feature-development up to its preview; `labkit logs ci` says what was built")
def _previewed(lab: Lab) -> str:
    """By the pages of both, and by the Warehouse of the main line, where Kargo was asked for the Freight."""
    page, dev = app_page(lab, PREVIEW), app_page(lab, "dev")
    if not page.announcement or page.announcement == dev.announcement:
        raise AssertionError(f"the preview announces {page.announcement or 'nothing'}, as DEV does")
    where = f"kubectl --context {lab.control.context}"
    found = json.loads(kubectl(lab, f"{where} -n {PROJECT} get freight -o json").output)["items"]
    seen = [image["tag"] for item in found for image in item["images"] if "-feature-" in image["tag"]]
    expect(seen, [], "builds of feature branches in the main line", else_wrong=True)
    newest = freight_table(lab, project=PREVIEW_PROJECT)[0]
    return f"the preview announces “{page.announcement}”, built as {newest.versions['frontend']}; DEV does not"


@register("feature-released", "run notebook 05-feature-development, or `labkit scenario feature`")
def _feature_released(lab: Lab) -> str:
    """By the pages that people see, and by Git's merge, where Kargo's Stages were asked before."""
    pages = {environment.name: app_page(lab, environment.name).announcement for environment in lab.environments}
    if "" in pages.values() or len(set(pages.values())) != 1:
        raise AssertionError(f"the environments announce {pages}")
    viewer, repo = gitea_as(lab, "viewer"), repo_path(SOURCE_REPO)
    merged = [pull for pull in viewer.pull_requests(repo, "closed") if pull["merged"]]
    if not merged:
        raise AssertionError(f"no pull request of {SOURCE_REPO} was merged")
    # Who has merged it, only the pull request itself says, and no list.
    newest = viewer.request("GET", f"/repos/{repo}/pulls/{merged[0]['number']}")
    author, reviewer = newest["user"]["login"], newest["merged_by"]["login"]
    if author == reviewer:
        raise Mistake(f"{author} has merged what {author} wrote")
    return f"all three announce “{pages['prod']}”, written by {author}, merged by {reviewer}"


@register("freight-by-hand", "`create_freight` makes it: PROD's images, one of them replaced by the hotfix branch's")
def _freight_by_hand(lab: Lab) -> str:
    """By the newest Freight as kubectl shows it, and by the images in PROD's cluster."""
    where = f"kubectl --context {lab.control.context} -n {PROJECT}"
    shown = kubectl(lab, f"{where} get freight --sort-by=.metadata.creationTimestamp -o json").output
    newest = json.loads(shown)["items"][-1]
    tags = {image["repoURL"].rsplit("/", 1)[1]: image["tag"] for image in newest["images"]}
    fixed = sorted(tier for tier, tag in tags.items() if "-hotfix-" in tag)
    if not fixed:
        raise AssertionError(f"the newest Freight holds {', '.join(tags.values())}, and no hotfix build")
    running = running_versions(lab, lab.environment(PRODUCTION))
    changed = sorted(tier for tier, tag in tags.items() if tag != running[tier])
    expect(changed, fixed, "tiers in which the newest Freight differs from PROD", else_wrong=True)
    return f"the newest Freight is what PROD runs, but {', '.join(f'{tier} {tags[tier]}' for tier in fixed)}"


@register("fix-in-pre", "promote the Freight that was made by hand to hotfix, and then to PRE")
def _fix_in_pre(lab: Lab) -> str:
    """By the images in PRE's cluster and by trying the bug there, where Kargo was asked for the verification."""
    newest = promotion_table(lab, "pre")[0]
    freight = {item.name: item for item in freight_table(lab)}[newest.freight_name]
    if not {HOTFIX, "pre"} <= set(freight.verified_in):
        raise AssertionError(f"Freight {freight.alias} is verified in {', '.join(freight.verified_in) or 'no Stage'}")
    expect(running_versions(lab, lab.environment("pre")), freight.versions, "versions in PRE")
    production = running_versions(lab, lab.environment(PRODUCTION))
    changed = sorted(tier for tier, version in freight.versions.items() if version != production[tier])
    expect(len(changed), 1, f"tiers that differ from PROD's ({', '.join(changed)})", else_wrong=True)
    for bug in bug_table():
        if bug.tier in changed and not try_markup(lab, "pre", bug.field).harmless:
            raise Mistake(f"{bug.bug} is in PRE")
    return f"PRE runs what PROD runs, but {changed[0]} {freight.versions[changed[0]]}, and shows markup as text"


@register("hotfixed", "run notebook 06-hotfix up to PROD, or `labkit scenario hotfix`")
def _hotfixed(lab: Lab) -> str:
    """By trying the bug on PROD's page, by the images in its cluster, and by the Promotion's own record."""
    newest = promotion_table(lab, PRODUCTION)[0]
    freight = {item.name: item for item in freight_table(lab)}[newest.freight_name]
    expect(running_versions(lab, lab.environment(PRODUCTION)), freight.versions, "versions in PROD")
    if HOTFIX not in freight.verified_in or "dev" in freight.verified_in:
        raise AssertionError(f"Freight {freight.alias} was verified in {', '.join(freight.verified_in)}")
    if not newest.emergency:
        raise AssertionError(f"{newest.promotion} says of no emergency")
    before = promotion_table(lab, PRODUCTION)[1].freight_name
    replaced = {item.name: item for item in freight_table(lab)}[before].versions
    changed = sorted(tier for tier, version in freight.versions.items() if version != replaced[tier])
    expect(len(changed), 1, f"tiers that the hotfix changed ({', '.join(changed)})", else_wrong=True)
    fixed = [bug for bug in bug_table() if f"-hotfix-{bug.bug}" in freight.versions[bug.tier]]
    expect(len(fixed), 1, f"bugs that {freight.versions[changed[0]]} fixes, by its name")
    if not try_markup(lab, PRODUCTION, fixed[0].field).harmless:
        raise AssertionError(f"{fixed[0].bug} is still in PROD")
    return f"PROD runs what it ran, but {changed[0]} {freight.versions[changed[0]]}, and shows markup as text"


@register("fix-in-main-line", "merge the hotfix branch into main, lift DEV's hold, and promote the release to PRE")
def _fix_in_main_line(lab: Lab) -> str:
    """By trying the bug in DEV and PRE, and by the history of `main`, where Kargo was asked for the Freight."""
    commits = gitea_as(lab, "viewer").request(
        "GET", f"/repos/{repo_path(SOURCE_REPO)}/commits", sha="main", limit=20, stat=False
    )
    merges = [item for item in commits if item["commit"]["message"].startswith("Merge hotfix/")]
    if not merges:
        raise AssertionError("none of the newest commits on main merges a hotfix branch")
    hotfix, message = merges[0]["parents"][1]["sha"], merges[0]["commit"]["message"]
    for bug in bug_table():
        for stage in ("dev", "pre"):
            if bug.bug in message and not try_markup(lab, stage, bug.field).harmless:
                raise AssertionError(f"{bug.bug} is in {stage}")
    versions = running_versions(lab, lab.environment("dev"))
    return f"main has the hotfix {hotfix[:7]}, and DEV runs frontend {versions['frontend']} with it"
