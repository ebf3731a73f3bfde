"""A graph made ready to run: everything the planner looks up, compiled once per version and process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from graphs.budgets import Budget
from graphs.errors import NotFoundError
from graphs.functions import resolve
from graphs.journal import END, START
from graphs.policies import JoinPolicy
from graphs.results import READER
from graphs.state.schema import StateSchema
from graphs.workflow.conditions import Expression, PythonPredicate, compile_condition
from graphs.workflow.edge import Edge
from graphs.workflow.graph import GraphModel
from graphs.workflow.items import ITEM, call_in, type_at
from graphs.workflow.node import (
    CallConfig,
    ForkConfig,
    FunctionConfig,
    LlmConfig,
    MapConfig,
    Node,
    NodeType,
    SubworkflowConfig,
    ToolCallConfig,
)
from graphs.workflow.routing import SHIPPED_ROUTES, BoundRoute, RouteContext, RouteRegistry
from graphs.workflow.topology import fork_joins, successors

RESULT = "result"


@dataclass(frozen=True, slots=True)
class PlannedEdge:
    """An edge with its condition and route compiled."""

    edge: Edge
    condition: Expression | PythonPredicate | None = None
    route: BoundRoute | None = None

    def taken(self, schema: StateSchema, state: Mapping[str, Any], context: RouteContext) -> tuple[str, ...]:
        """Where the edge leads now; nowhere if its condition does not hold. Raises `RoutingError` and `NotLoaded`."""
        if self.route is not None:
            seen = schema.view(state, None) if self.route.python else schema.plain(state, self.route.seen(schema))
            return self.route(seen, context)
        if self.condition is not None and not self._holds(self.condition, schema, state):
            return ()
        assert self.edge.target is not None
        return (self.edge.target,)

    def _holds(self, condition: Expression | PythonPredicate, schema: StateSchema, state: Mapping[str, Any]) -> bool:
        if isinstance(condition, PythonPredicate):
            return condition(schema.view(state, None))
        # Only what the expression names is converted: a long conversation costs nothing here.
        return condition(schema.plain(state, None if condition.whole else condition.channels))


@dataclass(frozen=True)
class Plan:
    """A runnable graph.

    Attributes:
        graph: The graph as data.
        schema: Its state schema.
        functions: Python callables it refers to, by `module:qualname`.
    """

    graph: GraphModel
    schema: StateSchema
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    routes: RouteRegistry = SHIPPED_ROUTES
    pinned: str = ""
    """What threads call it: the graph's own `id@version` if empty."""

    @property
    def ref(self) -> str:
        """`id@version+build`, with `#map` behind it for the plan of an item."""
        return self.pinned or self.graph.ref

    @cached_property
    def budget(self) -> Budget | None:
        """What one turn may use."""
        return Budget.of(self.graph.budget)

    def function(self, ref: str) -> Callable[..., Any]:
        """The Python callable called `module:qualname`. Raises `NotFoundError`."""
        function = self._functions.get(ref)
        if function is None:
            function = self._functions[ref] = resolve(ref, self.functions)
        return function

    @cached_property
    def _functions(self) -> dict[str, Callable[..., Any]]:
        return dict(self.functions)

    def asks(self, node_id: str, state: Mapping[str, Any]) -> bool:
        """Whether a person is asked before this node runs in `state`.

        Raises:
            NotLoaded: That hangs on values of which the state has only references.
        """
        match self.nodes[node_id].config:
            case ToolCallConfig(requires_approval=True):
                return True
            case CallConfig(requires_approval=True):
                return call_in(state).name != READER
            case CallConfig(approve=names) if names:
                return call_in(state).name in names
            case _:
                return False

    def tells(self, node_id: str) -> bool:
        """Whether a model is told when a person refuses what this node is to call, in place of a result."""
        config = self.nodes[node_id].config
        return isinstance(config, CallConfig) and config.on_tool_error == "tell"

    @cached_property
    def nodes(self) -> dict[str, Node]:
        """Node id -> node."""
        return {node.id: node for node in self.graph.nodes}

    @cached_property
    def follows(self) -> dict[str, tuple[str, ...]]:
        """Node id (and `START`) -> nodes it may lead to."""
        return successors(self.nodes, self.graph.edges)

    @cached_property
    def joins(self) -> dict[str, str]:
        """Node id (and `START`) -> the node at which its branches join."""
        return fork_joins(self.nodes, self.graph.edges)

    @cached_property
    def edges(self) -> dict[str, tuple[PlannedEdge, ...]]:
        """Node id (and `START`) -> its outgoing edges, in order, those for errors excepted."""
        planned: dict[str, list[PlannedEdge]] = {}
        for edge in self.graph.edges:
            if edge.on_error:
                continue
            condition = compile_condition(edge.condition, self.functions) if edge.condition else None
            route = self.routes.bind(edge.route, self.functions) if edge.route else None
            planned.setdefault(edge.source, []).append(PlannedEdge(edge, condition, route))
        return {source: tuple(edges) for source, edges in planned.items()}

    @cached_property
    def error_targets(self) -> dict[str, str]:
        """Node id -> where its failure leads; nodes without an edge for errors are not in it."""
        return {edge.source: edge.target for edge in self.graph.edges if edge.on_error and edge.target is not None}

    @cached_property
    def kinds(self) -> dict[str, NodeType]:
        """Node id -> kind."""
        return {node.id: node.node_type for node in self.graph.nodes}

    @cached_property
    def executors(self) -> dict[str, str]:
        """Node id -> kind of the executors that run it; not those that none runs."""
        return {node_id: kind.executor for node_id, kind in self.kinds.items() if kind.executable}

    def workflow_of(self, node_id: str) -> str:
        """What the catalog calls the workflow that a map or subworkflow runs: exactly this one if it runs itself."""
        config = self.nodes[node_id].config
        if isinstance(config, MapConfig) and config.workflow is None:
            return f"{self.ref}#{node_id}"
        assert isinstance(config, MapConfig | SubworkflowConfig)
        assert config.workflow is not None
        return self.ref if config.workflow in (self.graph.id, self.graph.ref) else config.workflow

    @cached_property
    def special_forks(self) -> frozenset[str]:
        """Fork nodes with a policy of their own: it counts for a single branch, and for one with nothing to do, too."""
        return frozenset(
            node.id
            for node in self.graph.nodes
            if isinstance(node.config, ForkConfig) and node.config.policy != JoinPolicy()
        )

    def join_policy(self, node_id: str) -> tuple[JoinPolicy, int]:
        """Policy of the branches that start at `node_id`, and how many may run at once."""
        config = self.nodes[node_id].config if node_id != START else None
        if isinstance(config, ForkConfig):
            return config.policy, 1_000_000
        if isinstance(config, MapConfig):
            return JoinPolicy(on_branch_error=config.on_branch_error), config.max_concurrency
        return JoinPolicy(), 1_000_000

    def of_item(self, map_id: str) -> Plan:
        """The plan of one item of a map over a node: that node alone, with channels `item` and `result` besides."""
        config = self.nodes[map_id].config
        if not isinstance(config, MapConfig) or config.node is None:
            raise NotFoundError(f"{self.graph.ref} has no map over a node called {map_id!r}", kind="map", key=map_id)
        body = self.nodes[config.node]
        channels = {
            **self.graph.state["channels"],
            ITEM: {"type": _item_type(type_at(config.over, self.schema).spec), "default": None},
            RESULT: {"type": _item_type(self.schema.channels[config.into].type.spec), "default": None},
        }
        state = {**self.graph.state, "channels": channels}
        graph = self.graph.model_copy(
            update={
                "nodes": (_with_result(body),),
                "edges": (Edge(id="in", source=START, target=body.id), Edge(id="out", source=body.id, target=END)),
                "state": state,
                "workflows": (),
            }
        )
        schema = StateSchema.from_spec(state, self.functions)
        return Plan(graph, schema, self.functions, self.routes, f"{self.ref}#{map_id}")


def _item_type(spec: Any) -> Any:
    """Spec type of the items of a list, made nullable because it is unset at first."""
    while isinstance(spec, dict) and "nullable" in spec:
        spec = spec["nullable"]
    item = spec["list"] if isinstance(spec, dict) and "list" in spec else "json"
    return item if isinstance(item, dict) and "nullable" in item else {"nullable": item}


def _with_result(body: Node) -> Node:
    """`body` as the node of an item: it gets the item and writes the result."""
    config = body.config
    if isinstance(config, FunctionConfig):
        config = config.model_copy(update={"argument": ITEM, "into": RESULT})
    elif not isinstance(config, CallConfig):
        assert isinstance(config, LlmConfig | ToolCallConfig)
        config = config.model_copy(update={"into": RESULT})
    reads = None if body.reads is None else (*body.reads, ITEM)
    return body.model_copy(update={"config": config, "reads": reads, "writes": (RESULT,)})
