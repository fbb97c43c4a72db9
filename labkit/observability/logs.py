"""What the demo app says: the log lines of its pods, of all tiers together, in the order in which they came."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pandas as pd
from kubernetes.client.exceptions import ApiException

from labkit.clusters import kube
from labkit.config import NAMESPACE, Environment, Lab
from labkit.errors import LabError, UsageError
from labkit.kube import UNREACHABLE

# From the least to the most urgent, as the app writes them.
LEVELS = ("debug", "info", "warning", "error", "critical")

_TIER = "app.kubernetes.io/name"
_TIMEOUT = 60  # seconds: a log may have megabytes
# How an API server says that a container has no log: it has not started, or its pod is gone meanwhile.
_NO_LOG = (400, 404)
# A frame of a Python traceback: file, line, function.
_PLACE = re.compile(r'^ *File "(?:[^"]*/)?([^"/]+)", line (\d+), in (\S+)', re.MULTILINE)


def app_logs(
    lab: Lab,
    environment: str,
    *,
    tier: str = "",
    level: str = "",
    since_seconds: int = 0,
    request_id: str = "",
    limit: int = 1000,
) -> pd.DataFrame:
    """The demo app's log lines in one environment, newest last.

    Args:
        lab: The lab.
        environment: The environment's name.
        tier: One of the tiers; all of them where empty.
        level: The lines of this level (see `LEVELS`) and of more urgent ones; all lines where empty.
        since_seconds: How many seconds to look back; as far as the logs go where 0.
        request_id: The lines about one request; about all where empty.
        limit: How many lines at most, the newest.

    Returns:
        As `parse_lines` returns them.

    Raises:
        LabError: The API server does not answer, or refuses.
        UsageError: There is no such environment, tier or level.
    """
    where = lab.environment(environment)
    if tier and tier not in lab.tiers:
        raise UsageError(f"There is no tier {tier!r}", todo=f"use one of: {', '.join(lab.tiers)}")
    if level and level not in LEVELS:
        raise UsageError(f"There is no level {level!r}", todo=f"use one of: {', '.join(LEVELS)}")
    asked = {"sinceSeconds": since_seconds} if since_seconds else {}
    if not level and not request_id:
        # Where only some lines are wanted, more than the last ones have to be looked at.
        asked["tailLines"] = limit
    selector = f"{_TIER} in ({tier or ','.join(lab.tiers)})"
    frames = [
        parse_lines(_lines(lab, where, pod["metadata"], asked), environment, _tier(pod), pod["metadata"]["name"])
        for pod in kube(lab, where).list("v1", "Pod", NAMESPACE, selector=selector)
    ]
    return select_lines(_merged(frames), level=level, request_id=request_id).tail(limit).reset_index(drop=True)


def parse_lines(lines: Iterable[str], environment: str = "", tier: str = "", pod: str = "") -> pd.DataFrame:
    """Log lines as a table, in their order.

    Args:
        lines: What a container has written: JSON, as the demo app does, or anything.
        environment: Where it runs.
        tier: What it is.
        pod: Its pod.

    Returns:
        A row for each line. Columns: `time` (datetime64[ns, UTC]), `level`, `environment`, `tier`, `pod`, `message`,
        `requestId` (object), `status` (Int64), `milliseconds` (float64), `exception` (object): where it was raised and
        what it says, and `text` (object): the line as it was written. What a line does not tell is empty; so is
        everything but its `text` in a line that is no JSON.
    """
    texts = list(lines)
    told = [_told(text) for text in texts]
    return pd.DataFrame(
        {
            "time": pd.Series([_time(item.get("time")) for item in told], dtype="datetime64[ns, UTC]"),
            "level": _words(_word(item.get("level")).lower() for item in told),
            "environment": _words(environment for _ in told),
            "tier": _words(tier for _ in told),
            "pod": _words(pod for _ in told),
            "message": _words(_word(item.get("message")) for item in told),
            "requestId": _words(_word(item.get("requestId")) for item in told),
            "status": pd.Series([_whole(item.get("status")) for item in told], dtype="Int64"),
            "milliseconds": pd.Series([_number(item.get("milliseconds")) for item in told], dtype="float64"),
            "exception": _words(_raised(_word(item.get("exception"))) for item in told),
            "text": _words(texts),
        }
    )


def select_lines(frame: pd.DataFrame, *, level: str = "", request_id: str = "") -> pd.DataFrame:
    """The lines of a level or of more urgent ones, about one request.

    Args:
        frame: As `parse_lines` returns it.
        level: One of `LEVELS`; lines without a level of those are left out. All lines where empty.
        request_id: The request's id; all requests where empty.
    """
    if level:
        frame = frame[frame["level"].isin(LEVELS[LEVELS.index(level) :])]
    if request_id:
        frame = frame[frame["requestId"] == request_id]
    return frame


def _tier(pod: Mapping[str, Any]) -> str:
    return str(pod["metadata"]["labels"][_TIER])


def _lines(lab: Lab, environment: Environment, pod: Mapping[str, Any], asked: Mapping[str, int]) -> list[str]:
    """The lines of a pod's one container, which is called as its tier."""
    query = urlencode({"container": pod["labels"][_TIER], **asked})
    try:
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['name']}/log?{query}"
        text = kube(lab, environment).raw(path, timeout=_TIMEOUT)
    except UNREACHABLE as error:
        if isinstance(error, ApiException) and error.status in _NO_LOG:
            return []
        raise LabError(
            f"{environment.context} does not tell the log of {pod['name']}",
            seen=str(error).strip(),
            todo="`labkit status` shows what runs, `labkit up` starts what does not",
        ) from error
    return text.removesuffix("\n").split("\n") if text else []


def _merged(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Lines in order of time; a line without one stays with those that its pod wrote around it."""
    together = pd.concat([parse_lines([]), *frames], ignore_index=True)
    times = together.groupby("pod", sort=False)["time"].transform(lambda of_pod: of_pod.ffill().bfill())
    return together.loc[times.sort_values(kind="stable").index]


def _told(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _words(words: Iterable[str]) -> pd.Series[Any]:
    return pd.Series(list(words), dtype=object)


def _word(value: Any) -> str:
    return "" if value is None else str(value)


def _raised(traceback: str) -> str:
    """Of a traceback, the place where it was raised and what was: `orders.py:66 in order: KeyError: 'TAX_RATE'`."""
    last = traceback.strip().rpartition("\n")[2]
    places = _PLACE.findall(traceback)
    return f"{places[-1][0]}:{places[-1][1]} in {places[-1][2]}: {last}" if places else last


def _time(value: Any) -> Any:
    try:
        found = datetime.fromisoformat(value)
        return pd.Timestamp(found if found.tzinfo else found.replace(tzinfo=UTC)).tz_convert("UTC").as_unit("ns")
    except (TypeError, ValueError, OverflowError):
        return pd.NaT


def _whole(value: Any) -> Any:
    fits = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    return value if fits else pd.NA


def _number(value: Any) -> float:
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")
    except OverflowError:
        return float("nan")
