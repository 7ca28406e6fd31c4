"""How much of something may happen: at once, and per second."""

from __future__ import annotations

import time
from collections.abc import Callable


class Allowance:
    """A store of `most`, filled again at `per_second`. Starts full."""

    def __init__(self, most: float, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._per_second = per_second
        self._clock = clock
        self._left = most
        self._at = clock()

    def left(self) -> float:
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self._per_second)
        self._at = now
        return self._left

    def take(self, amount: float, *, at_least: float = 0) -> bool:
        """Takes `amount` when that much is there, and no less than `at_least`; False changes nothing."""
        if self.left() < max(amount, at_least):
            return False
        self._left -= amount
        return True

    def spend(self, amount: float) -> None:
        """Takes `amount` although less may be there; what is missing is filled first."""
        self._left = self.left() - amount
