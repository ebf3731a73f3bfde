"""Metrics for Prometheus: what the processes say of themselves, asked for when somebody scrapes, over loopback HTTP.

Nothing is counted for this that is not counted anyway, and one port tells of the whole cluster.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from actors.facts import BUCKETS_S
from actors.protocol import Cluster, ProcessInfo

LOOPBACK = "127.0.0.1"
SCRAPED_WITHIN_S = 5.0
"""How long the processes may take to answer; then the scrape fails."""
_WHO = ("process", "kind")

logger = logging.getLogger(__name__)

Describe = Callable[[], Awaitable[Cluster]]
"""Asks the processes how they are."""


def families(cluster: Cluster) -> Iterator[Metric]:
    """Everything there is to tell of a cluster. A process that has not answered is left out."""
    heard = [process for process in cluster.processes if process.facts.rss_bytes or process.facts.steps.count]
    memory = GaugeMetricFamily("greenroom_process_memory_bytes", "Physical memory.", labels=_WHO)
    memory.add_metric(("supervisor", "supervisor"), cluster.supervisor_rss_bytes)
    for process in heard:
        memory.add_metric(_who(process), process.facts.rss_bytes)
    yield memory
    yield from _of_hosts([process for process in heard if process.kind == "host"])
    yield from _of_executors([process for process in heard if process.kind != "host"])


def _of_hosts(hosts: Iterable[ProcessInfo]) -> Iterator[Metric]:
    running = GaugeMetricFamily("greenroom_threads_running", "Threads whose turns run.", labels=_WHO)
    waiting = GaugeMetricFamily("greenroom_turns_waiting", "Turns that wait for a place on a host.", labels=_WHO)
    started = CounterMetricFamily("greenroom_threads_started", "Threads whose turns began to run.", labels=_WHO)
    for host in hosts:
        running.add_metric(_who(host), host.facts.threads)
        waiting.add_metric(_who(host), host.facts.waiting)
        started.add_metric(_who(host), host.facts.threads_total)
    yield from (running, waiting, started)


def _of_executors(executors: Iterable[ProcessInfo]) -> Iterator[Metric]:
    steps = CounterMetricFamily("greenroom_steps", "Steps that are recorded.", labels=(*_WHO, "outcome"))
    seconds = HistogramMetricFamily("greenroom_step_seconds", "From a step's start to its record.", labels=_WHO)
    tokens = CounterMetricFamily("greenroom_model_tokens", "Tokens of language models.", labels=_WHO)
    for executor in executors:
        who, counts = _who(executor), executor.facts.steps
        steps.add_metric((*who, "completed"), counts.count - counts.failed)
        steps.add_metric((*who, "failed"), counts.failed)
        edges = (*map(str, BUCKETS_S), "+Inf")
        buckets = list(zip(edges, map(float, itertools.accumulate(counts.buckets)), strict=True))
        seconds.add_metric(who, buckets, counts.seconds)
        if executor.kind == "llm":
            tokens.add_metric(who, counts.tokens)
    yield from (steps, seconds, tokens)


class Metrics(Collector):
    """Serves metrics to whoever scrapes.

    Args:
        port: Port on the loopback address.
        describe: Asks the processes.
    """

    def __init__(self, port: int, describe: Describe) -> None:
        self._port = port
        self._describe = describe
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: tuple[WSGIServer, Thread] | None = None

    def start(self) -> None:
        """Begin to serve. A port that is taken is told in the log: threads run without metrics."""
        self._loop = asyncio.get_running_loop()
        registry = CollectorRegistry()
        registry.register(self)
        try:
            self._server = start_http_server(self._port, LOOPBACK, registry)
        except OSError as error:
            logger.warning("metrics are not served on port %d: %s; choose another metrics.port", self._port, error)

    def describe(self) -> Iterable[Metric]:
        """Nothing: names need not be known before the first scrape."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Ask the processes. Called by the server, in a thread of its own."""
        assert self._loop is not None, "start() comes first"
        asking = asyncio.run_coroutine_threadsafe(self._ask(), self._loop)
        return families(asking.result(timeout=SCRAPED_WITHIN_S))

    async def close(self) -> None:
        """Stop serving."""
        if self._server is not None:
            server, thread = self._server
            await asyncio.to_thread(server.shutdown)
            server.server_close()
            await asyncio.to_thread(thread.join)

    async def _ask(self) -> Cluster:
        return await self._describe()


def _who(process: ProcessInfo) -> tuple[str, str]:
    return process.address, process.kind
