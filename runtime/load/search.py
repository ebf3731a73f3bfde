"""The highest rate that holds: probes of open loops in, the next rate to probe out. It measures nothing itself.

First the rate is doubled (or halved) until one rate holds and another fails; then the middle of the two is probed, on a
logarithmic scale, until they are close. Machines stumble, and a rate may hold by luck: so in the end both are probed
again, the first result that comes twice counts, and the search goes on from there if that is another one than before.
"""

from __future__ import annotations

import math

import msgspec

from graphs.errors import ValidationError

PRECISION = 0.05
MAX_PROBES = 30
FACTOR = 2.0
CONFIRMED = 2
"""How often a rate must have held, and the one above it failed, for the search to be sure."""


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement."""

    rate_per_s: float
    held: bool
    """Whether the goal was reached."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a search has found."""

    rate_per_s: float | None
    """The highest rate that held; None: not even the lowest that was probed."""
    fails_at_per_s: float | None
    """The lowest rate above it that failed; None: none did."""
    held_count: int
    """How often it held."""
    failed_count: int
    """How often it failed."""
    probes: int
    is_sure: bool
    """It held twice, another failed twice, and they are no further apart than was asked for."""
    why: str
    """In words."""


class Search:
    """Looks for the highest rate that holds.

    Args:
        start_per_s: The first rate.
        precision: How far the rate that holds and the one that fails may be apart in the end, as a part of the first.
        lowest_per_s: No rate below this is tried, unless it is the first one.
        max_probes: Most measurements.
    """

    def __init__(
        self,
        start_per_s: float,
        *,
        precision: float = PRECISION,
        lowest_per_s: float = 0.05,
        max_probes: int = MAX_PROBES,
    ) -> None:
        if not start_per_s > 0 or not precision > 0 or max_probes < 1:
            raise ValidationError("a search needs a rate, a precision and probes above 0", problems=["start_per_s"])
        self._start = _rounded(start_per_s)
        self._precision = precision
        self._lowest = lowest_per_s
        self._max_probes = max_probes
        self.probes: list[Probe] = []

    def next_rate(self) -> float | None:
        """The rate to probe next; None: the search is over."""
        if len(self.probes) >= self._max_probes:
            return None
        undecided = [rate for rate in self._rates() if self._decided(rate) is None]
        if undecided:
            return undecided[0]
        low, high = self._bracket()
        if low is None and high is None:
            return self._start
        if high is None:
            assert low is not None, "one of them is there"
            return _rounded(low * FACTOR)
        if low is None:
            return _rounded(high / FACTOR) if high / FACTOR >= self._lowest else None
        if not self._is_close(low, high):
            return _rounded(math.sqrt(low * high))
        if self._count(low, held=True) < CONFIRMED:
            return low
        return high if self._count(high, held=False) < CONFIRMED else None

    def take(self, probe: Probe) -> None:
        """Note what a measurement has shown."""
        self.probes.append(probe)

    def finding(self) -> Finding:
        """What has been found so far."""
        low, high = self._bracket()
        held = 0 if low is None else self._count(low, held=True)
        failed = 0 if low is None else self._count(low, held=False)
        sure = (
            low is not None
            and high is not None
            and self._is_close(low, high)
            and held >= CONFIRMED
            and self._count(high, held=False) >= CONFIRMED
        )
        return Finding(
            rate_per_s=low,
            fails_at_per_s=high,
            held_count=held,
            failed_count=failed,
            probes=len(self.probes),
            is_sure=sure,
            why=self._why(low, high, held, failed, sure=sure),
        )

    def _why(self, low: float | None, high: float | None, held: int, failed: int, *, sure: bool) -> str:
        if low is None:
            return f"no rate held; {high:g}/s, the lowest that was tried, failed" if high else "nothing was measured"
        said = f"{low:g}/s held in {held} of {held + failed} measurements"
        if high is None:
            return f"{said}; nothing above it was seen to fail: it may be higher"
        said += f", {high:g}/s ({high / low - 1:.0%} more) failed in {self._count(high, held=False)}"
        return said if sure else f"{said}; {self._max_probes} measurements did not suffice to be surer"

    def _bracket(self) -> tuple[float | None, float | None]:
        """The highest rate that holds, below the lowest one that fails; and that one."""
        failing = [rate for rate in self._rates() if self._decided(rate) is False]
        high = min(failing, default=None)
        holding = [rate for rate in self._rates() if self._decided(rate) and (high is None or rate < high)]
        return max(holding, default=None), high

    def _decided(self, rate: float) -> bool | None:
        """Whether a rate holds, as far as is known; None: it has to be probed again."""
        held, failed = self._count(rate, held=True), self._count(rate, held=False)
        return None if held == failed else held > failed

    def _is_close(self, low: float, high: float) -> bool:
        return high / low <= 1 + self._precision

    def _rates(self) -> list[float]:
        return list(dict.fromkeys(probe.rate_per_s for probe in self.probes))

    def _count(self, rate: float, *, held: bool) -> int:
        return sum(probe.held == held for probe in self.probes if probe.rate_per_s == rate)


def _rounded(rate_per_s: float) -> float:
    """A rate as people write it: four digits are more than can be measured."""
    return float(f"{rate_per_s:.4g}")
