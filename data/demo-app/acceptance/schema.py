"""Would anything that this version's migrations take away be missed where an earlier version runs?

Every version of the database says at `/schema` which columns it needs, which migrations its file has, and which columns
each of its own migrations takes away. Asked is, for every environment: of the columns that its file would lose if this
version came there, does the version that runs there now need any? That one would break at a rollback to it, and it is
what a rollback goes back to. Where nothing is taken away, nobody is asked. An environment that does not answer counts
as one that needs everything: nobody knows. One that was never rolled out has nothing to lose.
"""

import os
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from client import Tier
from rollout import wait_until_rolled_out

NEVER_ROLLED_OUT = "There is no Service"  # as the environment's gateway says it
PATIENCE = 20.0  # seconds: while a database is replaced, none answers


def lost(candidate: Mapping[str, Any], running: Mapping[str, Any]) -> dict[str, int]:
    """The columns that an environment's file would lose, and the migration that takes each away."""
    return {
        column: int(number)
        for number, columns in candidate["contracts"].items()
        if int(number) not in running["migrations"]
        for column in columns
    }


def missed(candidate: Mapping[str, Any], running: Mapping[str, Any]) -> list[str]:
    """What would be missed in an environment, a line for each column; nothing where nothing would."""
    if "needs" not in running:
        return ["it does not say which columns it needs"] if lost(candidate, running) else []
    return [
        f"it needs {column}, which migration {number:04} takes away"
        for column, number in sorted(lost(candidate, running).items())
        if column in running["needs"]
    ]


def problems(candidate: Mapping[str, Any], databases: Mapping[str, Tier], patience: float = PATIENCE) -> Iterator[str]:
    """Why this version must not go further, a line for each reason."""
    for environment, tier in databases.items():
        running, seen = _schema(tier, patience)
        if running is None and NEVER_ROLLED_OUT in seen:
            print(f"{environment} runs no database yet")
        elif running is None:
            yield f"{environment} does not say what it needs: {seen}"
        else:
            version = tier.get("/version").json["version"]
            found = missed(candidate, running)
            yield from (f"{environment} runs database {version}: {line}" for line in found)
            if not found:
                print(f"{environment} runs database {version}, which needs nothing that would be taken away there")


def _schema(tier: Tier, patience: float) -> tuple[dict[str, Any] | None, str]:
    """What an environment's database says of its schema; else what was seen last."""
    until = time.monotonic() + patience
    while True:
        try:
            answer = tier.get("/schema")
            if answer.status == 200:
                return answer.json, ""
            seen = f"{answer.status} {answer.text.strip()}"
        except OSError as error:
            seen = str(error)
        if NEVER_ROLLED_OUT in seen or time.monotonic() > until:
            return None, seen
        time.sleep(0.5)


def main() -> int:
    """Ask everywhere, say what was found, and end with 1 where something would be missed."""
    wait_until_rolled_out()
    candidate = Tier("database").get("/schema").json
    if not candidate.get("contracts"):
        print("passed: this version's migrations take nothing away")
        return 0
    databases = dict(item.split("=", 1) for item in os.environ["DATABASES"].split())
    found = list(problems(candidate, {name: Tier("database", url) for name, url in databases.items()}))
    print("\n".join(f"FAILED: {line}" for line in found) or "passed")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
