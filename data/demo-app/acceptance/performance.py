"""Is the candidate as fast, and as free of errors, as what PROD runs now?

Candidate and baseline are asked in turn, a request here and a request there, so that a busy machine slows both. Each
round has a 95th percentile of its own, and the median of the rounds counts: one hiccup decides nothing.
"""

import json
import os
import random
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

from client import Answer, Tier
from rollout import wait_until_rolled_out

PATH = "/api/orders"
PAGE_SIZE = 50  # orders on a page: with fewer, the candidate would have less to do than PROD
WARM_UP = 5  # requests that do not count


@dataclass(frozen=True)
class Criteria:
    """What passes.

    Attributes:
        p95_factor: The candidate's 95th percentile may be this many times the baseline's …
        p95_slack: … and this many seconds more: differences that small are noise.
        p95_limit: Seconds that it may be in any case, also where PROD runs nothing to compare with.
        error_margin: The share of failed requests may be this much above the baseline's.
    """

    p95_factor: float
    p95_slack: float
    p95_limit: float
    error_margin: float


@dataclass(frozen=True)
class Measured:
    """What one side answered, by round: seconds of each request, and how many failed."""

    rounds: tuple[tuple[float, ...], ...]
    failed: int

    @property
    def p95(self) -> float:
        """The median of the rounds' 95th percentiles, in seconds."""
        return statistics.median(percentile(seconds, 95) for seconds in self.rounds)

    @property
    def p50(self) -> float:
        """The median of all requests, in seconds."""
        return statistics.median(second for seconds in self.rounds for second in seconds)

    @property
    def error_rate(self) -> float:
        """The share of requests that failed."""
        return self.failed / sum(map(len, self.rounds))


def percentile(values: tuple[float, ...], percent: int) -> float:
    """A percentile, between the two nearest values where it falls between them."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def judge(candidate: Measured, baseline: Measured | None, criteria: Criteria) -> list[str]:
    """What is wrong with the candidate; nothing where it passes."""
    p95_limit, error_limit = criteria.p95_limit, criteria.error_margin
    if baseline is not None:
        p95_limit = min(p95_limit, baseline.p95 * criteria.p95_factor + criteria.p95_slack)
        error_limit += baseline.error_rate
    found = []
    if candidate.p95 > p95_limit:
        found.append(f"p95 is {candidate.p95 * 1000:.0f} ms, and may be {p95_limit * 1000:.0f} ms")
    if candidate.error_rate > error_limit:
        found.append(f"{candidate.error_rate:.1%} of the requests failed, and {error_limit:.1%} may")
    return found


def runs(tier: Tier) -> bool:
    """Whether there is anything: a gateway answers 502 or 503 for a tier that was never rolled out."""
    return tier.get("/version").status < 500


def fill_a_page(tier: Tier) -> None:
    """Give the candidate as many orders as a page of PROD has; that it refuses them is for another test to judge."""
    order = {"customer": "Performance test", "item": "Stopwatch", "quantity": 1, "unitPriceCents": 1999}
    for missing in range(PAGE_SIZE - len(tier.get(PATH).json["orders"]), 0, -1):
        answer = tier.post(PATH, order)
        if answer.status != 201:
            print(f"the page lacks {missing} orders, the candidate takes none: {answer.status} {answer.text.strip()}")
            return


def measure(tiers: Mapping[str, Tier], rounds: int, requests: int, enough_seconds: float) -> dict[str, Measured]:
    """Ask all sides in turn, in an order that changes; after so many seconds no other round begins."""
    for tier in tiers.values():
        for _ in range(WARM_UP):
            tier.get(PATH)
    seconds: dict[str, list[tuple[float, ...]]] = {side: [] for side in tiers}
    failed = dict.fromkeys(tiers, 0)
    began = time.monotonic()
    for number in range(rounds):
        if number and time.monotonic() - began > enough_seconds:
            print(f"{number} of {rounds} rounds took longer than {enough_seconds:.0f} s: they have to do")
            break
        this_round: dict[str, list[float]] = {side: [] for side in tiers}
        for _ in range(requests):
            for side in random.sample(list(tiers), len(tiers)):
                answer, took = timed(tiers[side])
                this_round[side].append(took)
                failed[side] += answer is None or answer.status >= 500
        for side, values in this_round.items():
            seconds[side].append(tuple(values))
    return {side: Measured(tuple(seconds[side]), failed[side]) for side in tiers}


def timed(tier: Tier) -> tuple[Answer | None, float]:
    """One request: the answer, if there was one, and the seconds it took."""
    started = time.perf_counter()
    try:
        answer = tier.get(PATH)
    except OSError:
        answer = None
    return answer, time.perf_counter() - started


def main() -> int:
    """Measure, say what was measured, and end with 1 where the candidate does not pass."""
    criteria = Criteria(
        p95_factor=float(os.environ["P95_FACTOR"]),
        p95_slack=float(os.environ["P95_SLACK_MILLISECONDS"]) / 1000,
        p95_limit=float(os.environ["P95_LIMIT_MILLISECONDS"]) / 1000,
        error_margin=float(os.environ["ERROR_MARGIN"]),
    )
    wait_until_rolled_out()
    tiers = {"candidate": Tier("candidate"), "baseline": Tier("baseline")}
    if not runs(tiers["baseline"]):
        print(f"PROD runs nothing at {tiers['baseline'].url}: the absolute limit is all that counts")
        del tiers["baseline"]
    fill_a_page(tiers["candidate"])
    measured = measure(
        tiers,
        int(os.environ["ROUNDS"]),
        int(os.environ["REQUESTS_PER_ROUND"]),
        float(os.environ["ENOUGH_SECONDS"]),
    )
    for side, values in measured.items():
        figures = {
            "side": side,
            "url": tiers[side].url,
            "requests": sum(map(len, values.rounds)),
            "p50Milliseconds": round(values.p50 * 1000, 1),
            "p95Milliseconds": round(values.p95 * 1000, 1),
            "errorRate": round(values.error_rate, 4),
        }
        print(json.dumps(figures))
    problems = judge(measured["candidate"], measured.get("baseline"), criteria)
    print("FAILED: " + "; ".join(problems) if problems else "passed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
