"""Killing random processes at times that a seed decides, while others work."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.faults.cluster import Cluster, kill

STORE = "valkey"
VICTIMS = {"host": 4, "function": 3, "tool": 1, "supervisor": 2, STORE: 1}
"""Kind -> how often it is chosen."""
LEAST_PAUSE_S = 0.5
STORE_PAUSE_S = 25.0
"""From one death of the store to the next: a keeper gives a server up that ends more than three times in a minute."""


@dataclass(frozen=True, slots=True)
class Kill:
    """One death to come."""

    at_s: float
    """Seconds after the beginning."""
    kind: str
    pick: float
    """Which of those of its kind, in order of their names: 0 the first, just below 1 the last."""


def schedule(seed: int, count: int, every_s: float) -> list[Kill]:
    """`count` deaths, one in about every `every_s` seconds."""
    chance = random.Random(seed)
    kills: list[Kill] = []
    at_s, store_again_s = 0.0, 0.0
    while len(kills) < count:
        at_s += every_s * chance.uniform(0.5, 1.5)
        (kind,) = chance.choices(list(VICTIMS), list(VICTIMS.values()))
        if kind == STORE:
            if at_s < store_again_s:
                continue
            store_again_s = at_s + STORE_PAUSE_S
        kills.append(Kill(round(at_s, 2), kind, chance.random()))
    return kills


@dataclass
class Killer:
    """Carries out a schedule in a thread of its own."""

    cluster: Cluster
    kills: list[Kill]
    done: list[str] = field(default_factory=list)
    """Who was killed, and when."""
    errors: list[BaseException] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Kill meanwhile; what goes wrong with that is raised in the end."""
        thread = threading.Thread(target=self._run, name="killer", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
        if self.errors:
            raise self.errors[0]

    def _run(self) -> None:
        begin = time.monotonic()
        try:
            for each in self.kills:
                # On a machine that is behind, those that have died must have time to come back, too.
                if self._stop.wait(max(LEAST_PAUSE_S, begin + each.at_s - time.monotonic())):
                    return
                victim = self._kill(each)
                self.done.append(f"{time.monotonic() - begin:6.2f} s: {victim}")
        except BaseException as error:  # noqa: BLE001 - raised by `at_work`
            self.errors.append(error)

    def _kill(self, each: Kill) -> str:
        if each.kind == STORE:
            self.cluster.kill_store()
            return STORE
        pids = self.cluster.pids(each.kind)
        if not pids:
            return f"no {each.kind} is there"
        name = list(pids)[int(each.pick * len(pids))]
        kill(pids[name])
        return name
