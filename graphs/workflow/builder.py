"""Graphs written in Python. Users know `GraphBuilder` as `runtime.Graph`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, overload

import pydantic

from graphs.errors import GraphInvalid
from graphs.functions import Function, reference, state_reference
from graphs.policies import JoinPolicy, OnBranchError, RetryPolicy
from graphs.state.schema import StateSchema
from graphs.workflow.edge import Condition, Edge, EdgeType, Route, edge_name
from graphs.workflow.graph import DEFAULT_MAX_STEPS, GraphModel
from graphs.workflow.node import ForkConfig, FunctionConfig, LlmConfig, MapConfig, Node, ToolCallConfig
from graphs.workflow.problems import Problem, from_pydantic, invalid
from graphs.workflow.routing import SHIPPED_ROUTES, RouteRegistry
from graphs.workflow.validation import ensure_valid

F = TypeVar("F", bound=Callable[..., Any])
M = TypeVar("M", bound=pydantic.BaseModel)


class GraphBuilder:
    """A workflow graph in the making.

    Args:
        name: Its name and id.
        state: The type of its state: a pydantic model, TypedDict or dataclass; its fields are the channels.
        version: Numbers with dots between. A running thread stays on the version it started with.
        description: One sentence for people.
        max_steps: Steps one turn may take.
        metadata: Anything else to keep with it; JSON-able.

    Raises:
        SchemaError: A field of `state` has a type that cannot be stored; names all such fields.
        GraphInvalid: Another argument is wrong.
    """

    def __init__(
        self,
        name: str,
        *,
        state: type,
        version: str = "1.0.0",
        description: str = "",
        max_steps: int = DEFAULT_MAX_STEPS,
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
            metadata=dict(metadata or {}),
        )
        self._nodes: list[Node] = []
        self._edges: list[Edge] = []
        self._functions: dict[str, Function] = dict(self.schema.own_reducers)
        self._workflows: dict[str, GraphBuilder] = {}

    @property
    def functions(self) -> dict[str, Function]:
        """Every Python callable the graph refers to, by its reference; those of the workflows it maps included.

        The types of the states are among them, so that nodes get instances of the user's own class, methods and all.
        """
        found: dict[str, Function] = {**self._functions, state_reference(self.name): self._state_type}
        for child in self._workflows.values():
            for ref, function in child.functions.items():
                if found.setdefault(ref, function) is not function:
                    problem = f'two functions are called "{ref}"; give one of them another name'
                    raise self._error("functions", problem)
        return found

    @overload
    def node(
        self,
        function: F,
        /,
        *,
        name: str | None = ...,
        reads: Iterable[str] | None = ...,
        writes: Iterable[str] | None = ...,
        retry: int | RetryPolicy | None = ...,
        timeout_s: float | None = ...,
    ) -> F: ...

    @overload
    def node(
        self,
        function: None = None,
        /,
        *,
        name: str | None = ...,
        reads: Iterable[str] | None = ...,
        writes: Iterable[str] | None = ...,
        retry: int | RetryPolicy | None = ...,
        timeout_s: float | None = ...,
    ) -> Callable[[F], F]: ...

    def node(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        reads: Iterable[str] | None = None,
        writes: Iterable[str] | None = None,
        retry: int | RetryPolicy | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """Add a function node; a decorator, with or without options, or called with the function.

        The function, sync or async, gets the state and returns a mapping of the channels it writes, or None.

        Args:
            function: The function.
            name: Name of the node; by default that of the function.
            reads: Channels the function gets; the others have their defaults. By default all.
            writes: Channels it may write. By default any.
            retry: Runs in all, the first included, or a whole policy.
            timeout_s: Seconds one attempt may take.
        """

        def add(function: F) -> F:
            if not callable(function):
                raise self._error("node", f"{function!r} is no function; use @g.node or g.node(function, name=...)")
            node_name = name if name is not None else getattr(function, "__name__", type(function).__name__)
            config = self._make(FunctionConfig, f'node "{node_name}"', function=self._refer(function))
            self._add(node_name, config, reads=reads, writes=writes, retry=retry, timeout_s=timeout_s)
            return function

        return add if function is None else add(function)

    def tool(
        self,
        name: str,
        *,
        tool: str,
        arguments: Mapping[str, Any] | None = None,
        into: str | None = None,
        reads: Iterable[str] | None = None,
        writes: Iterable[str] | None = None,
        retry: int | RetryPolicy | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Add a node that calls a tool.

        Args:
            name: Name of the node.
            tool: Name of the tool.
            arguments: Its arguments; texts are templates over the state, and a lone `{channel}` keeps its type.
            into: Channel the output is written to; None drops it.
            reads: See `node`, as for the options below.
            writes: See `node`.
            retry: See `node`.
            timeout_s: See `node`.
        """
        config = self._make(ToolCallConfig, f'node "{name}"', tool=tool, arguments=dict(arguments or {}), into=into)
        self._add(name, config, reads=reads, writes=writes, retry=retry, timeout_s=timeout_s)

    def llm(  # noqa: PLR0913
        self,
        name: str,
        *,
        into: str,
        prompt: str | None = None,
        messages: str | None = None,
        system: str | None = None,
        model: str = "default",
        temperature: float | None = None,
        max_tokens: int | None = None,
        stop: str | Sequence[str] = (),
        reads: Iterable[str] | None = None,
        writes: Iterable[str] | None = None,
        retry: int | RetryPolicy | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Add a node that calls a language model.

        Args:
            name: Name of the node.
            into: Channel of the answer: its text, or a message where the channel holds messages.
            prompt: Template over the state, such as `Answer: {text}`; the last user message.
            messages: Channel of the conversation that is sent before it.
            system: Template of the system message.
            model: Name of a configured model.
            temperature: As the model takes it; None leaves it to the model.
            max_tokens: Tokens the answer may have.
            stop: Text, or texts, at which the model stops.
            reads: See `node`, as for the options below.
            writes: See `node`.
            retry: See `node`.
            timeout_s: See `node`.
        """
        config = self._make(
            LlmConfig,
            f'node "{name}"',
            prompt=prompt,
            messages=messages,
            system=system,
            model=model,
            into=into,
            temperature=temperature,
            max_tokens=max_tokens,
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
        )
        self._add(name, config, reads=reads, writes=writes, retry=retry, timeout_s=timeout_s)

    def fork(
        self,
        name: str,
        *,
        join: str | int = "all",
        deadline_s: float | None = None,
        on_branch_error: OnBranchError | str = OnBranchError.FAIL,
    ) -> None:
        """Add a node behind which branches run in parallel; it does nothing itself.

        Args:
            name: Name of the node.
            join: Branches to wait for: `all`, `any` (the first that succeeds) or a number; the rest are cancelled.
            deadline_s: Seconds after which it goes on with those that have finished.
            on_branch_error: `fail` (the thread fails), `skip` or `collect` (it goes on without the branch).
        """
        policy = self._make(
            JoinPolicy, f'node "{name}"', join=join, deadline_s=deadline_s, on_branch_error=on_branch_error
        )
        self._add(name, ForkConfig(policy=policy))

    def map(  # noqa: PLR0913
        self,
        name: str,
        *,
        over: str,
        into: str,
        node: str | None = None,
        workflow: str | GraphBuilder | None = None,
        item: str | None = None,
        result: str | None = None,
        max_concurrency: int = 16,
        on_branch_error: OnBranchError | str = OnBranchError.FAIL,
    ) -> None:
        """Add a node that runs a node or a workflow for each item of a channel, in parallel.

        Args:
            name: Name of the node.
            over: Channel of the items.
            into: List channel of the results, in the order of the items.
            node: Node run for each item. A function is called with the item and returns the result; templates of an
                LLM or tool node see the state and `{item}`, and its answer is the result. It needs no edges.
            workflow: Workflow run for each item: `id` or `id@version` of a registered one, or another graph, which
                then comes along.
            item: Channel of the workflow that gets the item. None: the item is a mapping of its channels.
            result: Channel of the workflow that holds the result. None: its whole final state.
            max_concurrency: Items that run at the same time.
            on_branch_error: `fail` (the thread fails), `skip` (no result for the item) or `collect` (null for it).
        """
        ref = workflow
        if isinstance(workflow, GraphBuilder):
            ref = f"{workflow.name}@{workflow.version}"
            self._bring(f'node "{name}"', ref, workflow)
        config = self._make(
            MapConfig,
            f'node "{name}"',
            over=over,
            node=node,
            workflow=ref,
            item=item,
            result=result,
            into=into,
            max_concurrency=max_concurrency,
            on_branch_error=on_branch_error,
        )
        self._add(name, config)

    def edge(
        self,
        source: str,
        target: str,
        *,
        when: str | Callable[..., bool] | None = None,
        default: bool = False,
    ) -> None:
        """Add an edge; after a node its edges are read in the order in which they were added.

        Args:
            source: Node, or `START`.
            target: Node, or `END`.
            when: Condition under which it is taken: a CEL expression such as `state.kind == 'math'`, or a predicate
                that gets the state. None: always.
            default: It is taken when no edge of `source` with a condition is.
        """
        label = f'edge "{source}" -> "{target}"'
        if when is not None and default:
            raise self._error(label, "a default edge has no condition; drop one of the two")
        if when is not None and not isinstance(when, str) and not callable(when):
            raise self._error(label, f"when={when!r} is neither a CEL expression nor a function")
        condition = None
        if when is not None:
            condition = Condition(cel=when) if isinstance(when, str) else Condition(function=self._refer(when))
        self._add_edge(
            label,
            target,
            source=source,
            target=target,
            edge_type=EdgeType.SIMPLE if condition is None and not default else EdgeType.CONDITIONAL,
            condition=condition,
            default=default,
        )

    def route(
        self, source: str, function: str | Callable[..., Any], path_map: Mapping[str, str], /, **parameters: Any
    ) -> None:
        """Ask a route function where to go.

        Args:
            source: Node, or `START`.
            function: Name of a route function, or a Python one that gets the state and the parameters and answers
                with a key of `path_map`, or several.
            path_map: Answer -> node, or `END`.
            **parameters: What to tell the route function.
        """
        label = f'route after "{source}"'
        if not isinstance(function, str) and not callable(function):
            raise self._error(label, f"{function!r} is neither the name of a route function nor a function")
        if not isinstance(path_map, Mapping):
            raise self._error(label, 'say where each answer leads, such as {"matched": "answer", "not_matched": END}')
        name = function if isinstance(function, str) else self._refer(function)
        route = self._make(Route, label, function=name, parameters=parameters, path_map=dict(path_map))
        self._add_edge(label, name, source=source, edge_type=EdgeType.FLEXIBLE_CONDITIONAL, route=route)

    def build(self, *, routes: RouteRegistry = SHIPPED_ROUTES) -> GraphModel:
        """The graph as data, checked.

        Raises:
            GraphInvalid: It has problems; the error lists all of them.
        """
        model = self.model()
        ensure_valid(model, schema=self.schema, routes=routes, functions=self.functions)
        return model

    def model(self) -> GraphModel:
        """The graph as data, unchecked."""
        children = tuple(child.model() for child in self._workflows.values())
        return self._head.model_copy(
            update={"nodes": tuple(self._nodes), "edges": tuple(self._edges), "workflows": children}
        )

    def _add(
        self,
        name: str,
        config: FunctionConfig | ToolCallConfig | LlmConfig | ForkConfig | MapConfig,
        *,
        reads: Iterable[str] | None = None,
        writes: Iterable[str] | None = None,
        retry: int | RetryPolicy | None = None,
        timeout_s: float | None = None,
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
        )
        self._nodes.append(node)

    def _bring(self, label: str, ref: str, workflow: GraphBuilder) -> None:
        """Let `workflow` come along; a graph that maps itself needs nothing."""
        if workflow is self:
            return
        if self in workflow.family():
            raise self._error(label, f'"{ref}" brings this graph along itself; write workflow="{ref}" instead')
        if self._workflows.setdefault(ref, workflow) is not workflow:
            raise self._error(label, f'another workflow comes along as "{ref}" already; rename one of them')

    def family(self) -> Iterator[GraphBuilder]:
        """This graph and all that come along with it."""
        yield self
        for child in self._workflows.values():
            yield from child.family()

    def _add_edge(self, label: str, leads_to: str, **fields: Any) -> None:
        name = edge_name(str(fields["source"]), leads_to, {edge.id for edge in self._edges})
        self._edges.append(self._make(Edge, label, id=name, **fields))

    def _refer(self, function: Function) -> str:
        """The reference of `function`; those that share one, such as two lambdas, are told apart by a number."""
        base = ref = reference(function)
        number = 1
        while self._functions.setdefault(ref, function) is not function:
            number += 1
            ref = f"{base}#{number}"
        return ref

    def _make(self, model: type[M], label: str, /, **fields: Any) -> M:
        try:
            return model(**fields)
        except pydantic.ValidationError as error:
            raise invalid(f'workflow "{self.name}"', from_pydantic(error, label)) from error

    def _error(self, path: str, message: str) -> GraphInvalid:
        return invalid(f'workflow "{self.name}"', [Problem(path, message)])
