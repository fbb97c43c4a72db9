"""The pause before a container is started again, or an image pulled again: doubling, as a kubelet's."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pauses:
    """How long pauses are, in seconds.

    Attributes:
        first: The first pause.
        longest: No pause is longer. After twice this time without trouble, the next pause is the first again.
    """

    first: float
    longest: float


class BackOff:
    """The pauses of one container or one image.

    The first failure is followed by no pause, the second by the first one: as with a kubelet, a pause counts from
    the failure that follows the one that set it.
    """

    def __init__(self, pauses: Pauses) -> None:
        self._pauses = pauses
        self.seconds = 0.0
        self._updated = 0.0

    def until(self, failed: float) -> float:
        """When the next try may be, after a failure at `failed`: that time itself, where there is no pause."""
        if self.seconds == 0 or failed - self._updated > 2 * self._pauses.longest:
            return failed
        return failed + self.seconds

    def next(self, failed: float) -> None:
        """A try follows the failure at `failed`: the next pause is longer."""
        expired = self.seconds == 0 or failed - self._updated > 2 * self._pauses.longest
        self.seconds = self._pauses.first if expired else min(2 * self.seconds, self._pauses.longest)
        self._updated = failed
