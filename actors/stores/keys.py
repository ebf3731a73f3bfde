"""Names of keys. All keys of a session share the hash tag `{session_id}`, so a script may touch any of them."""

from __future__ import annotations

from graphs.threads import path_of, session_of

SESSIONS = "gr:sessions"
"""Sorted set: session id by created_at."""
ACTIVE = "gr:sessions:active"
"""Sorted set: session id by the last time something began or ended in it."""
OPEN = "gr:open"
"""Hash: root thread somebody has to work on -> the host that does."""
TIMERS = "gr:timers"
"""Sorted set: paused root thread by the time it goes on."""
INCARNATIONS = "gr:incarnations"
"""Number: how often somebody has asked for the next one."""
SNAPSHOT_SESSIONS = "gr:snapshots"
"""Set: ids of sessions that have had named snapshots."""
WORKFLOWS = "gr:workflows"
PROGRAMS = "gr:workflows:programs"
"""Hash: `id@version+build` -> sealed spec."""
WORKFLOW_INDEX = "gr:workflows:index"
"""Hash: `created:{ref}` and `updated:{ref}` -> Unix seconds, `latest:{alias}` -> ref."""
HISTORY_SERIES = "gr:history:series"
"""Hash: label of a series of the history -> its number, from 1 (see `graphs.history.Series`)."""
HISTORY_LAST = "gr:history:last"
"""Number: id of the newest row of the history."""


def session(session_id: str) -> str:
    """Hash of a session: its sealed record, and its state in plain unless it is active.

    Also what its models have used: `used:` and the name of a counter (see `graphs.history.Counter`).
    """
    return f"gr:{{{session_id}}}"


def interactions(session_id: str) -> str:
    """List: a session's sealed interactions without their inputs; the first starts turn 1."""
    return f"gr:{{{session_id}}}:interactions"


def inputs(session_id: str) -> str:
    """Hash: turn that has not begun -> its sealed input. Once it has begun, its first entry holds the input."""
    return f"gr:{{{session_id}}}:inputs"


def turns(session_id: str) -> str:
    """Hash: interaction id -> number of its turn."""
    return f"gr:{{{session_id}}}:turns"


def latest(alias: str) -> str:
    """Field of the index of workflows that names the build which `id@version` or `id` stands for."""
    return f"latest:{alias}"


def aliases(ref: str) -> tuple[str, str]:
    """What else a workflow `id@version+build` is called: `id@version` and `id`."""
    return ref.partition("+")[0], ref.partition("@")[0]


def user_sessions(user_id: str) -> str:
    """Sorted set: ids of a user's sessions by created_at."""
    return f"gr:sessions:user:{user_id}"


def threads(session_id: str) -> str:
    """List: paths of a session's threads, oldest first."""
    return f"gr:{{{session_id}}}:threads"


def record(thread_id: str) -> str:
    """Hash of a thread: thread, epoch, host, seq, cursor, updated_at, fenced.

    Also `kept` and `kept_bytes`: seq and size of the newest snapshot; `tail_bytes`: size of the entries after it.
    """
    return f"gr:{{{session_of(thread_id)}}}:t:{path_of(thread_id)}"


def journal(thread_id: str) -> str:
    """Stream of a thread's entries; entry `seq` has the id `{seq}-0`."""
    return f"gr:{{{session_of(thread_id)}}}:j:{path_of(thread_id)}"


def snapshots(thread_id: str) -> str:
    """Hash of a thread's snapshots: seq -> sealed snapshot."""
    return f"gr:{{{session_of(thread_id)}}}:s:{path_of(thread_id)}"


def named_snapshots(session_id: str) -> str:
    """Hash of the snapshots somebody has named: id -> sealed record."""
    return f"gr:{{{session_id}}}:snapshots"


def limits(name: str) -> list[str]:
    """Of the limits of a model: hash of its buckets, tickets that wait by their place, and by when they lose it."""
    return [f"gr:limits:{{{name}}}", f"gr:limits:{{{name}}}:waiting", f"gr:limits:{{{name}}}:leases"]


def cached(key: str) -> str:
    """String that expires: something that was worked out, sealed."""
    return f"gr:cache:{key}"


def live(thread_id: str) -> str:
    """Stream of a thread's live events."""
    return f"gr:{{{session_of(thread_id)}}}:l:{path_of(thread_id)}"


def value(session_id: str, digest: str) -> str:
    """Hash of a large value: number of the chunk, from 0, -> chunk."""
    return f"gr:{{{session_id}}}:v:{digest}"


def values(session_id: str) -> str:
    """Hash of a session's large values: digest -> size in bytes, 0 while it is being stored."""
    return f"gr:{{{session_id}}}:values"


def history_series(number: int) -> str:
    """Stream of the rows of a series: row `id` has the id `{id}-0`, and the field `r`: thread id, seq, number."""
    return f"gr:history:s:{number}"


def session_history(session_id: str) -> str:
    """List of a session's rows of the history, by id: id, number of the series, path of the thread, seq, number.

    A sorted set would be four times as large.
    """
    return f"gr:{{{session_id}}}:h"


def user_history(user_id: str) -> str:
    """Sorted set of a user's rows of the history, by id: number of the series, thread id, seq, number."""
    return f"gr:history:u:{user_id}"


def history_day(day: int, workflow: str) -> str:
    """Hash: `{series} {counter}` -> what is counted on a day, which is given in days since 1970."""
    return f"gr:history:day:{day}:{workflow}"


def history_hour(hour: int, workflow: str) -> str:
    """Hash: the same for one hour, in hours since 1970."""
    return f"gr:history:hour:{hour}:{workflow}"


def history_users(day: int, workflow: str) -> str:
    """Hash: `{kind of row}{counter} {user}` -> what is counted on a day."""
    return f"gr:history:users:{day}:{workflow}"


def history_days(workflow: str) -> str:
    """Sorted set: days on which something was counted."""
    return f"gr:history:days:{workflow}"
