"""Makes the recordings of `contract.py`'s situations, from a genuine Kargo: `python tests/conformance --record`."""

from __future__ import annotations

import json
from collections.abc import Callable

from conformance.bench import Bench, Obj
from conformance.compare import normalised
from conformance.situations import RECORDINGS, Observation

from labkit.wait import wait_for

REST = 3.0  # seconds in which nothing changes any more


def record(bench: Bench, number: str, method: Callable[..., object], look: Callable[[], Observation]) -> None:
    """Write down what a situation left behind, once it has come to rest."""
    assert bench.engine == "kargo", f"{bench.engine} is not the engine that recordings are made from"
    seen: list[list[object]] = []

    def rests() -> bool:
        seen.append(normalised(look().objects))
        return len(seen) > 1 and seen[-1] == seen[-2]

    wait_for(f"situation {number} to come to rest", rests, interval=REST)
    left = look()
    title = method.__name__[4:].replace("_", "-")
    written = {
        "situation": str(method.__doc__).splitlines()[0],
        "done": ["see contract.py"],
        "kargo": "v1.11.2",
        "answers": left.answers,
        "objects": [_without_fields_managers(bench.without_nudges(obj)) for obj in left.objects],
    }
    text = json.dumps(written, indent=1, sort_keys=True, ensure_ascii=False)
    assert bench.token not in text, "a recording would tell a token"
    for old in RECORDINGS.glob(f"{number}-*.json"):
        old.unlink()
    (RECORDINGS / f"{number}-{title}.json").write_text(text + "\n")


def _without_fields_managers(obj: Obj) -> Obj:
    return {**obj, "metadata": {key: value for key, value in obj["metadata"].items() if key != "managedFields"}}
