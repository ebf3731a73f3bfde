"""What has come of a load so far: every turn that was to be started is in exactly one of its numbers."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

import msgspec

from actors.errors import Overloaded
from graphs.errors import GreenroomError
from runtime.load.latencies import Latencies, LatencySummary

MAX_ERRORS = 50
"""Most different errors that are counted one by one."""
OTHER = "(others)"
MESSAGE_CHARS = 300


class Outcome(StrEnum):
    """How a turn of a load test ended."""

    COMPLETED = "completed"
    PAUSED = "paused"
    """It waits for a person: its workflow asks."""
    FAILED = "failed"
    REFUSED = "refused"
    """It was not accepted: too many waited."""
    TIMED_OUT = "timed_out"
    ABANDONED = "abandoned"
    """It was under way when the test was over, and was given up."""


FINE = (Outcome.COMPLETED, Outcome.PAUSED)


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How one turn ended."""

    outcome: Outcome
    error: str = ""
    """Code of the error, such as `Overloaded`."""
    message: str = ""
    thread_id: str = ""


COMPLETED = Ending(outcome=Outcome.COMPLETED)
ABANDONED = Ending(
    outcome=Outcome.ABANDONED, error="Abandoned", message="it was not over when the load test had waited long enough"
)


def ending_of(error: GreenroomError) -> Ending:
    """How a turn ended that could not be run to its end."""
    outcome = Outcome.REFUSED if isinstance(error, Overloaded) else Outcome.FAILED
    return Ending(outcome=outcome, error=type(error).__name__, message=error.message)


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to see of the processes at one time."""

    hosts: int = 0
    executors: int = 0
    running: int = 0
    """Threads whose turns run on hosts."""
    waiting: int = 0
    """Turns that wait for a place on a host."""
    memory_bytes: dict[str, int] = {}
    """Kind of process -> memory of all of them, as far as it is known."""


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the timeline."""

    at_s: float
    """Its end, in seconds after the start."""
    seconds: float
    phase: str
    """`ramp`, `warm-up`, `measured` or `drain`: where its end lies."""
    arrived: int
    ended: dict[Outcome, int]
    """Outcome -> turns that ended so. Outcomes of none are left out."""
    in_flight: int
    """Turns under way at its end."""
    latency: LatencySummary
    """Of the turns that completed in it, whenever they arrived."""
    seen: Seen | None
    """None: nobody answered."""

    @property
    def completed_per_s(self) -> float:
        """Turns that completed in a second."""
        completed = sum(self.ended.get(outcome, 0) for outcome in FINE)
        return completed / self.seconds if self.seconds else 0.0

    @property
    def errors(self) -> int:
        """Turns that ended otherwise."""
        return sum(count for outcome, count in self.ended.items() if outcome not in FINE)


class ErrorCount(msgspec.Struct, kw_only=True):
    """Turns that have not completed for one reason."""

    outcome: Outcome
    error: str
    count: int
    message: str
    """Of the first of them."""
    thread_id: str
    """The first of them; empty if it was not accepted."""


class Tally:
    """Counts turns. The measured ones are those that arrive from `begin_s` on, before `end_s`, whenever they end.

    Args:
        ramp_s: When the warm-up begins. All times are seconds after the start.
        begin_s: When it begins to be measured.
        end_s: When nothing arrives any more.
    """

    def __init__(self, *, ramp_s: float, begin_s: float, end_s: float) -> None:
        self.ramp_s, self.begin_s, self.end_s = ramp_s, begin_s, end_s
        self.in_flight = 0
        self.arrived = 0
        """Measured turns."""
        self.ended: Counter[Outcome] = Counter()
        """Measured turns by their outcome."""
        self.completed_within = 0
        """Turns that completed while it was measured, whenever they arrived."""
        self.latencies = Latencies()
        """Of measured turns that completed, from when they were to arrive."""
        self.lags = Latencies()
        """From when measured turns were to arrive until they were sent: how late the load test itself was."""
        self.errors: dict[tuple[Outcome, str], ErrorCount] = {}
        """Of measured turns."""
        self.timeline: list[Interval] = []
        self.seen: Seen | None = None
        self._interval_begin_s = 0.0
        self._interval_arrived = 0
        self._interval_ended: Counter[Outcome] = Counter()
        self._interval_latencies = Latencies(digits=2)  # summed up again and again, while it is measured

    def start(self, arrival_s: float, now_s: float) -> None:
        """A turn that was to arrive at `arrival_s` is sent now."""
        self.in_flight += 1
        self._interval_arrived += 1
        if self._is_measured(arrival_s):
            self.arrived += 1
            self.lags.add(now_s - arrival_s)

    def end(self, arrival_s: float, now_s: float, ending: Ending) -> None:
        """A turn that was started has ended now."""
        self.in_flight -= 1
        self._interval_ended[ending.outcome] += 1
        fine = ending.outcome in FINE
        if fine:
            self._interval_latencies.add(now_s - arrival_s)
            self.completed_within += self._is_measured(now_s)
        if self._is_measured(arrival_s):
            self.ended[ending.outcome] += 1
            if fine:
                self.latencies.add(now_s - arrival_s)
            else:
                self._count_error(ending)

    def tick(self, now_s: float, seen: Seen | None) -> Interval:
        """End a row of the timeline now, with what is to be seen."""
        self.seen = seen
        interval = Interval(
            at_s=now_s,
            seconds=now_s - self._interval_begin_s,
            phase=self.phase(now_s),
            arrived=self._interval_arrived,
            ended=dict(self._interval_ended),
            in_flight=self.in_flight,
            latency=self._interval_latencies.summary(),
            seen=seen,
        )
        self.timeline.append(interval)
        self._interval_begin_s = now_s
        self._interval_arrived = 0
        self._interval_ended.clear()
        self._interval_latencies.clear()
        return interval

    def phase(self, now_s: float) -> str:
        """What a time belongs to."""
        if now_s <= self.ramp_s:
            return "ramp"
        if now_s <= self.begin_s:
            return "warm-up"
        return "measured" if now_s <= self.end_s else "drain"

    @property
    def failed(self) -> int:
        """Measured turns that have ended otherwise than they should."""
        return sum(count for outcome, count in self.ended.items() if outcome not in FINE)

    @property
    def completed_per_s(self) -> float:
        """Turns that completed in a second while it was measured."""
        return self.completed_within / (self.end_s - self.begin_s)

    def _is_measured(self, at_s: float) -> bool:
        return self.begin_s <= at_s < self.end_s

    def _count_error(self, ending: Ending) -> None:
        key = (ending.outcome, ending.error)
        if key not in self.errors and len(self.errors) >= MAX_ERRORS:
            key = (ending.outcome, OTHER)
        if key in self.errors:
            self.errors[key].count += 1
            return
        message = " ".join(ending.message.split())[:MESSAGE_CHARS]
        self.errors[key] = ErrorCount(
            outcome=key[0], error=key[1], count=1, message=message, thread_id=ending.thread_id
        )
