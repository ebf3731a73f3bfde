"""Making a workflow ready to be stored: validated with all it refers to, and pinned to exactly this content.

What is stored under `id@version+build` never changes: the build is a digest of the graph, of the workflows it runs
and of the source of its Python functions. A thread stays on the build it started with; `id` and `id@version` name the
build that was deployed last. So a changed graph may be deployed again under the same version, and nothing that runs
notices.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import time
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.executors.toolbox import spoken
from actors.ports import WorkflowRepository
from actors.programs import describe_program
from actors.tools.native import tool_of
from graphs.errors import GraphInvalid, ValidationError
from graphs.functions import is_reference, refer, resolve
from graphs.tools import Tool
from graphs.workflow.builder import GraphBuilder
from graphs.workflow.data_tools import DataTool
from graphs.workflow.graph import GraphModel
from graphs.workflow.node import (
    CallConfig,
    FunctionConfig,
    HumanConfig,
    LlmConfig,
    MapConfig,
    Node,
    NodeConfig,
    NodeType,
    SubworkflowConfig,
    ToolCallConfig,
)
from graphs.workflow.problems import Problem, invalid
from graphs.workflow.registry import template, template_names
from graphs.workflow.spec import load
from graphs.workflow.text import Format, parse
from graphs.workflow.validation import ensure_valid
from runtime.errors import WorkflowFileError


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A workflow and the workflows that come along with it, ready to be stored."""

    models: Mapping[str, GraphModel]
    """`id@version+build` -> graph; the workflow itself is the last."""
    functions: Mapping[str, Callable[..., Any]]
    """All Python callables they refer to, by reference."""

    @property
    def ref(self) -> str:
        """`id@version+build` of the workflow itself."""
        return list(self.models)[-1]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of executors they need."""
        kinds = {node.node_type for model in self.models.values() for node in model.nodes}
        return tuple(sorted({kind.executor for kind in kinds if kind.executable}))

    async def save(self, workflows: WorkflowRepository) -> None:
        """Store the graphs, those that others refer to first."""
        now = time.time()
        program = await asyncio.to_thread(describe_program, self.functions) if self.functions else None
        for ref, model in self.models.items():
            if program is not None:
                await workflows.save_program(ref, program)
            await workflows.save(ref, model.model_dump_json().encode(), at=now)


async def prepare(
    graph: GraphBuilder | GraphModel | str | Path,
    workflows: WorkflowRepository,
    *,
    tools: Collection[str],
    models: Collection[str],
    own_tools: Mapping[str, Callable[..., Any] | DataTool] | None = None,
) -> Deployment:
    """Read, validate and pin a workflow.

    Args:
        graph: A graph, or the path of a YAML or JSON file, or the name of a shipped template.
        workflows: Those that it may run besides those that come along.
        tools: Names of the tools there are.
        models: Names of the models there are.
        own_tools: Functions, and tools that are data, by the names they are registered by: these come along.

    Raises:
        GraphInvalid: It has problems; all of them are listed.
        WorkflowFileError: The file cannot be read.
    """
    functions: dict[str, Callable[..., Any]] = {}
    schema = None
    if isinstance(graph, GraphBuilder):
        functions, schema = graph.functions, graph.schema
        model = graph.model()  # noqa: ASYNC240 - a graph, no path
    else:
        model = graph if isinstance(graph, GraphModel) else read_graph(graph)
    model = _with_tools(model, own_tools or {}, functions)
    known = await workflows.list()
    names = {name for ref in known for name in (ref, ref.partition("+")[0], ref.partition("@")[0])}
    ensure_valid(
        model,
        schema=schema,
        known_tools=tools,
        known_models=models,
        known_workflows=names,
        functions=functions,
    )
    for ref in _references(model):
        functions.setdefault(ref, resolve(ref, functions))
    problems = list(_tool_problems(model, "", functions))
    if problems:
        raise invalid(f'workflow "{model.name}"', problems)
    model = _with_approvals(model, functions)
    pinned: dict[str, GraphModel] = {}
    await _pin(model, {}, functions, workflows, pinned)
    return Deployment(models=pinned, functions=functions)


def tools_named(graph: GraphBuilder | GraphModel | str | Path) -> set[str]:
    """What a graph, and those within it, call the tools they use. Raises as `read_graph`."""
    model = graph.model() if isinstance(graph, GraphBuilder) else graph
    model = model if isinstance(model, GraphModel) else read_graph(model)
    names = {name for node in model.nodes for name in _tools_of(node).values()}
    return names.union(*(tools_named(child) for child in model.workflows))


async def save_graph(graph: GraphModel, workflows: WorkflowRepository) -> str:
    """Store a graph that refers to builds and to no functions, unless it is there; its `id@version+build`."""
    ref = f"{graph.ref}+{_digest(graph, {})}"
    if await workflows.get(ref) is None:
        await workflows.save(ref, graph.model_dump_json().encode(), at=time.time())
    return ref


def read_graph(source: str | Path) -> GraphModel:
    """The graph in a YAML or JSON file, or the shipped template of this name.

    Raises:
        WorkflowFileError: There is no such file or template, or it cannot be read.
        GraphInvalid: What it says is no graph; all problems are listed.
    """
    if isinstance(source, str) and source in template_names():
        return template(source)
    path = Path(source)
    if path.suffix not in (".yaml", ".yml", ".json"):
        names = ", ".join(template_names())
        raise WorkflowFileError(
            f"{source} is neither a .yaml, .yml or .json file nor a shipped template ({names})", path=str(source)
        )
    return load(*_read(path))


def read_document(source: str | Path) -> Any:
    """The data in a YAML or JSON file.

    Raises:
        WorkflowFileError: There is no such file, or it is neither.
    """
    path = Path(source)
    try:
        return parse(*_read(path))
    except GraphInvalid as error:
        raise WorkflowFileError(f"cannot read {path}: {error.problems[0]}", path=str(path)) from error


def _read(path: Path) -> tuple[str, Format]:
    """The text of a file, and its form."""
    try:
        return path.read_text("utf-8"), "json" if path.suffix == ".json" else "yaml"
    except OSError as error:
        raise WorkflowFileError(f"cannot read {path}: {error.strerror or error}", path=str(path)) from error
    except UnicodeDecodeError as error:
        raise WorkflowFileError(f"cannot read {path}: it is not UTF-8 text", path=str(path)) from error


def _with_tools(
    model: GraphModel,
    tools: Mapping[str, Callable[..., Any] | DataTool],
    functions: MutableMapping[str, Callable[..., Any]],
) -> GraphModel:
    """`model` and those within it with the `tools` they name.

    Those that are data are put into the graph. For those that are functions, references, kept in `functions`, take the
    place of their names.
    """
    nodes = []
    data: dict[str, DataTool] = {}
    for node in model.nodes:
        named = _tools_of(node)
        own = {name: tools[name] for name in named.values() if name in tools and not model.tool(name)}
        data |= {name: tool for name, tool in own.items() if isinstance(tool, DataTool)}
        refs = {name: refer(tool, functions) for name, tool in own.items() if not isinstance(tool, DataTool)}
        nodes.append(node.model_copy(update={"config": _renamed(node.config, refs)}) if refs else node)
    children = tuple(_with_tools(child, tools, functions) for child in model.workflows)
    return model.model_copy(
        update={"nodes": tuple(nodes), "tools": (*model.tools, *data.values()), "workflows": children}
    )


def _renamed(config: NodeConfig, refs: Mapping[str, str]) -> NodeConfig:
    """`config` with `refs` in the place of names of tools."""
    if isinstance(config, ToolCallConfig):
        return config.model_copy(update={"tool": refs.get(config.tool, config.tool)})
    assert isinstance(config, LlmConfig | CallConfig)
    return config.model_copy(update={"tools": tuple(refs.get(name, name) for name in config.tools)})


def _tools_of(node: Node) -> dict[str, str]:
    """Where in its config a node names tools -> what it calls them."""
    match node.config:
        case ToolCallConfig(tool=name):
            return {"tool": name}
        case LlmConfig(tools=names) | CallConfig(tools=names):
            return {f"tools[{position}]": name for position, name in enumerate(names)}
        case _:
            return {}


def _tool_problems(model: GraphModel, path: str, functions: Mapping[str, Callable[..., Any]]) -> Iterator[Problem]:
    """What keeps functions from being the tools they are used as, and models from telling their tools apart."""
    for index, node in enumerate(model.nodes):
        taken: dict[str, str] = {}
        for place, name in _tools_of(node).items():
            where = f"{path}nodes[{index}].config.{place}"
            try:
                tool = _tool(model, name, functions)
            except ValidationError as error:
                yield from (Problem(where, problem) for problem in error.problems)
                continue
            called = spoken(name if tool is None else tool.name)
            if taken.setdefault(called, place) != place:
                yield Problem(where, f'models know it as "{called}", as they do {taken[called]}; rename one of the two')
    for index, child in enumerate(model.workflows):
        yield from _tool_problems(child, f"{path}workflows[{index}].", functions)


def _with_approvals(model: GraphModel, functions: Mapping[str, Callable[..., Any]]) -> GraphModel:
    """`model` and those within it with what tools say of approval, which the planner does not see, in their nodes."""
    nodes = []
    for node in model.nodes:
        config = node.config
        tools = [_tool(model, name, functions) for name in _tools_of(node).values()]
        asking = [tool for tool in tools if tool is not None and tool.requires_approval]
        if asking and isinstance(config, ToolCallConfig) and config.requires_approval is None:
            config = config.model_copy(update={"requires_approval": True})
        elif asking and isinstance(config, CallConfig):
            names = dict.fromkeys((*config.approve, *(spoken(tool.name) for tool in asking)))
            config = config.model_copy(update={"approve": tuple(names)})
        nodes.append(node.model_copy(update={"config": config}))
    children = tuple(_with_approvals(child, functions) for child in model.workflows)
    return model.model_copy(update={"nodes": tuple(nodes), "workflows": children})


def _tool(model: GraphModel, name: str, functions: Mapping[str, Callable[..., Any]]) -> Tool | None:
    """The tool that a graph calls `name`; None for one that is shipped."""
    if is_reference(name):
        return tool_of(functions[name])
    own = model.tool(name)
    return None if own is None else own.described()


async def _pin(
    graph: GraphModel,
    outer: Mapping[str, str],
    functions: Mapping[str, Callable[..., Any]],
    workflows: WorkflowRepository,
    pinned: dict[str, GraphModel],
) -> str:
    """Pin `graph` and what comes along with it into `pinned`; its ref is returned.

    A graph that runs itself, or one that it comes along with, names it without a build: its own could not be part of
    the digest that it is. `Plan.workflow_of` takes the first for the very build that is running.
    """
    names = {**outer, graph.id: graph.ref, graph.ref: graph.ref}
    for child in graph.workflows:
        names[child.id] = names[child.ref] = await _pin(child, names, functions, workflows, pinned)
    nodes = []
    for node in graph.nodes:
        config = node.config
        if isinstance(config, MapConfig | SubworkflowConfig) and config.workflow is not None:
            ref = names.get(config.workflow) or await _stored(config.workflow, workflows)
            nodes.append(node.model_copy(update={"config": config.model_copy(update={"workflow": ref})}))
        else:
            nodes.append(node)
    model = graph.model_copy(update={"nodes": tuple(nodes), "workflows": ()})
    ref = f"{graph.ref}+{_digest(model, functions)}"
    pinned[ref] = model
    return ref


async def _stored(ref: str, workflows: WorkflowRepository) -> str:
    found = await workflows.get(ref)
    assert found is not None, "validated before"
    return found[0]


def _digest(model: GraphModel, functions: Mapping[str, Callable[..., Any]]) -> str:
    content = hashlib.sha256(model.model_dump_json().encode())
    for ref in sorted(_references(model)):
        content.update(_source(functions[ref]).encode())
    return content.hexdigest()[:8]


def _source(function: Callable[..., Any]) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):  # typed into a prompt, built in, or an object that can be called
        code = getattr(function, "__code__", None)
        return repr((code.co_code, code.co_consts)) if code is not None else repr(type(function))


def _references(model: GraphModel) -> set[str]:
    """Every Python callable that a graph and those within it refer to."""
    found = set()
    for node in model.nodes:
        if node.node_type is NodeType.FUNCTION:
            assert isinstance(node.config, FunctionConfig)
            found.add(node.config.function)
        found.update(_tools_of(node).values())
        if isinstance(node.config, LlmConfig) and node.config.output_type is not None:
            found.add(node.config.output_type)
        if isinstance(node.config, HumanConfig) and node.config.answer_type is not None:
            found.add(node.config.answer_type)
    for edge in model.edges:
        if edge.condition is not None and edge.condition.function is not None:
            found.add(edge.condition.function)
        if edge.route is not None:
            found.add(edge.route.function)
    for channel in model.state.get("channels", {}).values():
        found.add(str(channel.get("reducer", "")))
    for child in model.workflows:
        found |= _references(child)
    return {ref for ref in found if is_reference(ref)}
