"""What a program of the lab's does around its work: its one option, its log, and one clear message when it fails."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from labkit.errors import LabError

_TALKATIVE = ("httpx", "tornado.access")


def run_program(module: str, name: str, about: str | None, work: Callable[[Path], Coroutine[Any, Any, None]]) -> int:
    """Run a program until its work is over, as the command line asks.

    Args:
        module: Its module, as in `python -m MODULE`.
        name: What it is called where it cannot start.
        about: What its help says.
        work: Takes the path of the configuration file.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=about)
    parser.add_argument("--config", type=Path, required=True, help="the configuration file (YAML)")
    parser.add_argument("--verbose", action="store_true", help="log more")
    arguments = parser.parse_args()
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if arguments.verbose else logging.INFO,
        format="%(asctime)s.%(msecs)03d %(levelname)s %(name)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    if not arguments.verbose:
        for library in _TALKATIVE:
            logging.getLogger(library).setLevel(logging.WARNING)
    try:
        asyncio.run(work(arguments.config))
    except LabError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"{name} could not start: {error}", file=sys.stderr)
        return 1
    return 0


async def until_told_to_stop(work: Coroutine[Any, Any, None]) -> None:
    """Do work that has no end of its own, until the program gets SIGINT or SIGTERM."""
    working = asyncio.create_task(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, working.cancel)
    try:
        await working
    except asyncio.CancelledError:
        return
