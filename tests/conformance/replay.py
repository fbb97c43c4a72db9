"""Replays the situations in order, each once, and compares what they leave behind with the recordings."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conformance.bench import Bench
from conformance.compare import MISSING, Difference, Obj, compare, without
from conformance.contract import Contract
from conformance.differences import Reason, judge
from conformance.record import record
from conformance.situations import Look, Observation, Story, comparable, recording, titles, told_by

SETTLING = 20.0  # seconds in which a situation has to become as recorded, once all has been done


TOLD = {number: (teller, method) for teller in (Story, Contract) for number, method in told_by(teller).items()}


@dataclass(frozen=True)
class Outcome:
    """How a situation compares with its recording.

    Attributes:
        number: The situation's number.
        allowed: The differences that are meant, each with its reason.
        others: All other differences.
    """

    number: str
    allowed: list[tuple[Difference, Reason]]
    others: list[Difference]

    @property
    def verdict(self) -> str:
        """`same`, `allowed differences` or `differs`."""
        if self.others:
            return "differs"
        return "allowed differences" if self.allowed else "same"

    def as_data(self) -> dict[str, Any]:
        """What the table is made of."""
        return {
            "number": self.number,
            "verdict": self.verdict,
            "allowed": sorted({reason.what for _, reason in self.allowed}),
            "others": [str(difference) for difference in self.others],
        }


class Replay:
    """The story as far as it has been told on a bench.

    Args:
        bench: The lab, fresh.
        scratch: A folder for what is written down on the way.
        recording: Whether to make the recordings that are missing.
    """

    def __init__(self, bench: Bench, scratch: Path, *, recording: bool = False) -> None:
        self.bench = bench
        self._recording = recording
        self._tellers = {teller: teller(bench, scratch) for teller in (Story, Contract)}
        self._outcomes: dict[str, Outcome] = {}
        self._broken = ""

    @property
    def outcomes(self) -> Mapping[str, Outcome]:
        """The situations so far."""
        return self._outcomes

    def outcome(self, number: str) -> Outcome:
        """How a situation compares; tells the story up to it first.

        Raises:
            AssertionError: The story broke off before.
        """
        for name, (teller, method) in TOLD.items():
            if number in self._outcomes:
                break
            if name not in self._outcomes:
                assert not self._broken, f"the replay broke off in situation {self._broken}"
                self._broken = name
                tell = getattr(self._tellers[teller], method)
                look = tell()
                if self._recording and name not in titles():
                    record(self.bench, name, tell, lambda look=look: next(iter(look())))
                self._outcomes[name] = self._settled(name, look)
                self._broken = ""
        return self._outcomes[number]

    def _settled(self, number: str, look: Look) -> Outcome:
        deadline = time.monotonic() + SETTLING
        recorded = comparable(number, recording(number))
        while True:
            outcome = min(
                (self._compared(number, recorded, seen) for seen in look()), key=lambda item: len(item.others)
            )
            if not outcome.others or time.monotonic() > deadline:
                return outcome
            time.sleep(0.5)

    def _compared(self, number: str, recorded: Obj, seen: Observation) -> Outcome:
        objects = [self.bench.without_nudges(obj) for obj in seen.objects]
        found, absent = comparable(number, {"objects": objects, "answers": seen.answers}), []
        while True:
            allowed, others = judge(self.bench.engine, number, compare(recorded, found, self.bench.same))
            one_sided = next((pair for pair in allowed if MISSING in (pair[0].recorded, pair[0].found)), None)
            if one_sided is None:
                return Outcome(number, absent + allowed, others)
            # A field on one side only would shift the numbers of the placeholders after it.
            absent.append(one_sided)
            difference = one_sided[0]
            if difference.found == MISSING:
                recorded = without(recorded, difference)
            else:
                found = without(found, difference)
