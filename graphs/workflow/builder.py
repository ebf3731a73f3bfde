"""Graphs written in Python. Users know `GraphBuilder` as `runtime.Graph`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, overload

from graphs.policies import JoinPolicy, OnBranchError, RetryPolicy
from graphs.workflow.agents import call_of, calls_of
from graphs.workflow.data_tools import DataTool
from graphs.workflow.draft import GraphDraft
from graphs.workflow.edge import Condition, EdgeType, Route
from graphs.workflow.graph import GraphModel
from graphs.workflow.node import (
    CallConfig,
    ForkConfig,
    FunctionConfig,
    HumanConfig,
    LlmConfig,
    MapConfig,
    SubworkflowConfig,
    ToolCallConfig,
    WaitConfig,
)
from graphs.workflow.routing import SHIPPED_ROUTES, RouteRegistry
from graphs.workflow.validation import ensure_valid

F = TypeVar("F", bound=Callable[..., Any])


class GraphBuilder(GraphDraft):
    """A workflow graph in the making.

    Args:
        name: Its name and id.
        state: The type of its state: a pydantic model, TypedDict or dataclass; its fields are the channels.
        version: Numbers with dots between. A running thread stays on the version it started with.
        description: One sentence for people.
        max_steps: Steps one turn may take.
        durability: When steps are stored, unless a call says otherwise: `sync` (before the next step begins), `async`
            (in order, while the next ones run) or `exit` (when the turn ends or pauses).
        budget: What one turn may use: a mapping with some of `tokens`, `cost` (and `currency`), `time_s` and `steps`. A
            node that would ask a model beyond it fails with `BudgetExceeded`.
        metadata: Anything else to keep with it; JSON-able.

    Raises:
        SchemaError: A field of `state` has a type that cannot be stored; names all such fields.
        GraphInvalid: Another argument is wrong.
    """

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
        at_most_once: bool = ...,
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
        at_most_once: bool = ...,
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
        at_most_once: bool = False,
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
            at_most_once: Never call it again for a step, whatever happens: if it was interrupted, the step has failed.
        """

        def add(function: F) -> F:
            if not callable(function):
                raise self._error("node", f"{function!r} is no function; use @g.node or g.node(function, name=...)")
            node_name = name if name is not None else getattr(function, "__name__", type(function).__name__)
            config = self._make(FunctionConfig, f'node "{node_name}"', function=self._refer(function))
            self._add(
                node_name,
                config,
                reads=reads,
                writes=writes,
                retry=retry,
                timeout_s=timeout_s,
                at_most_once=at_most_once,
            )
            return function

        return add if function is None else add(function)

    def tool(  # noqa: PLR0913
        self,
        name: str,
        *,
        tool: str | Callable[..., Any] | DataTool,
        arguments: Mapping[str, Any] | None = None,
        into: str | None = None,
        reads: Iterable[str] | None = None,
        writes: Iterable[str] | None = None,
        retry: int | RetryPolicy | None = None,
        timeout_s: float | None = None,
        at_most_once: bool = False,
        requires_approval: bool | None = None,
    ) -> None:
        """Add a node that calls a tool.

        Args:
            name: Name of the node.
            tool: Name of the tool, or a Python function (see `runtime.tool`) or a tool that is data, which come along.
            arguments: Its arguments; texts are templates over the state, and a lone `{channel}` keeps its type.
            into: Channel the output is written to; None drops it.
            reads: See `node`, as for the options below.
            writes: See `node`.
            retry: See `node`.
            timeout_s: See `node`.
            at_most_once: See `node`.
            requires_approval: Whether a person is asked before the tool is called; None: as the tool says.
        """
        label = f'node "{name}"'
        ref = self._use(f"{label}.tool", tool)
        config = self._make(
            ToolCallConfig,
            label,
            tool=ref,
            arguments=dict(arguments or {}),
            into=into,
            requires_approval=requires_approval,
        )
        self._add(
            name,
            config,
            reads=reads,
            writes=writes,
            retry=retry,
            timeout_s=timeout_s,
            at_most_once=at_most_once,
        )

    def llm(  # noqa: PLR0913
        self,
        name: str,
        *,
        into: str | None = None,
        prompt: str | None = None,
        messages: str | None = None,
        system: str | None = None,
        model: str = "default",
        fallbacks: Sequence[str] = (),
        temperature: float | None = None,
        max_tokens: int | None = None,
        stop: str | Sequence[str] = (),
        output: Any = None,
        repairs: int = 2,
        tools: Iterable[str | Callable[..., Any] | DataTool] = (),
        reads: Iterable[str] | None = None,
        writes: Iterable[str] | None = None,
        retry: int | RetryPolicy | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Add a node that calls a language model.

        Args:
            name: Name of the node.
            into: Channel of the answer: its text, or a message where the channel holds messages. None: `output` is a
                model or mapping, and each of its fields is written to the channel of the same name.
            prompt: Template over the state, such as `Answer: {text}`; the last user message.
            messages: Channel of the conversation that is sent before it.
            system: Template of the system message.
            model: Name of a configured model.
            fallbacks: Models asked when it fails, instead of those of its configuration.
            temperature: As the model takes it; None leaves it to the model.
            max_tokens: Tokens the answer may have.
            stop: Text, or texts, at which the model stops.
            output: Type of the answer, as for `human`: the model is given its JSON schema, and what it answers is
                checked. None: text.
            repairs: Times the model is told what is wrong with an answer that does not fit, and asked again.
            tools: What the model may ask for: names, functions, or tools that are data. Only agents run them.
            reads: See `node`, as for the options below.
            writes: See `node`.
            retry: See `node`.
            timeout_s: See `node`.
        """
        label = f'node "{name}"'
        spec, python = self._answer_type(f"{label}.output", output)
        config = self._make(
            LlmConfig,
            label,
            prompt=prompt,
            messages=messages,
            system=system,
            model=model,
            fallbacks=tuple(fallbacks),
            into=into,
            temperature=temperature,
            max_tokens=max_tokens,
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
            output=spec,
            output_type=python,
            repairs=repairs,
            tools=self._use_all(f"{label}.tools", tools),
        )
        self._add(name, config, reads=reads, writes=writes, retry=retry, timeout_s=timeout_s)

    def agent(  # noqa: PLR0913
        self,
        name: str,
        *,
        messages: str,
        tools: Iterable[str | Callable[..., Any] | DataTool],
        system: str | None = None,
        model: str = "default",
        fallbacks: Sequence[str] = (),
        max_rounds: int = 10,
        max_concurrency: int = 8,
        on_tool_error: str = "tell",
        requires_approval: bool = False,
        temperature: float | None = None,
        max_tokens: int | None = None,
        retry: int | RetryPolicy | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Add a model that works with tools until it answers: see `graphs.workflow.agents` for what it is made of.

        Edges lead to it and from it as for any node. The calls of one answer run in parallel, each in a thread of its
        own, and what they bring is appended to the conversation in the order of the calls.

        Args:
            name: Name of the node.
            messages: Channel of the conversation, whose last message is the user's.
            tools: What the model may use: names of tools, functions, or tools that are data, which then come along.
            system: Template of the system message.
            model: Name of a configured model.
            fallbacks: See `llm`.
            max_rounds: Answers with calls after the last message of the user; then it has to answer without.
            max_concurrency: Calls of one answer that run at the same time.
            on_tool_error: `tell` (the model reads what went wrong, and goes on) or `fail` (the agent fails).
            requires_approval: Ask a person before each call; else only before those of tools that say so.
            temperature: As the model takes it; None leaves it to the model.
            max_tokens: Tokens each answer may have.
            retry: See `node`; of the calls of the model.
            timeout_s: See `node`; of one call of the model.
        """
        label = f'node "{name}"'
        refs = self._use_all(f"{label}.tools", tools)
        asking = self._make(
            LlmConfig,
            label,
            messages=messages,
            system=system,
            model=model,
            fallbacks=tuple(fallbacks),
            into=messages,
            tools=refs,
            max_rounds=max_rounds,
            temperature=temperature,
            max_tokens=max_tokens,
        )
        calling = self._make(
            MapConfig,
            label,
            over=f"{messages}[-1].tool_calls",
            node=call_of(name),
            into=messages,
            max_concurrency=max_concurrency,
        )
        self._add(name, asking, retry=retry, timeout_s=timeout_s)
        self._add(calls_of(name), calling)
        told = {"on_tool_error": on_tool_error, "requires_approval": requires_approval}
        self._add(call_of(name), self._make(CallConfig, label, tools=refs, **told))
        self._agents.append(name)

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
        label = f'node "{name}"'
        config = self._make(
            MapConfig,
            label,
            over=over,
            node=node,
            workflow=self._bring(label, workflow) if isinstance(workflow, GraphBuilder) else workflow,
            item=item,
            result=result,
            into=into,
            max_concurrency=max_concurrency,
            on_branch_error=on_branch_error,
        )
        self._add(name, config)

    def subworkflow(
        self,
        name: str,
        *,
        workflow: str | GraphBuilder,
        input: Mapping[str, str] | None = None,  # noqa: A002 - the driver API's own word
        output: Mapping[str, str] | None = None,
    ) -> None:
        """Add a node that runs another workflow, in a thread with a state of its own, and waits for its end.

        Args:
            name: Name of the node.
            workflow: `id` or `id@version` of a registered one, or another graph, which then comes along.
            input: Channel of the other workflow -> channel here that it begins with. None: the channels both have.
            output: Channel here -> channel of the other workflow that is written to it. None: the channels both have.
        """
        label = f'node "{name}"'
        config = self._make(
            SubworkflowConfig,
            label,
            workflow=self._bring(label, workflow) if isinstance(workflow, GraphBuilder) else workflow,
            input=None if input is None else dict(input),
            output=None if output is None else dict(output),
        )
        self._add(name, config)

    def human(self, name: str, *, question: str, answer: Any = None, into: str | None = None) -> None:
        """Add a node that asks a person: the thread is paused, at no cost, until `thread.answer(value)`.

        Args:
            name: Name of the node.
            question: Template over the state, such as `Refund {amount} to {customer}?`.
            answer: Type of the answer: a model, TypedDict, dataclass, enum, or a type as channels have it. None: that
                of the channel `into`.
            into: Channel the answer is written to. None: the answer is a model or mapping, and each of its fields is
                written to the channel of the same name.
        """
        label = f'node "{name}"'
        spec, python = self._answer_type(f"{label}.answer", answer)
        config = self._make(HumanConfig, label, question=question, answer=spec, answer_type=python, into=into)
        self._add(name, config)

    def wait(self, name: str, *, seconds: float | str) -> None:
        """Add a node that waits: a durable timer, which holds nothing in memory and outlives every process.

        Args:
            name: Name of the node.
            seconds: How long, or the channel that says so.
        """
        self._add(name, self._make(WaitConfig, f'node "{name}"', seconds=seconds))

    def edge(
        self,
        source: str,
        target: str,
        *,
        when: str | Callable[..., bool] | None = None,
        default: bool = False,
        on_error: bool = False,
    ) -> None:
        """Add an edge; after a node its edges are read in the order in which they were added.

        Args:
            source: Node, or `START`.
            target: Node, or `END`.
            when: Condition under which it is taken: a CEL expression such as `state.kind == 'math'`, or a predicate
                that gets the state. None: always.
            default: It is taken when no edge of `source` with a condition is.
            on_error: It is taken when `source` has failed for good, and only then: the turn goes on there, and the
                node finds the failure in `ctx.error`.
        """
        label = f'edge "{source}" -> "{target}"'
        if when is not None and default:
            raise self._error(label, "a default edge has no condition; drop one of the two")
        if on_error and (when is not None or default):
            raise self._error(label, "an edge for errors has no condition and is no default; drop one of the two")
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
            on_error=on_error,
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
