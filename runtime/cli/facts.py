"""Events on the screen: a line each, tokens as they come; as JSON, a document on each line."""

from __future__ import annotations

import re
import sys
import time
from typing import TextIO

import msgspec

from graphs.errors import GreenroomError
from graphs.journal import Pause, PauseKind
from graphs.threads import path_of
from runtime.documents import event_document, plain
from runtime.events import (
    Branched,
    BranchesJoined,
    BranchesStarted,
    Event,
    NodeFailed,
    NodeFinished,
    NodeStarted,
    Paused,
    Restored,
    Resumed,
    ThreadFinished,
    Token,
    TurnStarted,
)

DELTA_CHARS = 100
"""How much of what a node wrote is shown."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class EventPrinter:
    """Prints events as they come.

    Args:
        as_json: One JSON document on each line.
        file: Where to; standard output by default.
    """

    def __init__(self, *, as_json: bool, file: TextIO | None = None) -> None:
        self._as_json = as_json
        self._file = file or sys.stdout
        self._open: tuple[str, str] | None = None
        """Thread and node whose tokens stand on the line that is not finished yet."""

    def show(self, event: Event) -> None:
        """Print `event`."""
        if self._as_json:
            self._file.write(msgspec.json.encode(event_document(event)).decode() + "\n")
        elif isinstance(event, Token):
            self._token(event)
        else:
            self.end_line()
            clock = time.strftime("%H:%M:%S", time.localtime(event.at))
            text = one_line(describe(event))
            self._file.write(f"{clock}  {path_of(event.thread_id):<8} {event.seq:>4}  {text}\n")
        self._file.flush()

    def end_line(self) -> None:
        """Finish a line of tokens, if there is one."""
        if self._open is not None:
            self._file.write("\n")
            self._open = None

    def _token(self, token: Token) -> None:
        source = token.thread_id, token.node
        if self._open != source:
            self.end_line()
            self._file.write(f"{'':8}  {path_of(token.thread_id):<8} {token.seq:>4}  {token.node} says: ")
            self._open = source
        self._file.write(one_line(token.text))


def describe(event: Event) -> str:
    """What has happened, in a line."""
    match event:
        case TurnStarted():
            return f"turn {event.turn} started"
        case NodeStarted():
            again = f", attempt {event.attempt}" if event.attempt > 1 else ""
            return f"{event.node} runs on {event.by}{again}"
        case NodeFinished():
            tokens = f", {event.usage.total_tokens} tokens" if event.usage.calls else ""
            took_s = max(0.0, event.at - event.started_at)
            return f"{event.node} done on {event.by} in {took_s:.3f} s{tokens}: {_short(event.delta)}"
        case NodeFailed():
            return f"{event.node} failed on {event.by}: {event.error.message}"
        case BranchesStarted():
            return f"{event.node} starts {len(event.threads)} threads"
        case BranchesJoined():
            return f"{event.node} joined: {_short(event.delta)}"
        case Branched() | Restored() | Paused() | Resumed():
            return _interruption(event)
        case ThreadFinished():
            why = f": {event.error.message}" if event.error is not None else ""
            return f"turn {event.turn} {event.status}{why}"
        case _:
            return type(event).__name__


def one_line(text: str) -> str:
    """`text` without line breaks and whatever else a terminal would obey."""
    return _CONTROL.sub(" ", text)


def _interruption(event: Branched | Restored | Paused | Resumed) -> str:
    match event:
        case Restored() if event.delta:
            return f"updated with {_short(event.delta)}"
        case Restored():
            return f"restored to {event.origin[0]} at {event.origin[1]}"
        case Paused(pause=pause):
            return f"{pause.node} paused: {_waits_for(pause)}" if pause.node else f"paused: {_waits_for(pause)}"
        case Resumed(refusal=GreenroomError() as refusal):
            return f"{event.node} resumed: {refusal.message}"
        case Resumed():
            answer = f": {_short(event.delta)}" if event.delta else ""
            return f"{event.node} resumed{answer}" if event.node else "resumed"
        case Branched():
            update = f", with {_short(event.delta)}" if event.delta else ""
            return f"branched from {event.base[0]} at {event.base[1]}{update}"


def _waits_for(pause: Pause) -> str:
    match pause.kind:
        case PauseKind.HUMAN | PauseKind.APPROVAL:
            return pause.question
        case PauseKind.TIMER:
            assert pause.until is not None
            return f"until {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(pause.until))}"
        case PauseKind.ASKED:
            return pause.reason
        case PauseKind.SESSION:
            return f"with its session: {pause.reason}"
        case PauseKind.BRANCHES:
            return "all threads below it are"


def _short(delta: dict[str, object]) -> str:
    text = msgspec.json.encode(plain(delta)).decode()
    return text if len(text) <= DELTA_CHARS else f"{text[: DELTA_CHARS - 3]}..."
