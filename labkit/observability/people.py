"""What people get from the demo app, all together, as Prometheus has counted it."""

from __future__ import annotations

from dataclasses import dataclass

from labkit.config import Lab
from labkit.observability.panels import OF_PEOPLE
from labkit.observability.series import instant
from labkit.tables import Record
from labkit.wait import wait_for

_WINDOW_SECONDS = 15


@dataclass(frozen=True, repr=False)
class Served(Record):
    """What people have got from an environment in the last seconds, by the metrics of those who ask.

    Attributes:
        environment: The environment.
        seconds: How many seconds.
        requests: How many requests there were, about: the counters are read every 5 s.
        failed: How many of them were answered with 5xx, or not at all.
        answered: How many the frontends have counted themselves, since each was read twice.
    """

    environment: str
    seconds: int
    requests: float
    failed: float
    answered: float


def frontends_counter(environment: str) -> str:
    """The series in which an environment's frontends count what they have answered people, as PromQL selects them."""
    return f'http_requests_total{{environment="{environment}", tier="frontend", {OF_PEOPLE}}}'


def wait_until_served(lab: Lab, environment: str) -> Served:
    """Wait until people get what they ask for: for some seconds there are requests, and none has failed.

    By those who ask, and by the frontends, which may be new: their counters say something after two readings.

    Args:
        lab: The lab, with traffic.
        environment: The environment's name.

    Raises:
        LabError: They do not, in time.
    """
    name = lab.environment(environment).name
    return wait_for(
        f"people to be served in {name}",
        lambda: _served(lab, name),
        lambda now: now.requests > 0 and now.failed == 0 and now.answered > 0,
        describe=lambda now: (
            f"{now.failed:.0f} of {now.requests:.0f} requests failed, frontends counted {now.answered:.0f}"
        ),
        interval=1,
        timeout=lab.limits.promotion_seconds,
        todo="`labkit app-logs prod --level error`, and `labkit pages`",
    )


def _served(lab: Lab, environment: str) -> Served:
    where = f'traffic_requests_total{{environment="{environment}"}}'
    counted = instant(lab, f"sum by (outcome) (increase({where}[{_WINDOW_SECONDS}s]))")
    failed = counted["value"][counted.get("outcome", counted["value"]) != "ok"].sum()
    answered = instant(lab, f"sum(increase({frontends_counter(environment)}[{_WINDOW_SECONDS}s]))")["value"].sum()
    return Served(
        environment,
        _WINDOW_SECONDS,
        requests=round(float(counted["value"].sum()), 1),
        failed=round(float(failed), 1),
        answered=round(float(answered), 1),
    )
