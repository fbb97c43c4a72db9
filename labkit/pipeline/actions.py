"""What the board's buttons do: each calls what the command line calls, as the person whom `data/rules.yaml` names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from labkit.config import PRODUCTION, Lab
from labkit.pipeline.state import Pipeline, StageView
from labkit.promotion import (
    FreezeTable,
    PromotionTable,
    StageTable,
    find_freight,
    finish,
    freeze,
    get_promotion,
    hold,
    promote,
    promotion_diff,
    reject,
    rollback,
    unfreeze,
    unhold,
    validate,
)
from labkit.rules import VALIDATED, rules
from labkit.tables import as_text

Answers = Mapping[str, str]


@dataclass(frozen=True)
class Ask:
    """Something that has to be filled in before an action.

    Attributes:
        name: By which the action finds the answer.
        label: What is asked.
        answer: What stands there at first.
        choices: The answers there are, what is shown to what is meant; any where empty.
        needed: Whether it may not be left empty.
    """

    name: str
    label: str
    answer: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    needed: bool = False


@dataclass(frozen=True)
class Action:
    """One thing that can be done with a Stage.

    Attributes:
        key: Its name, by which its button is known from one moment to the next.
        stage: The Stage at whose column it stands.
        label: What its button says.
        person: Who acts.
        act: Does it.
        shown: Whether there is anything like that to do.
        blocked: Why it cannot be done now; empty where it can.
        question: What has to be confirmed; it is done at once where empty.
        asks: What has to be filled in.
        main: Whether it takes the pipeline forward.
    """

    key: str
    stage: str
    label: str
    person: str
    act: Callable[[Lab, Answers], Any]
    shown: bool = True
    blocked: str = ""
    question: str = ""
    asks: tuple[Ask, ...] = ()
    main: bool = False

    @property
    def about(self) -> str:
        """One line for whoever points at its button."""
        return f"Not now: {self.blocked}" if self.blocked else f"As {self.person}" if self.person else "Changes nothing"


_WHY = Ask("reason", "Why", needed=True)


def actions_of(pipeline: Pipeline, view: StageView) -> tuple[Action, ...]:
    """What can be done with a Stage, whether now or not, in the order of its buttons.

    Args:
        pipeline: The pipeline.
        view: One of its Stages.
    """
    targets = [pipeline.view(name) for name in view.feeds]
    return (
        # A control-flow Stage takes no Promotion: Kargo refuses it.
        *(_promote(view, target) for target in targets if not target.stage.control_flow),
        *_decide(view),
        # What is rendered is an environment's; another Stage has nothing to compare with.
        *(_diff(view, target) for target in targets if target.main),
        *_sign_off(view),
        *_go_back(view),
        *_hold(view),
        *_freeze(view),
    )


def _promote(view: StageView, target: StageView) -> Action:
    needs_approval = target.name in rules().gates
    into_production = target.name == PRODUCTION
    question = (
        f"Ask for Freight {_freight(view)} in {target.title}? "
        + (f"It opens a pull request, for {rules().approver} to approve." if needs_approval else "")
        if into_production or needs_approval
        else ""
    )
    return Action(
        key=f"promote-{view.name}-{target.name}",
        stage=view.name,
        label=f"Promote to {target.title}",
        person=rules().requester,
        act=lambda lab, _: promote(lab, view.name, target.name),
        blocked=_not_promotable(view, target),
        question=question,
        main=True,
    )


def _not_promotable(view: StageView, target: StageView) -> str:
    if not view.stage.freight_name:
        return f"{view.title} runs nothing yet"
    if target.stage.freight_name == view.stage.freight_name:
        return f"{target.title} runs the same"
    if view.stage.verified != "True":
        return f"what {view.title} runs is not verified"
    return _not_movable(target)


def _not_movable(view: StageView) -> str:
    if view.waiting:
        return f"a Promotion to {view.title} waits for approval"
    if view.under_way:
        return f"a Promotion to {view.title} is under way"
    return f"{view.title} is frozen" if view.frozen else ""


def _diff(view: StageView, target: StageView) -> Action:
    return Action(
        key=f"diff-{view.name}-{target.name}",
        stage=view.name,
        label=f"Diff to {target.title}",
        person="",
        act=lambda lab, _: promotion_diff(lab, view.name, target.name),
        blocked="" if view.stage.freight_name else f"{view.title} runs nothing yet",
    )


def _decide(view: StageView) -> Iterator[Action]:
    """Approve or reject the Promotion that waits; exactly the one that is shown."""
    if view.name not in rules().gates:
        return
    name, freight = (view.waiting.promotion, view.waiting.freight) if view.waiting else ("", "")
    closed = [row.why for row in view.gates if row.gate == VALIDATED and row.state != "success"]
    yield Action(
        key=f"approve-{view.name}",
        stage=view.name,
        label="Approve",
        person=rules().approver,
        act=lambda lab, said: finish(lab, get_promotion(lab, name), approved=True, words=said["words"]),
        shown=bool(name),
        blocked=closed[0] if closed else "",
        question=f"Approve and merge: {view.title} takes Freight {freight}?",
        asks=(Ask("words", "What the approval says"),),
        main=True,
    )
    yield Action(
        key=f"reject-{view.name}",
        stage=view.name,
        label="Reject",
        person=rules().approver,
        act=lambda lab, said: PromotionTable((reject(lab, get_promotion(lab, name), said["reason"]),)),
        shown=bool(name),
        question=f"Reject Freight {freight} for {view.title}? The pull request is closed, and the Promotion ends.",
        asks=(_WHY,),
    )


def _sign_off(view: StageView) -> Iterator[Action]:
    if not view.signs_off:
        return
    name = view.stage.freight_name
    signed = view.validation is not None and view.validation.state == "success"
    blocked = "" if view.stage.verified == "True" and not view.under_way else f"what {view.title} runs is not verified"
    yield Action(
        key=f"validate-{view.name}",
        stage=view.name,
        label="Sign off",
        person=rules().validator,
        act=lambda lab, said: validate(lab, view.name, find_freight(lab, name), reason=said["words"]),
        blocked=f"{view.validation.by} has signed it off" if signed and view.validation else blocked,
        question=f"Sign off Freight {_freight(view)}, as it works in {view.title}?",
        asks=(Ask("words", "What was seen"),),
    )


def _go_back(view: StageView) -> Iterator[Action]:
    if not view.main:
        return
    choices = tuple((f"{item.alias}  ({_versions(item.versions)})", item.alias) for item in view.rollbacks)
    then = f" It opens a pull request, for {rules().approver} to approve." if view.name in rules().gates else ""
    yield Action(
        key=f"rollback-{view.name}",
        stage=view.name,
        label="Roll back",
        person=rules().requester,
        act=lambda lab, said: rollback(lab, view.name, said["freight"], reason=said["reason"]),
        blocked=_not_movable(view) or ("" if choices else f"nothing else was verified in {view.title}"),
        question=f"Take {view.title} back from Freight {_freight(view)}?{then}",
        asks=(Ask("freight", "Back to", choices[0][1] if choices else "", choices, needed=True), _WHY),
    )


def _hold(view: StageView) -> Iterator[Action]:
    if not view.automatic:
        return
    change, label = (unhold, "Lift hold") if view.held else (hold, "Hold")
    yield Action(
        key=f"hold-{view.name}",
        stage=view.name,
        label=label,
        person=rules().approver,
        act=lambda lab, _: StageTable((change(lab, view.name),)),
        blocked=f"a Promotion to {view.title} is under way" if view.held and view.under_way else "",
    )


def _freeze(view: StageView) -> Iterator[Action]:
    if view.freeze is None:
        return
    if view.frozen:
        yield Action(
            key=f"freeze-{view.name}",
            stage=view.name,
            label="End freeze",
            person=rules().approver,
            act=lambda lab, _: FreezeTable((unfreeze(lab, view.name),)),
            question=f"End the freeze of {view.title} now?",
        )
    else:
        yield Action(
            key=f"freeze-{view.name}",
            stage=view.name,
            label="Freeze",
            person=rules().approver,
            act=lambda lab, said: FreezeTable((freeze(lab, view.name, said["until"], reason=said["reason"]),)),
            question=f"Freeze {view.title}? Promotions to it are refused, with the reason, until then.",
            asks=(Ask("until", "Until (90m, 18:00, a date)", "60m", needed=True), _WHY),
        )


def _freight(view: StageView) -> str:
    return f"{view.stage.freight} ({_versions(view.stage.versions)})"


def _versions(versions: Mapping[str, str]) -> str:
    return as_text(versions)
