"""Names and hashes: those in the recordings of a genuine Kargo come out again."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.kargolite.identity import (
    UlidGenerator,
    analysis_run_name,
    collection_id,
    freight_id,
    promotion_name,
)

from .recordings import objects


def test_recorded_freight_ids():
    freight = {item["metadata"]["name"]: item for item in objects("Freight")}
    assert len(freight) == 5
    assert {name: freight_id(item) for name, item in freight.items()} == {name: name for name in freight}


def test_recorded_collection_ids():
    collections = [item for stage in objects("Stage") for item in stage.get("status", {}).get("freightHistory", [])]
    assert len({item["id"] for item in collections}) == 5
    for item in collections:
        assert collection_id(freight["name"] for freight in item["items"].values()) == item["id"]


@pytest.mark.parametrize("change", ["origin", "tag", "digest"])
def test_other_content_is_other_freight(change):
    freight = next(iter(objects("Freight")))
    before = freight_id(freight)
    if change == "origin":
        freight = freight | {"origin": {"kind": "Warehouse", "name": "other"}}
    else:
        images = freight["images"]
        freight = freight | {"images": [images[0] | {change: "x"}, *images[1:]]}
    assert freight_id(freight) != before


def test_order_of_images_does_not_matter():
    freight = next(iter(objects("Freight")))
    assert freight_id(freight | {"images": freight["images"][::-1]}) == freight_id(freight)


def test_names_have_the_recorded_form():
    form = re.compile(r"[a-z-]+\.01[0-9a-hjkmnp-tv-z]{24}\.[0-9a-f]{7}")
    recorded = [item["metadata"]["name"] for kind in ("Promotion", "AnalysisRun") for item in objects(kind)]
    made = [promotion_name("dev", "3b22e0983de3"), analysis_run_name("dev", "79810dc96558")]
    assert all(form.fullmatch(name) for name in [*recorded, *made])
    assert made[0].endswith(".3b22e09")
    assert promotion_name("dev", "") == ""


@given(st.lists(st.integers(min_value=0, max_value=2**48 - 1), min_size=2, max_size=20))
def test_ulids_only_grow_whatever_the_clock_does(times):
    generator = UlidGenerator()
    ulids = [generator.next(time) for time in times]
    assert ulids == sorted(set(ulids))
    assert all(len(ulid) == 26 for ulid in ulids)
