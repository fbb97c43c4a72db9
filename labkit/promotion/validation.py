"""Manual validation: a person looks at what runs in a Stage, and signs off its Freight or does not.

The sign-off is a commit status in Gitea, on the commit of the Stage's branch that brought the Freight there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from labkit.config import GITOPS_REPO, Lab
from labkit.delivery.git import repo_path
from labkit.delivery.gitea import gitea_as
from labkit.errors import LabError, UsageError
from labkit.promotion.freight import Freight, find_freight, time_of
from labkit.promotion.stage import find_stage
from labkit.rules import rules
from labkit.tables import Record

_REPO = repo_path(GITOPS_REPO)
_COMMITS = 100


@dataclass(frozen=True, repr=False)
class Validation(Record):
    """What a person said of a Freight in a Stage.

    Attributes:
        stage: The Stage.
        freight_name: Name of the Freight.
        state: `success` or `failure`.
        by: The Gitea account that said so.
        words: What was said.
        commit: The commit of the Stage's branch that it was said of.
        at: When.
    """

    stage: str
    freight_name: str
    state: str
    by: str
    words: str
    commit: str
    at: datetime


def _context(stage: str) -> str:
    return f"validation/{stage}"


def _validators(stage: str) -> tuple[str, ...]:
    return tuple(name for gate in rules().gates.values() if gate.validation_stage == stage for name in gate.validators)


def _commits(lab: Lab, stage: str, freight_name: str) -> list[str]:
    """The commits of a Stage's branch that brought this Freight there, newest first."""
    branch = lab.destination(stage).branch
    found = gitea_as(lab, "viewer").request("GET", f"/repos/{_REPO}/commits", sha=branch, limit=_COMMITS, stat=False)
    return [item["sha"] for item in found if f"Freight: {freight_name}" in item["commit"]["message"].splitlines()]


def validation_of(lab: Lab, stage: str, freight_name: str) -> Validation | None:
    """The newest sign-off of a Freight in a Stage by one who may give it; nothing where there is none.

    A status that somebody else has set does not count.
    """
    gitea, validators = gitea_as(lab, "viewer"), _validators(stage)
    for commit in _commits(lab, stage, freight_name):
        for status in gitea.all_statuses(_REPO, commit):
            by = (status["creator"] or {}).get("login", "")
            if status["context"] == _context(stage) and by in validators:
                return Validation(
                    stage,
                    freight_name,
                    status["status"],
                    by,
                    status["description"],
                    commit,
                    time_of(status["updated_at"]),
                )
    return None


def validate(
    lab: Lab,
    stage: str,
    freight: Freight | None = None,
    *,
    reject: bool = False,
    reason: str = "",
    as_user: str = "",
) -> Validation:
    """Sign off what runs in a Stage, or say that it will not do.

    Args:
        lab: The lab.
        stage: The Stage.
        freight: The Freight that is meant; one that was signed off there before is left alone.
        reject: Say that it will not do.
        reason: Why; needed to reject.
        as_user: Who says so; the lab's validator where nobody is named.

    Raises:
        UsageError: Nothing in the pipeline waits for a sign-off in that Stage, or a rejection has no reason.
        LabError: That person may not sign off, or the Stage does not run that Freight, verified.
    """
    person, validators = as_user or rules().validator, _validators(stage)
    if not validators:
        stages = ", ".join(sorted(rules().validation_stages))
        raise UsageError(f"Nobody waits for a validation of {stage}", todo=f"validate one of: {stages}")
    if reject and not reason:
        raise UsageError("A rejection needs its reason", todo='add `--reason "…"`')
    if person not in validators:
        raise LabError(f"{person} may not sign off what runs in {stage}", todo=f"ask {' or '.join(validators)}")
    before = validation_of(lab, stage, freight.name) if freight else None
    if before is not None and before.state == "success" and not reject:
        return before
    freight = _verified_freight(lab, stage, freight)
    commits = _commits(lab, stage, freight.name)
    if not commits:
        raise LabError(
            f"No commit on {lab.destination(stage).branch} brought Freight {freight.alias}",
            todo=f"promote it to {stage} again",
        )
    words = reason or f"Freight {freight.alias} works in {stage}"
    state = "failure" if reject else "success"
    gitea_as(lab, person).set_commit_status(_REPO, commits[0], _context(stage), state, words)
    said = validation_of(lab, stage, freight.name)
    if said is None:
        raise LabError(f"Gitea does not show the sign-off of {freight.alias} in {stage}", todo="`labkit logs gitea`")
    return said


def _verified_freight(lab: Lab, stage: str, wanted: Freight | None) -> Freight:
    row = find_stage(lab, stage)
    if wanted is not None and row.freight_name != wanted.name:
        raise LabError(
            f"Stage {stage} does not run Freight {wanted.alias}",
            seen=f"it runs {row.freight or 'nothing'}",
            todo="sign off what can be looked at: promote it there first",
        )
    if not row.freight_name:
        raise LabError(f"Stage {stage} runs nothing yet", todo=f"`labkit promote --to {stage} …` first")
    if row.verified != "True" or row.promoting:
        raise LabError(
            f"What runs in {stage} is not verified yet",
            seen=f"Freight {row.freight}, {row.health}, verified {row.verified}",
            todo="wait for its verification: `labkit get stages`",
        )
    return find_freight(lab, row.freight_name)
