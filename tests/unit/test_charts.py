"""The lab's charts, as functions of what they show."""

import re
from itertools import pairwise

import pandas as pd
import pytest

from labkit.charts import pipeline_figure, pipeline_frame
from labkit.config import load_lab
from labkit.promotion import Stage, StageTable

COLUMNS = ["stage", "order", "tier", "version", "freight", "health", "verified", "takes_from", "colour"]
VERSIONS = {
    "dev": {"frontend": "1.0.0", "backend": "2.1.0", "database": "1.5.0"},
    "pre": {"frontend": "0.9.5", "backend": "2.0.8", "database": "1.4.9"},
    "prod": {},
}


def _stage(name, health="Healthy", verified="True", **changes):
    values = {
        "stage": name,
        "project": "demo-app",
        "control_flow": False,
        "takes_from": (),
        "freight": f"freight-of-{name}" if VERSIONS.get(name) else "",
        "freight_name": "",
        "versions": VERSIONS.get(name, {}),
        "health": health,
        "applications": (),
        "verified": verified,
        "auto_promotion": False,
        "held": False,
        "last_promotion": "",
        "promoting": "",
    }
    return Stage(**values | changes)


STAGES = StageTable(
    (
        _stage("dev"),
        _stage("pre", "Progressing", "False", takes_from=("dev", "hotfix")),
        _stage("prod", "Unknown", "Unknown", takes_from=("pre",)),
    )
)


@pytest.fixture
def lab():
    return load_lab()


@pytest.fixture
def frame(lab):
    return pipeline_frame(lab, STAGES)


def _texts(figure):
    drawn = [text for trace in figure.data for text in trace.text]
    return drawn + [annotation.text for annotation in figure.layout.annotations if annotation.text]


def _boxes(figure):
    return [shape for shape in figure.layout.shapes if shape.type == "rect"]


@pytest.mark.parametrize("stages", [STAGES, StageTable(())], ids=["three stages", "none"])
def test_the_frame_has_its_columns_and_types(lab, stages):
    frame = pipeline_frame(lab, stages)
    assert list(frame.columns) == COLUMNS
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == {
        name: "int64" if name == "order" else "object" for name in COLUMNS
    }


def test_the_frame_has_a_row_for_each_stage_and_tier(lab, frame):
    assert list(zip(frame.stage, frame.tier, strict=True)) == [
        (stage.stage, tier) for stage in STAGES for tier in lab.tiers
    ]
    assert list(frame.order) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for row in frame.itertuples():
        assert row.version == VERSIONS[row.stage].get(row.tier, "")


def test_an_environments_colour_is_the_labs(lab, frame):
    wanted = {environment.name: environment.colour for environment in lab.environments}
    assert dict(zip(frame.stage, frame.colour, strict=True)) == wanted
    assert len(set(wanted.values())) == 3


def test_a_stage_that_is_no_environment_has_a_colour_of_none(lab):
    (colour,) = set(pipeline_frame(lab, StageTable((_stage("somebody-elses"),))).colour)
    assert colour not in {environment.colour for environment in lab.environments}


def test_there_is_one_box_for_each_stage(frame, lab):
    boxes = _boxes(pipeline_figure(frame))
    assert [box.line.color for box in boxes] == [environment.colour for environment in lab.environments]
    assert len({(box.x0, box.x1) for box in boxes}) == 3
    for left, right in pairwise(boxes):
        assert left.x1 < right.x0


def test_a_solid_box_is_a_healthy_stage(frame):
    assert [box.line.dash for box in _boxes(pipeline_figure(frame))] == ["solid", "dash", "dot"]


def test_every_version_stands_there_as_text(frame):
    texts = _texts(pipeline_figure(frame))
    for versions in VERSIONS.values():
        for tier, version in versions.items():
            assert sum(tier in text and version in text for text in texts) == 1, (tier, version)
    assert sum("–" in text for text in texts) == 3


def test_no_text_is_wider_than_its_box_and_pointing_at_it_shows_all(lab):
    long = "1.1.1-hotfix-unescaped-item-20c88f2.g26a1b2c"
    stages = StageTable((*STAGES.rows, _stage("hotfix", versions={"frontend": long, "backend": "2.1.0"})))
    figure = pipeline_figure(pipeline_frame(lab, stages))
    lines = [re.sub("</?b>", "", line) for trace in figure.data for text in trace.text for line in text.split("<br>")]
    assert max(map(len, lines)) == 14
    assert "1.1.1-h…6a1b2c" in lines
    assert "backend 2.1.0" in lines
    assert long in figure.data[0].customdata[3]
    assert "customdata[3]" in figure.data[0].hovertemplate


def test_names_freight_health_and_verification_stand_there_as_text(frame):
    texts = " | ".join(_texts(pipeline_figure(frame)))
    for word in ("DEV", "PRE", "PROD", "freight-of-dev", "freight-of-pre", "no Freight yet", "Healthy", "Progressing"):
        assert word in texts
    assert texts.count("✓ verified") == 1
    assert texts.count("not verified") == 2


def test_the_order_of_the_rows_does_not_matter(frame):
    shuffled = frame.sample(frac=1, random_state=7).sort_values("tier", kind="stable")
    boxes = [_boxes(pipeline_figure(one)) for one in (frame, shuffled)]
    assert [box.line.color for box in boxes[0]] == [box.line.color for box in boxes[1]]


def test_a_lab_without_stages_has_an_empty_chart(lab):
    figure = pipeline_figure(pipeline_frame(lab, StageTable(())))
    assert not figure.data
    assert not _boxes(figure)


def test_the_frame_is_not_changed(frame):
    before = frame.copy()
    pipeline_figure(frame)
    pd.testing.assert_frame_equal(frame, before)


def test_an_arrow_leads_where_freight_goes_and_nowhere_else(lab):
    stages = StageTable((*STAGES.rows, _stage("hotfix", takes_from=("Warehouse demo-app",))))
    arrows = [item.x for item in pipeline_figure(pipeline_frame(lab, stages)).layout.annotations if item.showarrow]
    assert arrows == [0.58, 1.58]
