"""Latencies in a histogram of fixed size: millions take no more room than one."""

from __future__ import annotations

import msgspec
from hdrh.histogram import HdrHistogram

_LOWEST_US, _HIGHEST_US = 1, 24 * 3_600 * 1_000_000
PERCENTILES = (50.0, 95.0, 99.0, 99.9)


class LatencySummary(msgspec.Struct, frozen=True, kw_only=True):
    """Latencies of completed turns, in seconds. All 0 if there was none."""

    count: int
    mean_s: float
    p50_s: float
    p95_s: float
    p99_s: float
    p999_s: float
    max_s: float


class Band(msgspec.Struct, frozen=True, kw_only=True):
    """How many latencies were above `low_s` and not above `high_s`."""

    low_s: float
    high_s: float
    count: int


class Latencies:
    """A growing set of latencies. What is longer than a day counts as a day.

    Args:
        digits: Percentiles are exact to so many digits. A summary takes ten times as long for each more.
    """

    def __init__(self, digits: int = 3) -> None:
        self._digits = digits
        self._sum_us = 0
        self._max_us = 0
        self.clear()

    def add(self, latency_s: float) -> None:
        """Count one."""
        value_us = min(max(round(latency_s * 1e6), _LOWEST_US), _HIGHEST_US)
        self._histogram.record_value(value_us)
        # The library would go through all its counts to find these.
        self._sum_us += value_us
        self._max_us = max(self._max_us, value_us)

    def clear(self) -> None:
        """Forget all of them."""
        # Its reset() forgets to reset the total.
        self._histogram = HdrHistogram(_LOWEST_US, _HIGHEST_US, self._digits)
        self._sum_us = self._max_us = 0

    def summary(self) -> LatencySummary:
        """What there is to say about all of them."""
        count = self._histogram.get_total_count()
        if not count:
            return LatencySummary(count=0, mean_s=0.0, p50_s=0.0, p95_s=0.0, p99_s=0.0, p999_s=0.0, max_s=0.0)
        values_us = self._histogram.get_percentile_to_value_dict(PERCENTILES)
        p50, p95, p99, p999 = (min(values_us[percentile], self._max_us) / 1e6 for percentile in PERCENTILES)
        return LatencySummary(
            count=count,
            mean_s=self._sum_us / count / 1e6,
            p50_s=p50,
            p95_s=p95,
            p99_s=p99,
            p999_s=p999,
            max_s=self._max_us / 1e6,
        )

    def distribution(self, bands_per_decade: int = 20) -> list[Band]:
        """How many there are in bands that are equally wide on a logarithmic scale, from the first to the last."""
        bands: list[Band] = []
        ratio = 10 ** (1 / bands_per_decade)
        low, high = 0.0, float(_LOWEST_US)
        inside = 0
        for item in self._histogram.get_recorded_iterator():
            value = item.value_iterated_to
            while value > high:
                if inside or bands:
                    bands.append(Band(low_s=low / 1e6, high_s=high / 1e6, count=inside))
                low, high, inside = high, high * ratio, 0
            inside += item.count_at_value_iterated_to
        if inside:
            bands.append(Band(low_s=low / 1e6, high_s=high / 1e6, count=inside))
        return bands
