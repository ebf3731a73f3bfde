"""What goes wrong between us and the server: what will pass, and what to tell the user."""

from __future__ import annotations

from redis import exceptions
from tenacity import wait_random_exponential

from actors.errors import StoreUnavailable

BACKOFF = wait_random_exponential(multiplier=0.02, max=1.0)
"""Seconds between attempts: at random up to 0.02, doubled each time, at most 1."""

_PASSING = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,
    exceptions.ClusterDownError,
    exceptions.TryAgainError,
    exceptions.OutOfMemoryError,
    exceptions.NoScriptError,
)
# Errors for which redis-py has no class.
_PASSING_CODES = ("BUSY ", "MISCONF ", "NOREPLICAS ", "UNBLOCKED ")
_REFUSED = (exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.NoPermissionError)


def is_transient(error: BaseException) -> bool:
    """Whether the same command may succeed later: a lost connection, a restart, a failover, a full memory."""
    if isinstance(error, _REFUSED):
        return False
    return isinstance(error, _PASSING) or (
        isinstance(error, exceptions.ResponseError) and str(error).startswith(_PASSING_CODES)
    )


def unavailable(error: BaseException, server: str) -> StoreUnavailable:
    """`error` as one line for the user.

    Args:
        error: What redis-py raised.
        server: URL of the server without user and password.
    """
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, _REFUSED):
        text = f"the store at {server} refuses us ({reason}); put the right user and password in the store URL"
    elif isinstance(error, exceptions.OutOfMemoryError):
        text = f"the store at {server} is out of memory; raise its maxmemory or prune sessions"
    elif is_transient(error):
        text = f"the store at {server} cannot be reached ({reason}); check that it runs and that the store URL is right"
    else:
        text = f"the store at {server} refuses a command ({reason}); it must be a single Redis >= 6.2 or Valkey server"
    return StoreUnavailable(text, url=server)


def closed(server: str) -> StoreUnavailable:
    """The store was closed on our side."""
    return StoreUnavailable(f"the connection to the store at {server} is closed; connect again", url=server)
