"""Which buttons there are, when they cannot be pressed, and what they ask first."""

import pytest

from labkit.pipeline.actions import actions_of
from labkit.rules import rules

from .samples import DONE, WAITING, gates, pipeline, promotion, stage, validation, with_another


def _actions(shown, name):
    return {action.key: action for action in actions_of(shown, shown.view(name))}


def _action(key, shown=None):
    shown = shown or pipeline()
    return _actions(shown, key.split("-")[1])[key]


def test_the_main_line_can_be_promoted_along():
    shown = pipeline()
    offered = {
        view.name: [a.key for a in actions_of(shown, view) if a.key.startswith("promote")] for view in shown.views
    }
    assert offered == {
        "dev": ["promote-dev-pre"],
        "pre": ["promote-pre-prod"],
        "prod": [],
        "hotfix": ["promote-hotfix-pre"],
        "preview": [],
    }


def test_what_kargo_or_the_lab_would_always_refuse_is_not_offered():
    offered = _actions(with_another("qa", control_flow=True), "dev").keys()
    assert {"promote-dev-pre", "diff-dev-pre"} <= offered
    assert not {"promote-dev-qa", "diff-dev-qa"} & offered
    offered = _actions(with_another("canary"), "dev").keys()
    assert "promote-dev-canary" in offered
    assert "diff-dev-canary" not in offered


def test_people_act_whom_the_rules_name():
    shown = pipeline(promotions=(WAITING, *DONE), waiting_gates=gates())
    assert _action("promote-dev-pre").person == rules().requester
    assert _action("validate-pre").person == rules().validator
    for key in ("approve-prod", "reject-prod", "freeze-prod", "hold-dev"):
        assert _action(key, shown).person == rules().approver
    assert _action("rollback-pre").person == rules().requester
    assert _action("diff-dev-pre").person == ""


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"stages": [stage("dev")]}, "DEV runs nothing yet"),
        ({"stages": [stage("dev", "new", verified="Unknown")]}, "what DEV runs is not verified"),
        ({"stages": [stage("pre", "new")]}, "PRE runs the same"),
        ({"promotions": (promotion("pre.2", "pre", "new", "Running"), *DONE)}, "a Promotion to PRE is under way"),
        ({"frozen": ("pre",)}, "PRE is frozen"),
        ({}, ""),
    ],
)
def test_what_would_be_refused_cannot_be_pressed_and_says_why(changed, why):
    changed = dict(changed)
    shown = pipeline(*changed.pop("stages", []), **changed)
    action = _action("promote-dev-pre", shown)
    assert action.blocked == why
    assert why in action.about


def test_a_promotion_that_waits_blocks_the_next_and_can_be_decided_on():
    shown = pipeline(promotions=(WAITING, *DONE), waiting_gates=gates())
    assert _action("promote-pre-prod", shown).blocked == "a Promotion to PROD waits for approval"
    assert _action("approve-prod", shown).shown
    assert not _action("approve-prod", shown).blocked
    assert _action("reject-prod", shown).shown
    assert not _action("approve-prod").shown
    assert not _action("reject-prod").shown


def test_approval_waits_for_the_sign_off():
    shown = pipeline(promotions=(WAITING, *DONE), waiting_gates=gates("pending"))
    assert _action("approve-prod", shown).blocked == "it works in pre"


def test_a_sign_off_is_asked_for_once():
    assert not _action("validate-pre").blocked
    assert _action("validate-pre", pipeline(validations={"pre": validation()})).blocked == "qa has signed it off"
    assert not _action("validate-pre", pipeline(validations={"pre": validation("failure")})).blocked
    assert "validate-dev" not in _actions(pipeline(), "dev")


def test_going_back_offers_what_was_good_and_says_when_there_is_nothing():
    ask = _action("rollback-pre").asks[0]
    assert [alias for _, alias in ask.choices] == ["calm-badger"]
    assert ask.answer == "calm-badger"
    assert _action("rollback-prod").blocked == "nothing else was verified in PROD"


def test_hold_and_freeze_change_into_their_opposites():
    assert _action("hold-dev").label == "Hold"
    assert _action("hold-dev", pipeline(stage("dev", "new", auto_promotion=False))).label == "Lift hold"
    assert "hold-pre" not in _actions(pipeline(), "pre")
    assert _action("freeze-prod").label == "Freeze"
    assert _action("freeze-prod", pipeline(frozen=("prod",))).label == "End freeze"
    assert "freeze-hotfix" not in _actions(pipeline(), "hotfix")


def test_what_matters_is_confirmed_and_the_rest_is_done_at_once():
    shown = pipeline(promotions=(WAITING, *DONE), waiting_gates=gates())
    every = [action for view in shown.views for action in actions_of(shown, view)]
    asked = {action.key.partition("-")[0] for action in every if action.question}
    assert asked == {"promote", "approve", "reject", "rollback", "freeze", "validate"}
    assert _action("promote-pre-prod").question
    assert not _action("promote-dev-pre").question


def test_what_stops_or_undoes_needs_a_reason():
    for key in ("reject-prod", "rollback-pre", "freeze-prod"):
        (reason,) = [ask for ask in _action(key).asks if ask.name == "reason"]
        assert reason.needed


def test_a_stage_keeps_its_buttons_whatever_state_it_is_in():
    """The widgets are made once."""
    calm = pipeline()
    busy = pipeline(
        stage("dev", "new", held=True, verified="False"),
        promotions=(WAITING, *DONE),
        waiting_gates=gates("failure"),
        frozen=("pre", "prod"),
        validations={"pre": validation()},
    )
    for view in calm.views:
        assert _actions(calm, view.name).keys() == _actions(busy, view.name).keys()
