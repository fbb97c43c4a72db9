"""The comparison with recordings finds what differs, and nothing else."""

import copy
import json

from conformance.compare import MISSING, compare, without

from .recordings import recording


def test_a_recording_equals_itself():
    for number in ("01", "04", "08", "11"):
        assert compare(recording(number), recording(number)) == []


def test_times_uids_and_hashes_may_differ():
    text = recording("01")
    other = copy.deepcopy(text)
    freight = other["objects"][1]
    old = freight["metadata"]["name"]

    renamed = json.loads(json.dumps(other).replace(old, "f" * 40).replace(old[:7], "f" * 7).replace("06:22", "07:33"))
    assert compare(text, renamed) == []


def test_a_reference_to_the_wrong_object_is_found():
    text = recording("05")
    other = copy.deepcopy(text)
    history = other["objects"][2]["status"]["freightHistory"]
    other["objects"][2]["status"]["freightSummary"] = history[1]["items"]["Warehouse/demo-app"]["name"]
    (found,) = compare(text, other)
    assert (found.object, found.field) == ("Stage dev", "status.freightSummary")


def test_missing_and_changed_fields_are_found():
    text = recording("08")
    other = copy.deepcopy(text)
    status = other["objects"][0]["status"]
    del status["finishedAt"]
    status["phase"] = "Errored"
    found = compare(text, other)
    assert [(item.object, item.field, item.recorded, item.found) for item in found] == [
        ("Promotion prod.<ulid 1>.<short>", "status.finishedAt", "<time>", MISSING),
        ("Promotion prod.<ulid 1>.<short>", "status.phase", "Failed", "Errored"),
    ]


def test_a_missing_and_an_unexpected_object_are_found():
    text = recording("08")
    fewer = text | {"objects": text["objects"][:-1]}
    assert [(item.field, item.found) for item in compare(text, fewer)] == [("", MISSING)]
    assert [(item.field, item.recorded) for item in compare(fewer, text)] == [("", MISSING)]


def test_answers_are_compared():
    text = recording("06")
    other = copy.deepcopy(text)
    other["answers"]["answer"] = text["answers"]["answer"].replace("not available", "available")
    assert [(item.object, item.field) for item in compare(text, other)] == [("answers", "answer")]


def test_a_field_can_be_left_out_on_both_sides():
    """A field that is missing would shift the placeholders of those after it."""
    text = recording("14")
    other = copy.deepcopy(text)
    del other["objects"][1]["status"]["freightHistory"][1]["verificationHistory"]
    found = compare(text, other)
    (missing,) = (item for item in found if item.found == MISSING)
    assert len(found) > 1
    assert compare(without(text, missing), other) == []


def test_names_that_had_to_differ_are_read_as_the_recorded_ones():
    text = recording("01")
    other = json.loads(json.dumps(text).replace("http://bot:", "http://kargo-bot:"))
    assert compare(text, other)
    assert compare(text, other, {"http://kargo-bot:": "http://bot:"}) == []
