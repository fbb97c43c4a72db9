"""`make conformance`: replays the recorded situations on every engine that can be had, and writes a table."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from labkit.config import Lab, load_lab
from labkit.errors import LabError
from labkit.paths import REPO
from labkit.process import PYTHON
from labkit.services.kargo import choose_engine

FOLDER = Path(__file__).parent
TITLES = {file.name[:2]: file.stem[3:].replace("-", " ") for file in sorted((FOLDER / "recordings").glob("*.json"))}


def _engines(lab: Lab) -> dict[str, str]:
    """The engines that can be had here, and why or what they are."""
    found = {}
    for name in ("kargolite", "kargo"):
        try:
            engine = choose_engine(replace(lab, settings=replace(lab.settings, kargo=name)))
        except LabError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
        else:
            found[name] = engine.why
    return found


def _replayed(engine: str, recording: bool) -> dict[str, Any] | None:
    """How the situations compare on an engine; nothing where the suite could not run."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.json"
        command = [PYTHON, "-m", "pytest", str(FOLDER), "--conformance-results", str(results)]
        started = time.monotonic()
        code = subprocess.run(
            [*command, *(["--conformance-record"] if recording else [])],
            cwd=REPO,
            env={**os.environ, "LABKIT_KARGO": engine},
            check=False,
        ).returncode
        if not results.exists():
            return None
        found: dict[str, Any] = json.loads(results.read_text())
        return found | {"seconds": time.monotonic() - started, "passed": code == 0}


def _table(engines: dict[str, str], replayed: dict[str, dict[str, Any] | None]) -> str:
    verdicts = {
        engine: {outcome["number"]: outcome for outcome in (found or {"outcomes": []})["outcomes"]}
        for engine, found in replayed.items()
    }
    lines = [
        "# Conformance with the recordings of a genuine Kargo v1.11.2",
        "",
        f"| situation | {' | '.join(replayed)} |",
        f"|---|{'---|' * len(replayed)}",
    ]
    for number, title in TITLES.items():
        cells = [verdicts[engine].get(number, {"verdict": "not run"})["verdict"] for engine in replayed]
        lines.append(f"| {number} {title} | {' | '.join(cells)} |")
    lines.append("")
    for engine, found in replayed.items():
        took = f"{found['seconds']:.0f} s" if found else "the suite could not run"
        lines.append(f"- {engine} ({engines[engine]}): {took}")
    allowed = {
        what: sorted({outcome["number"] for outcome in by_number.values() if what in outcome["allowed"]})
        for by_number in verdicts.values()
        for outcome in by_number.values()
        for what in outcome["allowed"]
    }
    if allowed:
        lines += ["", "Allowed differences (`tests/conformance/differences.yaml` says why):", ""]
        lines += [f"- {what}: {', '.join(numbers)}" for what, numbers in allowed.items()]
    for engine, by_number in verdicts.items():
        for outcome in by_number.values():
            if outcome["others"]:
                lines += ["", f"## {engine}, situation {outcome['number']}", "", "```", *outcome["others"], "```"]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Replay, write the table, print it."""
    parser = argparse.ArgumentParser(prog="make conformance", description=__doc__)
    parser.add_argument("--engine", action="append", choices=("kargo", "kargolite"), help="this one only")
    parser.add_argument("--record", action="store_true", help="make the recordings that are missing, from kargo")
    arguments = parser.parse_args()
    lab = load_lab()
    wanted = ["kargo"] if arguments.record else arguments.engine
    engines = {name: why for name, why in _engines(lab).items() if not wanted or name in wanted}
    if not engines:
        return 1
    replayed = {engine: _replayed(engine, arguments.record) for engine in engines}
    table = _table(engines, replayed)
    file = REPO / "build" / "conformance.md"
    file.parent.mkdir(exist_ok=True)
    file.write_text(table)
    print(table)
    print(f"Written to {file}")
    return 0 if all(found and found["passed"] for found in replayed.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
