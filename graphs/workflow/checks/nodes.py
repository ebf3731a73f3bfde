"""Checks of single nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from graphs.errors import GraphInvalid
from graphs.journal import END, START
from graphs.policies import OnBranchError, RetryPolicy
from graphs.state.types import ValueType
from graphs.workflow.checks.answers import check_answer_type
from graphs.workflow.checks.models import check_call, check_llm
from graphs.workflow.checks.scope import Scope
from graphs.workflow.checks.workflows import check_item_workflow, check_subworkflow
from graphs.workflow.items import ITEM, channel_of, type_at
from graphs.workflow.node import (
    CallConfig,
    ForkConfig,
    FunctionConfig,
    HumanConfig,
    LlmConfig,
    MapConfig,
    Node,
    SubworkflowConfig,
    ToolCallConfig,
    WaitConfig,
)
from graphs.workflow.plan import RESULT
from graphs.workflow.problems import Problem

RESERVED = frozenset({START, END, "START", "END"})


def check_nodes(scope: Scope) -> Iterator[Problem]:
    """All problems of the nodes, except where they stand in the graph."""
    seen: dict[str, int] = {}
    for index, node in enumerate(scope.graph.nodes):
        path = f"nodes[{index}]"
        if not node.id.strip():
            yield Problem(f"{path}.id", "is empty; give the node a name")
        if node.id in RESERVED:
            yield Problem(f"{path}.id", f'"{node.id}" is reserved; choose another name')
        if node.id in seen:
            yield Problem(f"{path}.id", f'nodes[{seen[node.id]}] is called "{node.id}" too; choose another name')
        seen.setdefault(node.id, index)
        yield from _check_channels(scope, path, node)
        yield from _check_options(path, node)
        yield from _check_config(scope, f"{path}.config", node)


def _check_channels(scope: Scope, path: str, node: Node) -> Iterator[Problem]:
    for name, channels in (("reads", node.reads), ("writes", node.writes)):
        for position, channel in enumerate(channels or ()):
            yield from scope.channel(f"{path}.{name}[{position}]", channel)


def _check_config(scope: Scope, path: str, node: Node) -> Iterator[Problem]:
    match node.config:
        case FunctionConfig() as config:
            yield from scope.function(f"{path}.function", config.function)
            if config.argument is not None:
                yield from scope.channel(f"{path}.argument", config.argument)
            yield from _check_into(scope, path, node, config.into)
        case LlmConfig() as config:
            yield from check_llm(scope, path, node, config)
        case ToolCallConfig() as config:
            yield from scope.tool(f"{path}.tool", config.tool)
            yield from _check_arguments(scope, f"{path}.arguments", node, config.arguments)
            yield from _check_into(scope, path, node, config.into)
        case CallConfig() as config:
            yield from check_call(scope, path, node, config)
        case _:
            yield from _check_control(scope, path, node)


def _check_control(scope: Scope, path: str, node: Node) -> Iterator[Problem]:
    """The nodes that the thread itself carries out."""
    match node.config:
        case ForkConfig() as config:
            yield from _check_fork(scope, path, node, config)
        case MapConfig() as config:
            yield from _check_map(scope, path, node, config)
        case SubworkflowConfig() as config:
            yield from check_subworkflow(scope, path, node, config)
        case HumanConfig() as config:
            yield from scope.template(f"{path}.question", node, config.question)
            yield from check_answer_type(scope, path, node, config)
        case WaitConfig() as config:
            yield from _check_wait(scope, path, node, config)


def _check_options(path: str, node: Node) -> Iterator[Problem]:
    """Options that mean something only where a node's own code runs."""
    if not node.node_type.executable:
        given = (
            ("retry", node.retry != RetryPolicy()),
            ("timeout_s", node.timeout_s),
            ("at_most_once", node.at_most_once),
        )
        for name, value in given:
            if value:
                yield Problem(
                    f"{path}.{name}", f"is for function, llm, tool and call nodes; a {node.node_type} node has none"
                )
    elif node.at_most_once and node.retry.max_attempts > 1:
        yield Problem(f"{path}.retry", "a node that runs at most once is not run again; drop retry or at_most_once")


def _check_wait(scope: Scope, path: str, node: Node, config: WaitConfig) -> Iterator[Problem]:
    if not isinstance(config.seconds, str):
        return
    yield from scope.reads(f"{path}.seconds", node, config.seconds)
    if scope.schema is not None and config.seconds in scope.schema.channels:
        spec: Any = scope.schema.channels[config.seconds].type.inner.spec
        if spec not in ("int64", "float64"):
            yield Problem(f"{path}.seconds", f'channel "{config.seconds}" does not hold a number')


