"""The pauses before another try: a kubelet's."""

from hypothesis import given
from hypothesis import strategies as st

from labkit.podrunner.backoff import BackOff, Pauses

KUBELET = Pauses(10, 300)


def _pauses(back_off, ends):
    """The pause after each end of a container that crashes at once."""
    found, moment = [], 1000.0
    for _ in range(ends):
        until = back_off.until(moment)
        found.append(until - moment)
        back_off.next(moment)
        moment = until
    return found


def test_the_first_restart_is_at_once_and_the_pauses_double():
    assert _pauses(BackOff(KUBELET), 8) == [0, 10, 20, 40, 80, 160, 300, 300]


def test_ten_minutes_without_trouble_forget_the_pauses():
    back_off = BackOff(KUBELET)
    _pauses(back_off, 5)
    moment = 1000 + 10 + 20 + 40
    assert back_off.until(moment + 599) > moment + 599
    assert back_off.until(moment + 1000) == moment + 1000
    back_off.next(moment + 1000)
    assert back_off.seconds == 10


@given(st.lists(st.floats(0, 2000), max_size=30))
def test_no_pause_is_longer_than_the_longest(spans):
    back_off, moment = BackOff(KUBELET), 0.0
    for span in spans:
        until = back_off.until(moment)
        assert moment <= until <= moment + KUBELET.longest
        back_off.next(moment)
        assert KUBELET.first <= back_off.seconds <= KUBELET.longest
        moment = until + span
