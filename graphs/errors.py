"""Errors of the domain. Every one carries its facts as fields, pickles, and travels as an `ErrorInfo`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import msgspec


class ErrorInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error as data: what is journalled and what crosses a process boundary."""

    code: str
    """Name of the error class, such as `NotFoundError`; for foreign errors the name of the Python class."""
    message: str
    fields: dict[str, Any] = {}
    """The error's fields; values are JSON-able."""
    retryable: bool = False


class GreenroomError(Exception):
    """Base of every error Greenroom raises.

    Args:
        message: One line: what is wrong, and what to do about it.
        **fields: The facts, JSON-able; readable as attributes.
    """

    retryable: ClassVar[bool] = False
    _classes: ClassVar[dict[str, type[GreenroomError]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        GreenroomError._classes[cls.__name__] = cls

    def __init__(self, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.fields = fields

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["fields"][name]
        except KeyError:
            raise AttributeError(name) from None

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self).__name__, self.message, self.fields)

    def info(self) -> ErrorInfo:
        """This error as data."""
        return ErrorInfo(code=type(self).__name__, message=self.message, fields=self.fields, retryable=self.retryable)

    @staticmethod
    def from_info(info: ErrorInfo) -> GreenroomError:
        """The typed error that `info` describes; a code from outside Greenroom becomes a `NodeError`."""
        cls = GreenroomError._classes.get(info.code)
        if cls is None:
            return NodeError(info.message, **{**info.fields, "code": info.code})
        return cls(info.message, **info.fields)


def _restore(code: str, message: str, fields: dict[str, Any]) -> GreenroomError:
    return GreenroomError.from_info(ErrorInfo(code=code, message=message, fields=fields))


def describe(error: BaseException, **fields: Any) -> ErrorInfo:
    """`error` as data; a foreign exception keeps its class name as code and its text as message."""
    if isinstance(error, GreenroomError):
        info = error.info()
        return msgspec.structs.replace(info, fields={**fields, **info.fields})
    return ErrorInfo(code=type(error).__name__, message=str(error) or type(error).__name__, fields=fields)


class DomainError(GreenroomError):
    """A rule of the domain does not hold."""


class ValidationError(DomainError):
    """Input has problems. `problems` lists all of them, each with its path."""

    def __init__(self, message: str, *, problems: Iterable[str] = (), **fields: Any) -> None:
        super().__init__(message, problems=list(problems), **fields)


class GraphInvalid(ValidationError):
    """A workflow graph has problems."""


class DocumentInvalid(ValidationError):
    """An OpenAPI document cannot be imported."""


class SchemaError(ValidationError):
    """A state type cannot be mapped to Arrow, or a spec of it cannot be read."""


class StateInvalid(ValidationError):
    """Values do not fit the state schema: an input, or what a node returned."""


class NotFoundError(DomainError):
    """Nothing has this name or id. Fields: `kind`, `key`."""


class BusinessRuleViolation(DomainError):
    """The operation is not allowed in the present state."""


class ApprovalRefused(BusinessRuleViolation):
    """A person was asked whether a tool may be called, and said no. Fields: `tool`, `node`, `reason`."""


class PermissionDenied(BusinessRuleViolation):
    """A session lacks permissions that a tool requires; it was not called. Fields: `tool`, `missing`."""


class IllegalTransition(BusinessRuleViolation):
    """A thread or session may not go from `source` to `target`."""


class RoutingError(DomainError):
    """No edge can be chosen after a node: a condition or a route function failed, or answered outside its path map."""


class BudgetExceeded(DomainError):
    """A turn has used up its budget. Fields: `node` that was not begun, `limit`, what was `used` and is `allowed`."""


class StepLimitExceeded(DomainError):
    """A turn ran more steps than `max_steps`; raise it on the graph or end the loop."""


class NodeError(GreenroomError):
    """A node's own code raised. Fields: `node`, `code` (its exception class)."""


class NodeTimeout(NodeError):
    """A node ran longer than its `timeout_s`."""

    retryable = True


class OutcomeUnknown(NodeError):
    """A node that runs at most once was called, and what came of it is lost. Fields: `node`, `idempotency_key`."""


class BranchFailed(DomainError):
    """A branch of a fork or an item of a map failed. Fields: `node`, `index`, `cause`."""


class Cancelled(DomainError):
    """The thread was cancelled. Fields: `reason`, and `with_thread` if it was because of one above it."""

    @classmethod
    def because(cls, reason: str, with_thread: str = "") -> ErrorInfo:
        """It as data."""
        fields = {"with_thread": with_thread} if with_thread else {}
        return cls(f"cancelled: {reason}", reason=reason, **fields).info()

    @classmethod
    def below(cls, error: ErrorInfo, thread_id: str) -> ErrorInfo:
        """Why a thread is cancelled, of which one below was, with `error`."""
        above = error.fields["with_thread"]
        return cls.because(error.fields["reason"], "" if above == thread_id else above)
