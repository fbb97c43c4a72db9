import time

import pytest
from client import Answer
from performance import Criteria, Measured, judge, measure, percentile

CRITERIA = Criteria(p95_factor=2.0, p95_slack=0.005, p95_limit=1.0, error_margin=0.01)


def measured(*seconds, failed=0, rounds=3):
    return Measured((seconds,) * rounds, failed)


@pytest.mark.parametrize(("percent", "value"), [(50, 3.0), (95, 4.8), (1, 1.04)])
def test_percentiles_lie_between_the_nearest_values(percent, value):
    assert percentile((1.0, 2.0, 3.0, 4.0, 5.0), percent) == pytest.approx(value)


def test_one_slow_round_decides_nothing():
    calm, hiccup = (0.01,) * 20, (0.01,) * 10 + (3.0,) * 10
    assert Measured((calm, hiccup, calm), 0).p95 == pytest.approx(0.01)


@pytest.mark.parametrize("slower", [1.0, 1.5, 2.0])
def test_up_to_the_factor_it_passes(slower):
    assert judge(measured(*[0.01 * slower] * 20), measured(*[0.01] * 20), CRITERIA) == []


def test_beyond_the_factor_it_fails_and_says_by_how_much():
    assert judge(measured(*[0.05] * 20), measured(*[0.01] * 20), CRITERIA) == ["p95 is 50 ms, and may be 25 ms"]


def test_a_machine_that_slows_both_changes_nothing():
    assert judge(measured(*[0.15] * 20), measured(*[0.1] * 20), CRITERIA) == []


def test_errors_are_compared_too():
    candidate, baseline = measured(*[0.01] * 20, failed=6), measured(*[0.01] * 20, failed=1)
    assert judge(candidate, baseline, CRITERIA) == ["10.0% of the requests failed, and 2.7% may"]


def test_without_a_baseline_the_absolute_limit_counts():
    assert judge(measured(*[0.9] * 20), None, CRITERIA) == []
    assert judge(measured(*[1.1] * 20), None, CRITERIA) == ["p95 is 1100 ms, and may be 1000 ms"]


def test_no_baseline_lifts_the_absolute_limit():
    assert judge(measured(*[1.1] * 20), measured(*[1.0] * 20), CRITERIA) != []


class SlowTier:
    """Takes its time, and answers."""

    def get(self, path):
        time.sleep(0.02)
        return Answer(200, "{}")


def test_all_rounds_are_measured_where_there_is_time():
    found = measure({"candidate": SlowTier()}, rounds=3, requests=2, enough_seconds=60)
    assert [len(seconds) for seconds in found["candidate"].rounds] == [2, 2, 2]


def test_what_is_slow_is_measured_in_fewer_rounds(capsys):
    found = measure({"candidate": SlowTier()}, rounds=100, requests=2, enough_seconds=0.1)
    assert 1 <= len(found["candidate"].rounds) < 100
    assert "of 100 rounds took longer" in capsys.readouterr().out
