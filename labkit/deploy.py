"""Bringing the demo app to the seed's versions, the honest way: build releases, promote each as far as it has come."""

from __future__ import annotations

from labkit.config import Lab, Release
from labkit.delivery.defects import Pushed, push_defect, push_fix, pushed_defect
from labkit.delivery.releases import publish_release, wait_for_build
from labkit.progress import step
from labkit.promotion import (
    Freight,
    StageTable,
    approve,
    ensure_promotion,
    find_freight,
    freight_table,
    stage_table,
    validate,
    wait_for_freight,
    wait_for_stage,
)
from labkit.rules import rules


def build_release(lab: Lab, release: Release) -> Freight:
    """Commit a release, have CI build it, and wait for its Freight; a release that has Freight is left alone."""
    versions = ", ".join(f"{tier} {version}" for tier, version in release.versions.items())
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


def _freight_of(lab: Lab, pushed: Pushed) -> Freight:
    wait_for_build(lab, pushed.commit)
    return wait_for_freight(lab, pushed.versions)


def promote_freight(lab: Lab, stage: str, freight: Freight) -> Freight:
    """Take a Freight into a Stage and wait until it is verified there.

    A Stage that promotes automatically is only waited for. Where a pull request is opened, the lab's validator
    signs the Freight off in the Stage before, and its approver approves and merges. Where the Freight is verified
    in that Stage already, nothing is done.

    Returns:
        The Freight as it is now.
    """
    if stage in freight.verified_in:
        return freight
    with step(f"Promote Freight {freight.alias} to {stage}", expect=10):
        if not any(row.stage == stage and row.auto_promotion for row in stage_table(lab)):
            promotion = ensure_promotion(lab, stage, freight)
            if not promotion.done:
                validate(lab, rules().gates[stage].validation_stage, freight)
                approve(lab, promotion)
        wait_for_stage(lab, stage, freight)
    return find_freight(lab, freight.name)


def deploy_release(lab: Lab, release: Release) -> Freight:
    """Build a release and promote it through the Stages as far as `data/lab.yaml` says."""
    freight = build_release(lab, release)
    for environment in lab.environments:
        freight = promote_freight(lab, environment.name, freight)
        if environment.name == release.promoted_to:
            break
    return freight


def deploy(lab: Lab) -> StageTable:
    """Deploy all releases in order: afterwards the environments run the seed's versions."""
    for release in lab.releases:
        deploy_release(lab, release)
    return stage_table(lab)
