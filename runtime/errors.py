"""Errors of configuration and of the local services."""

from __future__ import annotations

from typing import ClassVar

from graphs.errors import GreenroomError, ValidationError

__all__ = ["ConfigError", "ResultTimeout", "ServiceError", "WorkflowFileError"]


class ConfigError(ValidationError):
    """The configuration cannot be used. `problems` lists all of them, each with its key."""


class ServiceError(GreenroomError):
    """A service that Greenroom runs on this machine is missing or has failed. Fields: `service`."""


class ResultTimeout(GreenroomError):
    """A turn was not over in time; if it was accepted it runs on. Fields: `thread_id`, `timeout_s`."""

    retryable: ClassVar[bool] = True


class WorkflowFileError(GreenroomError):
    """A workflow file cannot be read. Fields: `path`."""
