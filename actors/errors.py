"""Errors of running: messages, stores, placement, models and tools."""

from __future__ import annotations

from typing import ClassVar

from graphs.errors import GreenroomError

__all__ = [
    "AccessRefused",
    "ActiveElsewhere",
    "AnswerInvalid",
    "DestinationDied",
    "Fenced",
    "FunctionUnavailable",
    "ModelError",
    "ModelUnavailable",
    "OutputInvalid",
    "Overloaded",
    "PackageMissing",
    "RateLimited",
    "Retiring",
    "SeqConflict",
    "SessionChanged",
    "StoreUnavailable",
    "ToolError",
    "ToolRefused",
    "ToolTimeout",
    "ToolUnavailable",
    "ValueMissing",
]


class Overloaded(GreenroomError):
    """A bounded queue is full; try again after `retry_after_s`. Fields: `destination`, `retry_after_s`."""

    retryable: ClassVar[bool] = True


class DestinationDied(GreenroomError):
    """The process a message was for has died; it may or may not have handled it. Fields: `destination`."""

    retryable: ClassVar[bool] = True


class StateForgotten(GreenroomError):
    """An executor was told to go on with a state that it does not have any more: send it whole."""

    retryable: ClassVar[bool] = True


class Retiring(GreenroomError):
    """An executor that is being replaced takes no more work; its successor does. Fields: `destination`."""

    retryable: ClassVar[bool] = True


class SessionChanged(GreenroomError):
    """The session has been paused, resumed or aborted meanwhile: look at it again. Fields: `session_id`, `state`."""

    retryable: ClassVar[bool] = True


class StoreUnavailable(GreenroomError):
    """Redis or Valkey cannot be reached. Fields: `url` (without password)."""

    retryable: ClassVar[bool] = True


class Fenced(GreenroomError):
    """Another activation owns the thread now; this writer must drop it. Fields: `thread_id`, `epoch`, `current`."""


class ActiveElsewhere(GreenroomError):
    """Another host is in the middle of the thread's turn; ask there. Fields: `thread_id`, `host`."""


class FunctionUnavailable(GreenroomError):
    """A function of a workflow cannot be found again after everything has died. Fields: `function`."""

    retryable: ClassVar[bool] = True


class SeqConflict(GreenroomError):
    """An append is not the next one of its thread. Fields: `thread_id`, `seq`, `head`."""


class ValueMissing(GreenroomError):
    """A large value that a state refers to is not in the store. Fields: `thread_id`, `key`, `digest`."""


class PackageMissing(GreenroomError):
    """An optional package is needed that is not installed. Fields: `package`."""


class ToolError(GreenroomError):
    """A tool refused its arguments or failed. Fields: `tool`."""


class AccessRefused(ToolError):
    """A tool was asked to reach a host, an address or a file that it may not reach. Fields: `tool`."""


class ToolRefused(ToolError):
    """An endpoint answered that it will not do it. Fields: `tool`, `status`, `text` (of its answer)."""


class AnswerInvalid(ToolError):
    """An endpoint answered with something that is no answer, or is too large. Fields: `tool`, `status`."""


class ToolTimeout(ToolError):
    """A tool took longer than it may. Fields: `tool`, `timeout_s`."""

    retryable: ClassVar[bool] = True


class ToolUnavailable(ToolError):
    """What runs a tool cannot be reached, or was lost before it had answered. Fields: `tool`."""

    retryable: ClassVar[bool] = True


class ModelError(GreenroomError):
    """A model answered with an error, or with something that is no answer. Fields: `model`, `status`."""


class OutputInvalid(ModelError):
    """A model's answers do not fit the form asked for, however often it was told. Fields: `problems`, `text`."""


class ModelUnavailable(ModelError):
    """A model server cannot be reached or is overloaded. Fields: `model`, `url`."""

    retryable: ClassVar[bool] = True


class RateLimited(ModelUnavailable):
    """A model may not be asked so often: its server says so, or its limits do. Fields: `model`, `retry_after_s`."""
