"""Where threads go, and how many hosts there should be. Pure functions of loads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def spread(threads: Sequence[str], loads: Mapping[str, int]) -> dict[str, str]:
    """Thread -> host: each thread goes to the host with the fewest threads, ties to the one named first.

    Args:
        threads: Threads to place, in order.
        loads: Host -> threads it has, at least one host.
    """
    now = dict(loads)
    placed: dict[str, str] = {}
    for thread in threads:
        host = min(now, key=now.__getitem__)
        now[host] += 1
        placed[thread] = host
    return placed


def wanted_hosts(thread_count: int, min_hosts: int, max_hosts: int) -> int:
    """Number of hosts for `thread_count` threads: one each, between the bounds."""
    return max(min_hosts, min(max_hosts, thread_count))