def _check_into(scope: Scope, path: str, node: Node, into: str | None) -> Iterator[Problem]:
    if into is not None and node.id not in scope.bodies:
        yield from scope.writes(f"{path}.into", node, into)


def _check_arguments(scope: Scope, path: str, node: Node, value: Any) -> Iterator[Problem]:
    if isinstance(value, str):
        yield from scope.template(path, node, value)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _check_arguments(scope, f"{path}.{name}", node, item)
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            yield from _check_arguments(scope, f"{path}[{position}]", node, item)


def _check_fork(scope: Scope, path: str, node: Node, config: ForkConfig) -> Iterator[Problem]:
    needed = config.policy.join
    if not isinstance(needed, int):
        return
    edges = [edge for edge in scope.graph.edges if edge.source == node.id and not edge.on_error]
    branches = {target for edge in edges for target in edge.targets}
    if needed < 1:
        yield Problem(f"{path}.policy.join", f"waits for {needed} branches; wait for 1 or more")
    elif needed > len(branches):
        yield Problem(
            f"{path}.policy.join",
            f'waits for {needed} branches, and at most {len(branches)} start at "{node.id}": it could never go on',
        )


def _check_map(scope: Scope, path: str, node: Node, config: MapConfig) -> Iterator[Problem]:
    yield from _check_over(scope, f"{path}.over", config.over)
    yield from scope.channel(f"{path}.into", config.into)
    into = scope.schema.channels.get(config.into) if scope.schema is not None else None
    if into is not None and not _holds_list(into.type.inner):
        yield Problem(f"{path}.into", f'channel "{config.into}" does not hold a list')
    if node.writes is not None and config.into not in node.writes:
        yield Problem(f"{path}.into", f'"{config.into}" is not among the channels it may write; add it to writes')
    if config.on_branch_error is OnBranchError.COLLECT:
        yield from _check_collect(scope, path, config)
    if (config.node is None) == (config.workflow is None):
        yield Problem(path, "a map runs either a node or a workflow; give one of the two")
    elif config.node is not None:
        yield from _check_body(scope, path, config.node)
        yield from _check_item_channels(scope, path, config)
        for name in ("item", "result"):
            if getattr(config, name) is not None:
                yield Problem(
                    f"{path}.{name}", "is for a map over a workflow; a node gets the item and gives the result"
                )
    elif config.workflow is not None:
        yield from check_item_workflow(scope, path, config, config.workflow)


def _check_over(scope: Scope, path: str, over: str) -> Iterator[Problem]:
    try:
        channel = channel_of(over)
    except GraphInvalid as error:
        yield Problem(path, error.problems[0])
        return
    yield from scope.channel(path, channel)
    if scope.schema is None or channel not in scope.schema.channels:
        return
    try:
        found = type_at(over, scope.schema)
    except LookupError as error:
        yield Problem(path, f"{over}: {error.args[0]}")
        return
    if not _holds_list(found):
        what = f'channel "{over}"' if over == channel else over
        yield Problem(path, f"{what} does not hold a list")


def _check_body(scope: Scope, path: str, body: str) -> Iterator[Problem]:
    if body in (START, END):
        yield Problem(f"{path}.node", "START and END cannot be run")
        return
    yield from scope.node(f"{path}.node", body)
    if body in scope.nodes and not scope.nodes[body].node_type.executable:
        kind = scope.nodes[body].node_type
        yield Problem(
            f"{path}.node", f'"{body}" is a {kind} node; a map runs a function, llm, tool or call node, or a workflow'
        )


def _check_item_channels(scope: Scope, path: str, config: MapConfig) -> Iterator[Problem]:
    """The thread of an item has the channels of the graph, and two of its own."""
    if scope.schema is None:
        return
    for name in (ITEM, RESULT):
        if name in scope.schema.channels:
            yield Problem(
                f"{path}.node", f'the thread of an item has a channel "{name}" of its own; rename that of the state'
            )


def _check_collect(scope: Scope, path: str, config: MapConfig) -> Iterator[Problem]:
    if scope.schema is None or config.into not in scope.schema.channels:
        return
    spec: Any = scope.schema.channels[config.into].type.inner.spec
    item = spec.get("list", "json") if isinstance(spec, Mapping) else "json"
    if item != "json" and not (isinstance(item, Mapping) and "nullable" in item):
        yield Problem(
            f"{path}.on_branch_error",
            f'writes None to "{config.into}" for an item that failed; make its items optional, or skip them',
        )


def _holds_list(kind: ValueType) -> bool:
    """Whether values of a type can be gone over item by item."""
    found = kind.arrow
    is_list = pa.types.is_list(found) or pa.types.is_large_list(found) or pa.types.is_fixed_size_list(found)
    return is_list or isinstance(found, pa.BaseExtensionType)
