"""What the board says of a Stage follows from what Kargo, Gitea and the lab's rules say of it."""

from datetime import timedelta

from labkit.pipeline.picture import card, feed, picture

from .samples import DONE, EVENTS, NOW, WAITING, freeze, gates, pipeline, promotion, stage, validation, with_another


def _card(given, name):
    return card(given.view(name), given.at)


def test_stages_stand_in_the_order_of_the_main_line_and_the_others_apart():
    shown = pipeline()
    assert [view.name for view in shown.views] == ["dev", "pre", "prod", "hotfix", "preview"]
    assert [view.main for view in shown.views] == [True, True, True, False, False]
    assert {view.name: view.feeds for view in shown.views} == {
        "dev": ("pre",),
        "pre": ("prod",),
        "prod": (),
        "hotfix": ("pre",),
        "preview": (),
    }


def test_a_stage_that_is_not_in_the_labs_plan_stands_apart():
    shown = with_another("canary")
    assert [view.name for view in shown.views][3:] == ["canary", "hotfix", "preview"]
    assert shown.view("dev").feeds == ("pre", "canary")
    assert "CANARY" in _card(shown, "canary")


def test_a_card_says_that_a_stage_only_passes_freight_on():
    html = _card(with_another("qa", control_flow=True), "qa")
    assert "control-flow Stage" in html
    assert "no Freight yet" not in html
    assert "control-flow" not in _card(pipeline(), "hotfix")


def test_it_is_known_since_when_a_stage_runs_its_freight():
    shown = pipeline(promotions=(promotion("pre.2", "pre", "middle", "Failed", seconds=60), *DONE))
    assert shown.view("pre").since == NOW - timedelta(minutes=12) + timedelta(seconds=12)
    assert shown.view("hotfix").since is None
    assert "here for 11.8 min" in _card(shown, "pre")
    assert "here for" not in _card(shown, "hotfix")


def test_a_card_says_freight_versions_health_and_verification():
    html = _card(pipeline(stage("pre", "middle", health="Unhealthy", verified="False")), "pre")
    for word in ("PRE", "eager-heron", "0.9.5", "2.0.8", "1.4.9", "Unhealthy", "✗ not verified"):
        assert word in html
    assert "✓ verified" in _card(pipeline(), "pre")
    assert "no Freight yet" in _card(pipeline(), "hotfix")


def test_a_card_says_what_waits_and_for_whom():
    shown = pipeline(promotions=(WAITING, *DONE), waiting_gates=gates("success", "pending"))
    html = _card(shown, "prod")
    for words in ("Waits for approval", "eager-heron", "pull request 3", "asked for by developer"):
        assert words in html
    assert "✓ validated by qa" in html
    assert "○ approved: release-manager has not approved it" in html


def test_a_card_says_what_is_under_way():
    coming = promotion("pre.2", "pre", "new", "Running", step="kustomize-build")
    html = _card(pipeline(promotions=(coming, *DONE)), "pre")
    assert "Promotion running" in html
    assert "wintry-otter" in html
    assert "step kustomize-build" in html


def test_a_card_says_that_a_stage_is_frozen_or_held_and_who_signed_it_off():
    html = _card(pipeline(frozen=("prod",)), "prod")
    assert f"by {freeze('prod', True).by}: inventory" in html
    assert "Held" in _card(pipeline(stage("dev", "new", auto_promotion=False)), "dev")
    assert "Held" in _card(pipeline(stage("dev", "new", held=True)), "dev")
    assert "takes new Freight by itself" in _card(pipeline(), "dev")
    assert "✓ signed off by qa" in _card(pipeline(validations={"pre": validation()}), "pre")
    assert "✗ signed off" not in _card(pipeline(), "pre")


def test_what_people_wrote_is_not_taken_for_html():
    frozen = pipeline(stage("dev", "new", freight="<script>alert(1)</script>"))
    assert "<script>" not in _card(frozen, "dev")
    assert "<b>abc</b>" not in feed(EVENTS, {})
    assert "&lt;b&gt;abc&lt;/b&gt;" in feed(EVENTS, {})


def test_the_feed_is_newest_first_by_when_something_was_over():
    html = feed(EVENTS, {"dev": "#123456"})
    assert html.index("sync") < html.index("verification Successful") < html.index("Promotion Succeeded")
    assert "#123456" in html
    assert "Nothing has happened lately" in feed((), {})


def test_the_picture_has_every_stage_and_the_feed_and_needs_no_script():
    html = picture(pipeline(), EVENTS)
    for word in ("DEV", "PRE", "PROD", "HOTFIX", "PREVIEW", "wintry-otter", "verification Successful"):
        assert word in html
    assert "<script" not in html
    assert "http" not in html


def test_only_freight_that_was_good_before_can_be_gone_back_to():
    shown = pipeline()
    assert [item.alias for item in shown.view("pre").rollbacks] == ["calm-badger"]
    assert shown.view("prod").rollbacks == ()
    bad = promotion("pre.2", "pre", "middle", rolled_back_from="old")
    assert pipeline(promotions=(bad, *DONE)).view("pre").rollbacks == ()
