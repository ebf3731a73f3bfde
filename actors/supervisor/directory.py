"""Which thread lives on which host: the supervisor's book, without any I/O."""

from __future__ import annotations

from collections.abc import Iterable


class Directory:
    """Hosts, the threads placed on each, and how many have ever been."""

    def __init__(self) -> None:
        self._host_of: dict[str, str] = {}
        self._threads: dict[str, set[str]] = {}
        self._placed_total: dict[str, int] = {}
        self._parent_host: dict[str, str] = {}
        """Thread -> the host of its parent, which asked for the place and will give it back."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """Addresses of the hosts, in the order they were added."""
        return tuple(self._threads)

    def add_host(self, host: str) -> None:
        """A host has started."""
        self._threads.setdefault(host, set())
        self._placed_total.setdefault(host, 0)

    def remove_host(self, host: str) -> set[str]:
        """A host has died; the threads that lived there, which now live nowhere.

        Nor do those it had asked places for: it cannot give them back any more, and whoever takes up their parents asks
        again for those that still run.
        """
        threads = self._threads.pop(host, set())
        self._placed_total.pop(host, None)
        for thread in threads:
            del self._host_of[thread]
            self._parent_host.pop(thread, None)
        self.release([thread for thread, parent_host in self._parent_host.items() if parent_host == host])
        return threads

    def host_of(self, thread: str) -> str | None:
        """Where a thread lives."""
        return self._host_of.get(thread)

    def assign(self, thread: str, host: str) -> None:
        """`thread` lives on `host` now."""
        self.release((thread,))
        self._host_of[thread] = host
        self._threads[host].add(thread)
        self._placed_total[host] += 1

    def note_parent(self, threads: Iterable[str], host: str) -> None:
        """The parent of these threads is on `host`; unknown ones are ignored."""
        for thread in threads:
            if thread in self._host_of:
                self._parent_host[thread] = host

    def release(self, threads: Iterable[str]) -> None:
        """These threads live nowhere now; unknown ones are ignored."""
        for thread in threads:
            self._parent_host.pop(thread, None)
            host = self._host_of.pop(thread, None)
            if host is not None:
                self._threads[host].discard(thread)

    def load(self, host: str) -> int:
        """Number of threads that live on `host`."""
        return len(self._threads[host])

    def placed_total(self, host: str) -> int:
        """Number of threads ever placed on `host`."""
        return self._placed_total[host]

    @property
    def size(self) -> int:
        """Number of threads that live somewhere."""
        return len(self._host_of)

    def validate(self) -> None:
        """Check that both sides of the book agree."""
        listed = {thread: host for host, threads in self._threads.items() for thread in threads}
        assert listed == self._host_of, "threads by host and hosts by thread differ"
        assert self._parent_host.keys() <= self._host_of.keys(), "a thread that lives nowhere has a parent"
        assert self._placed_total.keys() == self._threads.keys(), "a host is missing from the totals"
