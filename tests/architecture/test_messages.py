"""Every message of the protocol is the same after it has been encoded and decoded."""

from __future__ import annotations

import types
import typing
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from actors import protocol
from actors.facts import ProcessFacts, StepCounts
from actors.llm.settings import ModelSettings, Script
from actors.protocol import Message, decode_reply, decode_request, encode
from actors.tools.settings import ToolSettings
from graphs.budgets import Budget
from graphs.calls import MonetaryAmount
from graphs.errors import ErrorInfo
from graphs.journal import Cursor, EntryKind, Fork, JournalEntry, Pause, PauseKind, Usage
from graphs.sessions import Session, SessionContext, SessionState
from graphs.threads import Durability, Thread, ThreadPriority, ThreadState, ThreadType
from graphs.tools import ToolExecutionResult

REQUESTS = typing.get_args(protocol.Request)
REPLIES = typing.get_args(protocol.Reply)

ERROR = ErrorInfo(code="BranchFailed", message="branch 1 failed", fields={"index": 1}, retryable=True)
SAMPLES: dict[Any, Any] = {
    str: "a ü",
    int: 7,
    bool: True,
    bytes: b"\x00\xff",
    float: 1.5,
    Usage: Usage(prompt_tokens=1, completion_tokens=2, calls=3, cost=(MonetaryAmount(amount=Decimal("0.10")),)),
    Budget: Budget(tokens=3, cost=(MonetaryAmount(amount=Decimal("0.10")),), until=1.5),
    ErrorInfo: ERROR,
    ThreadState: ThreadState.CANCELLED,
    SessionState: SessionState.PAUSED,
    ThreadPriority: ThreadPriority.CRITICAL,
    Durability: Durability.EXIT,
    Pause: Pause(kind=PauseKind.TIMER, node="n", question="q", until=1.5, reason="r", tool="t"),
    Cursor: Cursor(
        turn=2,
        status=ThreadState.RUNNING,
        stop_at="join",
        steps=4,
        fork=Fork(node="f", seq=3, join="j", targets=("a", "b")),
        error=ERROR,
    ),
    JournalEntry: JournalEntry(
        seq=3,
        kind=EntryKind.STEP_FINISHED,
        cursor=Cursor(turn=1, status=ThreadState.RUNNING, node="n"),
        at=1.5,
        node="m",
        deltas=(b"\x00",),
        origin=("s:0", 2),
    ),
    Session: Session(id="s", user_id="u", workflow_id="w@1+b", context=SessionContext(metadata={"k": [1, None]})),
    Thread: Thread(
        id="s:0.3.1", session_id="s", thread_type=ThreadType.PARALLEL, workflow="w@1+b#map", base=("s:0", 3)
    ),
    ToolExecutionResult: ToolExecutionResult(success=False, output=[1, "x"], error=ERROR),
    ModelSettings: ModelSettings(name="default", provider="scripted", script=Script(replies=("yes", "no"))),
    ToolSettings: ToolSettings(secrets={"key": "value"}),
    protocol.ProcessInfo: protocol.ProcessInfo(
        address="host-1", kind="host", pid=9, node_id="n", facts=ProcessFacts(threads=1, steps=StepCounts(count=2))
    ),
    ProcessFacts: ProcessFacts(rss_bytes=5, waiting=3),
}


def test_every_message_is_a_request_or_a_reply() -> None:
    """No message of the protocol is missing from the two unions, and none is in both."""
    declared = {kind for kind in vars(protocol).values() if isinstance(kind, type) and issubclass(kind, Message)} - {
        Message
    }

    assert set(REQUESTS) | set(REPLIES) == declared
    assert set(REQUESTS) & set(REPLIES) == set()


@pytest.mark.parametrize("kind", REQUESTS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("full", [True, False], ids=["full", "bare"])
def test_requests(kind: type[Message], full: bool) -> None:
    """A request is decoded as what it was."""
    request = _sample(kind, full=full)

    assert decode_request(encode(request)) == request


@pytest.mark.parametrize("kind", REPLIES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("full", [True, False], ids=["full", "bare"])
def test_replies(kind: type[Message], full: bool) -> None:
    """A reply is decoded as what it was, and as nothing else."""
    reply = _sample(kind, full=full)
    other = next(each for each in REPLIES if each is not kind)

    assert decode_reply(encode(reply), kind) == reply
    with pytest.raises(TypeError, match=f"expected {other.__name__}, got {kind.__name__}"):
        decode_reply(encode(reply), other)


def test_a_request_is_no_reply() -> None:
    """What has the tag of something else is refused."""
    with pytest.raises(msgspec.ValidationError, match="Invalid value"):
        decode_request(encode(protocol.Done()))


def _sample(kind: type[Message], *, full: bool) -> Message:
    """A message of `kind` with all fields set, or with the required ones only."""
    fields = {field.name: _value(field.type) for field in msgspec.structs.fields(kind) if full or field.required}
    return kind(**fields)


def _value(hint: Any) -> Any:
    """A value of a field's type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return tuple(_value(each) for each in (arguments[:1] * 2 if ... in arguments else arguments))
    if origin is dict:
        return {_value(arguments[0]): _value(arguments[1])}
    if origin in (typing.Union, types.UnionType):
        return _value(next(each for each in arguments if each is not type(None)))
    return SAMPLES[hint]
