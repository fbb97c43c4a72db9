"""Bringing the demo app to its versions, the honest way: build releases, promote each as far as it has come."""

from __future__ import annotations

from labkit.config import PREVIEW, PREVIEW_PROJECT, PRODUCTION, Lab, Release
from labkit.delivery.branches import Branch, Merge, merge_branch, versions_on
from labkit.delivery.bugs import Bug, bug_table, merge_back, push_bug, push_hotfix
from labkit.delivery.changes import Pushed, push_release, source_of_the_app
from labkit.delivery.defects import push_defect, push_fix, pushed_defect
from labkit.delivery.features import push_feature
from labkit.delivery.releases import publish_release, wait_for_build
from labkit.delivery.schema_steps import push_schema_step
from labkit.delivery.tags import RELEASE_BRANCH
from labkit.demo_app import try_markup
from labkit.progress import step
from labkit.promotion import (
    Freight,
    StageTable,
    approve,
    ensure_promotion,
    find_freight,
    find_stage,
    freight_table,
    stage_table,
    validate,
    wait_for_freight,
    wait_for_stage,
)
from labkit.rules import rules
from labkit.tables import as_text

# About how long a promotion with its gates takes; elsewhere 8 s.
_PROMOTION_SECONDS = {"pre": 15, "prod": 45}


def build_release(lab: Lab, release: Release) -> Freight:
    """Commit a release, have CI build it, and wait for its Freight; a release that has Freight is left alone."""
    versions = as_text(release.versions)
    for freight in freight_table(lab):
        if freight.versions == release.versions:
            return freight
    with step(f"Build {versions}", expect=10):
        wait_for_build(lab, publish_release(lab, release))
        return wait_for_freight(lab, release.versions)


def introduce_defect(lab: Lab, name: str) -> Freight:
    """Push a defect to the demo app's repo, have CI build it, and wait for its Freight.

    Args:
        lab: The lab, with the newest release in DEV.
        name: The defect, as in `labkit defect list`.
    """
    with step(f"Introduce {name}", expect=10):
        return _freight_of(lab, push_defect(lab, name))


def defective_freight(lab: Lab, name: str) -> Freight | None:
    """The Freight of what `main` holds, where it has a defect; nothing where it has not."""
    pushed = pushed_defect(lab, name)
    return _freight_of(lab, pushed) if pushed else None


def ensure_defect(lab: Lab, name: str) -> Freight:
    """The Freight with a defect: that of `main`, where it has the defect already; else it is introduced."""
    return defective_freight(lab, name) or introduce_defect(lab, name)


def fix_defect(lab: Lab, name: str) -> Freight:
    """Push the commit that takes a defect back, have CI build it, and wait for its Freight."""
    with step(f"Fix {name}", expect=10):
        return _freight_of(lab, push_fix(lab, name))


def take_schema_step(lab: Lab, name: str) -> Freight:
    """Push a step of the schema change to the demo app's repo, have CI build it, and wait for its Freight.

    Args:
        lab: The lab, with the step before on `main`.
        name: The step, as in `labkit schema list`.
    """
    with step(f"Push {name}", expect=10):
        return _freight_of(lab, push_schema_step(lab, name))


def _freight_of(lab: Lab, pushed: Pushed) -> Freight:
    wait_for_build(lab, pushed.commit)
    return wait_for_freight(lab, pushed.versions)


def build_feature(lab: Lab, feature: str) -> Branch:
    """Push a feature on a branch of its own, and have CI build it.

    Args:
        lab: The lab.
        feature: What is new, in a few words.
    """
    with step(f"Build a branch that announces {feature!r}", expect=10):
        branch = push_feature(lab, feature)
        wait_for_build(lab, branch.commit)
    return branch


def preview_branch(lab: Lab, branch: Branch) -> Freight:
    """Wait until the preview runs what was built from a branch, verified."""
    with step(f"Preview {branch.branch}", expect=10):
        freight = wait_for_freight(lab, branch.versions, project=PREVIEW_PROJECT)
        wait_for_stage(lab, PREVIEW, freight)
    return find_freight(lab, freight.name, project=PREVIEW_PROJECT)


