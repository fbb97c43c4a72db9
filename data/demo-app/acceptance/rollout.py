"""Is what was promoted what answers? A roll-out goes on for a while after Argo CD and Kargo take it for done."""

import os
import time
from collections.abc import Mapping

from client import Tier

TIERS = ("frontend", "backend", "database")
# What was promoted, such as `frontend=1.0.0 backend=2.1.0 database=1.5.0`; empty where nobody says.
PROMOTED = dict(item.split("=") for item in os.environ.get("PROMOTED_VERSIONS", "").split())
IN_A_ROW = 5  # answers of a tier, of which each may come from another of its pods
PATIENCE = 60.0  # seconds


def wait_until_rolled_out(promoted: Mapping[str, str] = PROMOTED, patience: float = PATIENCE) -> None:
    """Wait until every tier is ready and answers in the version that was promoted, several times in a row.

    Raises:
        AssertionError: It is not so in time; says what was seen last.
    """
    until = time.monotonic() + patience
    for name in TIERS:
        tier, in_a_row = Tier(name), 0
        while in_a_row < IN_A_ROW:
            seen = _problem(tier, promoted.get(name, ""))
            in_a_row = 0 if seen else in_a_row + 1
            assert not seen or time.monotonic() < until, f"not rolled out after {patience:.0f} s: {seen}"
            time.sleep(0.2 if seen else 0)


def _problem(tier: Tier, wanted: str) -> str:
    try:
        ready, version = tier.get("/readyz"), tier.get("/version")
    except OSError as error:
        return f"{tier.name} does not answer: {error}"
    if ready.status != 200 or version.status != 200:
        return f"{tier.name} is not ready: {ready.text.strip()}"
    running = version.json["version"]
    return f"{tier.name} answers as {running}, and {wanted} was promoted" if wanted not in ("", running) else ""
