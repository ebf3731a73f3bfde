"""Greenroom: agent workflow graphs as durable actors on Ray. What is listed in `__all__` is the public API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors.tools.native import tool
from graphs.calls import MonetaryAmount
from graphs.errors import (
    BranchFailed,
    BudgetExceeded,
    BusinessRuleViolation,
    Cancelled,
    GraphInvalid,
    GreenroomError,
    NodeError,
    NodeTimeout,
    NotFoundError,
    OutcomeUnknown,
    StateInvalid,
    StepLimitExceeded,
)
from graphs.history import HistoryRecord, RecordType, TokenUsageRecord
from graphs.journal import END, START, Pause, PauseKind, Usage
from graphs.messages import Message, ToolCall
from graphs.policies import RetryPolicy
from graphs.state.changes import HistoryOperation, StateChange, StateHistoryEntry
from graphs.state.reducers import add, add_messages, append, last_value, merge
from graphs.state.refs import ValueRef
from graphs.state.snapshots import CheckpointType, SnapshotMetadata, StateSnapshot, ThreadSnapshot
from graphs.statistics import TokenStatistics, WorkflowTokenStatistics
from graphs.threads import Durability, ThreadPriority, ThreadState
from graphs.tools import ToolExecutionResult
from graphs.workflow.builder import GraphBuilder as Graph
from graphs.workflow.endpoints import ApiKeyAuth, BasicAuth, BearerAuth, RestTool
from graphs.workflow.mcp import McpServer, McpTool
from runtime.errors import ConfigError, ResultTimeout, ServiceError, WorkflowFileError
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
from runtime.results import StateDict, ThreadResult
from runtime.testing import AsyncLocalRuntime, LocalRuntime

if TYPE_CHECKING:
    from runtime.runtime import AsyncRuntime, Runtime

__all__ = [
    "END",
    "START",
    "ApiKeyAuth",
    "AsyncLocalRuntime",
    "AsyncRuntime",
    "BasicAuth",
    "BearerAuth",
    "BranchFailed",
    "Branched",
    "BranchesJoined",
    "BranchesStarted",
    "BudgetExceeded",
    "BusinessRuleViolation",
    "Cancelled",
    "CheckpointType",
    "ConfigError",
    "Durability",
    "Event",
    "Graph",
    "GraphInvalid",
    "GreenroomError",
    "HistoryOperation",
    "HistoryRecord",
    "LocalRuntime",
    "McpServer",
    "McpTool",
    "Message",
    "MonetaryAmount",
    "NodeError",
    "NodeFailed",
    "NodeFinished",
    "NodeStarted",
    "NodeTimeout",
    "NotFoundError",
    "OutcomeUnknown",
    "Pause",
    "PauseKind",
    "Paused",
    "RecordType",
    "RestTool",
    "Restored",
    "ResultTimeout",
    "Resumed",
    "RetryPolicy",
    "Runtime",
    "ServiceError",
    "SnapshotMetadata",
    "StateChange",
    "StateDict",
    "StateHistoryEntry",
    "StateInvalid",
    "StateSnapshot",
    "StepLimitExceeded",
    "ThreadFinished",
    "ThreadPriority",
    "ThreadResult",
    "ThreadSnapshot",
    "ThreadState",
    "Token",
    "TokenStatistics",
    "TokenUsageRecord",
    "ToolCall",
    "ToolExecutionResult",
    "TurnStarted",
    "Usage",
    "ValueRef",
    "WorkflowFileError",
    "WorkflowTokenStatistics",
    "add",
    "add_messages",
    "append",
    "last_value",
    "merge",
    "tool",
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        # Ray takes half a second to import, which what runs without it need not wait for.
        if name in ("AsyncRuntime", "Runtime"):
            from runtime import runtime

            return getattr(runtime, name)
        raise AttributeError(f"module 'runtime' has no attribute {name!r}")