def release_branch(lab: Lab, branch: Branch) -> tuple[Merge, Freight]:
    """Merge a branch by a reviewed pull request, have CI build `main`, and wait for the Freight.

    Returns:
        The merge, and the Freight of the release.
    """
    with step(f"Merge and build {branch.branch}", expect=10):
        merge = merge_branch(lab, branch)
        wait_for_build(lab, merge.commit)
        versions = versions_on(lab, source_of_the_app(lab), RELEASE_BRANCH, merge.commit)
        return merge, wait_for_freight(lab, versions)


def bug_in(lab: Lab, stage: str) -> Bug | None:
    """The first of the known bugs that shows on a Stage's page: somebody tries."""
    return next((bug for bug in bug_table() if not try_markup(lab, stage, bug.field).harmless), None)


def ensure_bug(lab: Lab) -> Bug:
    """A bug that PROD has; where all are fixed, the first is brought back by a release like any other."""
    found = bug_in(lab, PRODUCTION)
    if found is None:
        found = bug_table()[0]
        with step(f"Release {found.bug} to PROD", expect=120):
            freight = _freight_of(lab, push_bug(lab, found))
            for environment in lab.environments:
                freight = promote_freight(lab, environment.name, freight)
    return found


def build_hotfix(lab: Lab, bug: Bug, freight: Freight) -> Branch:
    """Fix a bug on a branch that begins where a Freight's image was built from, and have CI build it."""
    with step(f"Build a fix of {bug.bug}", expect=10):
        branch = push_hotfix(lab, bug, freight.versions[bug.tier], freight.revisions[bug.tier])
        wait_for_build(lab, branch.commit)
    return branch


def merge_hotfix(lab: Lab, branch: Branch, bug: Bug) -> Freight:
    """Merge a hotfix back into `main`, have CI build it, and wait for the Freight."""
    with step(f"Merge {branch.branch} back", expect=10):
        return _freight_of(lab, merge_back(lab, branch, bug))


def promote_freight(lab: Lab, stage: str, freight: Freight, *, emergency: str = "") -> Freight:
    """Take a Freight into a Stage and wait until it is verified there.

    A Stage that promotes automatically is only waited for. Where a pull request is opened, the lab's validator
    signs the Freight off in the Stage before, and its approver approves and merges. Where the Freight is verified
    in that Stage already, nothing is done.

    Args:
        lab: The lab.
        stage: The Stage.
        freight: The Freight.
        emergency: Why it may pass a freeze, and may have skipped a Stage; it is recorded.

    Returns:
        The Freight as it is now.
    """
    if stage in freight.verified_in:
        return freight
    with step(f"Promote Freight {freight.alias} to {stage}", expect=_PROMOTION_SECONDS.get(stage, 8)):
        if not any(row.stage == stage and row.auto_promotion for row in stage_table(lab)):
            promotion = ensure_promotion(lab, stage, freight, emergency=emergency)
            if not promotion.done:
                validate(lab, rules().gates[stage].validation_stage, freight)
                approve(lab, promotion)
        wait_for_stage(lab, stage, freight)
    return find_freight(lab, freight.name)


def ensure_releases_apart(lab: Lab, tier: str = "frontend") -> StageTable:
    """Have each environment run an older release than the one before it, as in a pipeline that is under way.

    Where two run the same, the later one stays, and the earlier one gets a release.

    Args:
        lab: The lab, with something verified in every environment.
        tier: What is released where a release is lacking.

    Raises:
        LabError: A release was not built, or a gate has held it.
    """
    dev, pre, prod = (find_stage(lab, environment.name).freight_name for environment in lab.environments)
    if pre == prod:
        if dev == pre:
            dev = promote_freight(lab, "dev", _release(lab, tier)).name
        pre = promote_freight(lab, "pre", find_freight(lab, dev)).name
    if dev == pre:
        promote_freight(lab, "dev", _release(lab, tier))
    return stage_table(lab)


def _release(lab: Lab, tier: str) -> Freight:
    with step(f"Release {tier} again", expect=10):
        return _freight_of(lab, push_release(lab, tier))


def deploy_release(lab: Lab, release: Release) -> Freight:
    """Build a release and promote it through the Stages as far as `data/lab.yaml` says."""
    freight = build_release(lab, release)
    for environment in lab.environments:
        freight = promote_freight(lab, environment.name, freight)
        if environment.name == release.promoted_to:
            break
    return freight


def deploy(lab: Lab) -> StageTable:
    """Deploy all releases in order: afterwards the environments run the versions of `data/lab.yaml`."""
    for release in lab.releases:
        deploy_release(lab, release)
    return stage_table(lab)
