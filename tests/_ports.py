"""Ports for the suite's labs: several live at once, and one that has not started yet must not lose its ports."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from labkit.process import port_is_free

SIZE = 80
_SLOTS = [range(first, first + SIZE) for first in range(21000, 32000 - SIZE, SIZE)]
_lent: set[int] = set()


@contextmanager
def ports_of_a_lab() -> Iterator[int]:
    """Lend a range that nobody uses and nobody else in this session has; gives its first port."""
    # Suites side by side begin at different places.
    start = os.getpid() % len(_SLOTS)
    for slot in [*_SLOTS[start:], *_SLOTS[:start]]:
        if slot.start not in _lent and all(port_is_free(port) for port in slot):
            _lent.add(slot.start)
            try:
                yield slot.start
            finally:
                _lent.remove(slot.start)
            return
    raise AssertionError(f"no {SIZE} free ports in a row between {_SLOTS[0].start} and {_SLOTS[-1].stop}")
