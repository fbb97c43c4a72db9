"""Ports for the suite's labs: several live at once, and one that has not started yet must not lose its ports."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from labkit.process import port_is_free

SIZE = 80
_SLOTS = [range(first, first + SIZE) for first in range(21000, 32000 - SIZE, SIZE)]
_LENT = Path(tempfile.gettempdir()) / f"labkit-tests-{os.getuid()}"


@contextmanager
def ports_of_a_lab() -> Iterator[int]:
    """Lend a range that nobody uses and no other test of this machine has; gives its first port."""
    _LENT.mkdir(mode=0o700, exist_ok=True)
    # Processes side by side begin at different places.
    start = os.getpid() * 7 % len(_SLOTS)
    for slot in [*_SLOTS[start:], *_SLOTS[:start]]:
        lent = FileLock(_LENT / f"{slot.start}.lock")
        try:
            lent.acquire(blocking=False)
        except Timeout:
            continue
        try:
            if all(port_is_free(port) for port in slot):
                yield slot.start
                return
        finally:
            lent.release()
    raise AssertionError(f"no {SIZE} free ports in a row between {_SLOTS[0].start} and {_SLOTS[-1].stop}")
