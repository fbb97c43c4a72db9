"""Labs of the suite's own: on ports that nobody else has, named by the environment, purged afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from _ports import ports_of_a_lab

from labkit.config import Lab, load_lab
from labkit.down import down
from labkit.paths import LabHome


@contextmanager
def lab_of_its_own(folder: Path) -> Iterator[Lab]:
    """A lab that does not exist yet; whatever a test makes of it is purged.

    Args:
        folder: Where its folder is to be.
    """
    home = LabHome(folder / "lab")
    with pytest.MonkeyPatch.context() as patch, ports_of_a_lab() as first_port:
        patch.setenv("LABKIT_HOME", str(home.root))
        patch.setenv("LABKIT_PORT_BASE", str(first_port))
        try:
            yield load_lab(home)
        finally:
            down(load_lab(home), purge=True)
