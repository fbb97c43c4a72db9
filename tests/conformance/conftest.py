"""The replay's lab: one for all of tests/conformance, made for it and taken down afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from _ports import ports_of_a_lab
from conformance.bench import Bench, ensure_bench
from conformance.gate import open_gate
from conformance.replay import Replay

from labkit.config import load_lab
from labkit.down import down
from labkit.paths import LabHome


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--conformance-results", type=Path, help="write how the situations compare into this JSON file")
    parser.addoption("--conformance-record", action="store_true", help="make the recordings that are missing")


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A fresh lab with the engine that LABKIT_KARGO chooses, without the lab's own pipeline."""
    home = LabHome(tmp_path_factory.mktemp("conformance") / "lab")
    with ports_of_a_lab() as first_port, open_gate() as gate:
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("LABKIT_HOME", str(home.root))
                patch.setenv("LABKIT_PORT_BASE", str(first_port))
                # As where the recordings were made: the Job in `pre` is KWOK's.
                patch.setenv("LABKIT_PODS", "simulated")
                made = ensure_bench(load_lab(), gate)
            yield made
        finally:
            down(load_lab(home), purge=True)


@pytest.fixture(scope="session")
def replay(bench: Bench, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Replay]:
    """The situations, told on the bench as far as tests ask."""
    recording = request.config.getoption("--conformance-record", default=False)
    told = Replay(bench, tmp_path_factory.mktemp("replay"), recording=recording)
    yield told
    if results := request.config.getoption("--conformance-results", default=None):
        outcomes = [outcome.as_data() for outcome in told.outcomes.values()]
        results.write_text(json.dumps({"engine": bench.engine, "outcomes": outcomes}))
