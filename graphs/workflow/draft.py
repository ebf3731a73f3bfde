"""A graph while it is put together: what has been added so far, and how each part of it is checked on its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Annotated, Any, TypeVar, get_origin

import pydantic

from graphs.errors import GraphInvalid
from graphs.functions import Function, refer, state_reference
from graphs.policies import RetryPolicy
from graphs.state.annotations import value_type
from graphs.state.fields import is_dataclass, is_model
from graphs.state.schema import StateSchema
from graphs.threads import Durability
from graphs.workflow.agents import closed
from graphs.workflow.data_tools import DataTool
from graphs.workflow.edge import Edge, edge_name
from graphs.workflow.graph import DEFAULT_MAX_STEPS, GraphModel
from graphs.workflow.node import Node, NodeConfig
from graphs.workflow.problems import Problem, from_pydantic, invalid

M = TypeVar("M", bound=pydantic.BaseModel)


class GraphDraft:
    """The nodes, edges, functions and companions of a graph in the making; see `GraphBuilder` for the arguments."""

    def __init__(
        self,
        name: str,
        *,
        state: type,
        version: str = "1.0.0",
        description: str = "",
        max_steps: int = DEFAULT_MAX_STEPS,
        durability: Durability | str = Durability.SYNC,
        budget: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self.schema = StateSchema.from_type(state)
        self._state_type = state
        self._head = self._make(
            GraphModel,
            "graph",
            id=name,
            name=name,
            version=version,
            description=description,
            state=self.schema.to_spec(),
            max_steps=max_steps,
            durability=durability,
            budget=_plain(budget or {}),
            metadata=dict(metadata or {}),
        )
        self._nodes: list[Node] = []
        self._edges: list[Edge] = []
        self._functions: dict[str, Function] = dict(self.schema.own_reducers)
        self._workflows: dict[str, GraphDraft] = {}
        self._tools: dict[str, DataTool] = {}
        self._agents: list[str] = []

    @property
    def functions(self) -> dict[str, Function]:
        """Every Python callable the graph refers to, by its reference; those of the workflows it runs included.

        The types of the states are among them, so that nodes get instances of the user's own class, methods and all.
        """
        found: dict[str, Function] = {**self._functions, state_reference(self.name): self._state_type}
        for child in self._workflows.values():
            for ref, function in child.functions.items():
                if found.setdefault(ref, function) is not function:
                    problem = f'two functions are called "{ref}"; give one of them another name'
                    raise self._error("functions", problem)
        return found

    def model(self) -> GraphModel:
        """The graph as data, unchecked."""
        children = tuple(child.model() for child in self._workflows.values())
        nodes, edges = closed(self._nodes, self._edges, self._agents)
        return self._head.model_copy(
            update={
                "nodes": tuple(nodes),
                "edges": tuple(edges),
                "workflows": children,
                "tools": tuple(self._tools.values()),
            }
        )

    def _add(
        self,
        name: str,
        config: NodeConfig,
        *,
        reads: Iterable[str] | None = None,
        writes: Iterable[str] | None = None,
        retry: int | RetryPolicy | None = None,
        timeout_s: float | None = None,
        at_most_once: bool = False,
    ) -> None:
        label = f'node "{name}"'
        if any(node.id == name for node in self._nodes):
            raise self._error(label, "there is one already; choose another name with name=")
        for option, channels in (("reads", reads), ("writes", writes)):
            if isinstance(channels, str):
                raise self._error(f"{label}.{option}", f'give a list of channels: ["{channels}"]')
        if isinstance(retry, int):
            retry = self._make(RetryPolicy, f"{label}.retry", max_attempts=retry)
        node = self._make(
            Node,
            label,
            id=name,
            config=config,
            reads=None if reads is None else tuple(reads),
            writes=None if writes is None else tuple(writes),
            retry=retry or RetryPolicy(),
            timeout_s=timeout_s,
            at_most_once=at_most_once,
        )
        self._nodes.append(node)

    def _bring(self, label: str, workflow: GraphDraft) -> str:
        """Let `workflow` come along, and give its ref; a graph that runs itself needs nothing."""
        ref = f"{workflow.name}@{workflow.version}"
        if workflow is self:
            return ref
        if self in workflow.family():
            raise self._error(label, f'"{ref}" brings this graph along itself; write workflow="{ref}" instead')
        if self._workflows.setdefault(ref, workflow) is not workflow:
            raise self._error(label, f'another workflow comes along as "{ref}" already; rename one of them')
        return ref

    def _use(self, label: str, tool: Any) -> str:
        """What a node that uses `tool` calls it by: a name, a function, or a tool that is data, which comes along."""
        if isinstance(tool, str):
            return tool
        if isinstance(tool, DataTool):
            if self._tools.setdefault(tool.name, tool) != tool:
                raise self._error(label, f'another tool comes along as "{tool.name}" already; rename one of them')
            return tool.name
        if callable(tool):
            return self._refer(tool)
        raise self._error(label, f"{tool!r} is neither the name of a tool nor a function nor a tool that is data")

    def family(self) -> Iterator[GraphDraft]:
        """This graph and all that come along with it."""
        yield self
        for child in self._workflows.values():
            yield from child.family()

    def _add_edge(self, label: str, leads_to: str, **fields: Any) -> None:
        name = edge_name(str(fields["source"]), leads_to, {edge.id for edge in self._edges})
        self._edges.append(self._make(Edge, label, id=name, **fields))

    def _use_all(self, label: str, tools: Iterable[Any]) -> tuple[str, ...]:
        if isinstance(tools, str):
            raise self._error(label, f'give a list of tools: ["{tools}"]')
        return tuple(self._use(f"{label}[{position}]", tool) for position, tool in enumerate(tools))

    def _answer_type(self, label: str, annotation: Any) -> tuple[Any, str | None]:
        """The spec of an answer's type, and the reference of its class if that can check more than the spec says."""
        if annotation is None:
            return None, None
        if get_origin(annotation) is Annotated:
            raise self._error(label, "constraints of a bare type are not kept; use a model with such a field")
        problems: list[str] = []
        spec = value_type(annotation, label, problems).spec
        if problems:
            raise invalid(f'workflow "{self.name}"', [Problem(*problem.split(": ", 1)) for problem in problems])
        own = is_model(annotation) or is_dataclass(annotation)
        return spec, self._refer(annotation) if own else None

    def _refer(self, function: Function) -> str:
        """The reference of `function`; those that share one, such as two lambdas, are told apart by a number."""
        return refer(function, self._functions)

    def _make(self, model: type[M], label: str, /, **fields: Any) -> M:
        try:
            return model(**fields)
        except pydantic.ValidationError as error:
            raise invalid(f'workflow "{self.name}"', from_pydantic(error, label)) from error

    def _error(self, path: str, message: str) -> GraphInvalid:
        return invalid(f'workflow "{self.name}"', [Problem(path, message)])


def _plain(budget: Mapping[str, Any]) -> dict[str, Any]:
    """A budget as graphs hold it: decimals as text."""
    return {name: str(value) if isinstance(value, Decimal) else value for name, value in budget.items()}
