"""The recordings of a genuine Kargo v1.11.2."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "conformance" / "recordings"


def recording(number: str) -> dict[str, Any]:
    """The recording of a situation, by the number in its file's name."""
    (file,) = FOLDER.glob(f"{number}-*.json")
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def objects(kind: str) -> Iterator[dict[str, Any]]:
    """Every recorded object of a kind."""
    for file in sorted(FOLDER.glob("*.json")):
        for obj in json.loads(file.read_text())["objects"]:
            if obj["kind"] == kind:
                yield obj
