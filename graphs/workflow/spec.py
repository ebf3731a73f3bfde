"""Graphs as YAML and JSON, one-to-one with `GraphModel`, in a form that people can write by hand.

```yaml
id: triage
version: 1.0.0
state:                                  # channel: type, or {type, reducer, default}
  text: string
  notes: {type: {list: string}, reducer: append, default: []}
nodes:                                  # id, type and the options of the type, beside reads, writes, retry, timeout_s
  - {id: answer, type: llm, prompt: "Answer briefly: {text}", into: notes}
  - {id: look_up, type: call, tools: [calculator]}  # run by a map over messages[-1].tool_calls
  - {id: approve, type: human, question: "Send {notes}?", answer: {struct: {kind: {enum: [send, drop]}}}}
  - {id: shout, type: function, function: "my.module:shout", retry: 3}
edges:                                  # from, and either to (when, default, on_error) or route (paths, parameters)
  - {from: START, to: answer}
  - {from: answer, route: message_contains, parameters: {keywords: [urgent]}, paths: {matched: shout, not_matched: END}}
  - {from: shout, to: END}
tools:                                  # those of its own that are data, see `graphs.workflow.endpoints`
  - {name: weather, kind: rest, url: "https://api.example.com/{city}", parameters: {city: {type: string}}}
```
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import pydantic

from graphs.journal import END, START
from graphs.suggest import did_you_mean
from graphs.workflow.data_tools import DATA_TOOLS, DataTool
from graphs.workflow.edge import Edge, EdgeType, edge_name
from graphs.workflow.endpoints import RestTool
from graphs.workflow.graph import GraphModel
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
from graphs.workflow.problems import Problem, from_pydantic, invalid, unknown
from graphs.workflow.text import Format, parse, write

M = TypeVar("M", bound=pydantic.BaseModel)

_CONFIGS: dict[str, type[pydantic.BaseModel]] = {
    str(config.model_fields["node_type"].default): config
    for config in (
        FunctionConfig,
        LlmConfig,
        ToolCallConfig,
        CallConfig,
        ForkConfig,
        MapConfig,
        SubworkflowConfig,
        HumanConfig,
        WaitConfig,
    )
}
_POLICY = ("join", "deadline_s", "on_branch_error")
_GRAPH_KEYS = (
    *("id", "name", "version", "description", "max_steps", "durability", "budget", "metadata"),
    *("state", "nodes", "edges", "workflows", "tools"),
)
_NODE_KEYS = ("id", "type", "reads", "writes", "retry", "timeout_s", "at_most_once", "position")
_EDGE_KEYS = ("id", "from", "to", "when", "default", "on_error", "route", "parameters", "paths", "type")
_WORDS = {"START": START, "END": END}
_NAMES = {START: "START", END: "END"}


def load(text: str, form: Format = "yaml") -> GraphModel:
    """The graph in a YAML or JSON text. What it means is checked by `graphs.workflow.validation.validate`.

    Raises:
        GraphInvalid: It cannot be read; lists all problems with their paths, or with the line of a syntax error.
    """
    return from_document(parse(text, form))


def dump(graph: GraphModel, form: Format = "yaml") -> str:
    """The text of a graph, without what is default; `load` makes an equal graph of it."""
    return write(to_document(graph), form)


def to_document(graph: GraphModel) -> dict[str, Any]:
    """The data that `dump` writes."""
    kept = {"version", "description", "max_steps", "durability", "budget", "metadata"}
    head = graph.model_dump(mode="json", include=kept)
    document: dict[str, Any] = {"id": graph.id, "name": graph.name, **head}
    for key, default in (("name", graph.id), ("description", ""), ("budget", {}), ("metadata", {})):
        if document[key] == default:
            del document[key]
    for key in ("max_steps", "durability"):
        if document[key] == GraphModel.model_fields[key].default:
            del document[key]
    if graph.state:
        channels = graph.state.get("channels", {})
        document["state"] = {name: _short(channel) for name, channel in channels.items()}
    document["nodes"] = [_node_document(node) for node in graph.nodes]
    taken: list[str] = []
    document["edges"] = []
    for edge in graph.edges:
        document["edges"].append(_edge_document(edge, taken))
        taken.append(edge.id)
    if graph.tools:
        document["tools"] = [_tool_document(tool) for tool in graph.tools]
    if graph.workflows:
        document["workflows"] = [to_document(child) for child in graph.workflows]
    return document


def from_document(data: Any) -> GraphModel:
    """The graph in data such as `to_document` gives; raises GraphInvalid as `load` does."""
    reader = _Reader()
    graph = reader.graph(data, "")
    if graph is None or reader.problems:
        name = data.get("id") if isinstance(data, Mapping) else None
        raise invalid(f'workflow "{name}"' if isinstance(name, str) else "workflow", reader.problems)
    return graph


def load_tools(text: str, form: Format = "yaml") -> list[DataTool]:
    """The tools in a YAML or JSON text that has nothing but `tools`, as a workflow may have them.

    Raises:
        GraphInvalid: It cannot be read, or a tool is wrong; lists all problems with their paths.
    """
    reader = _Reader()
    tools = reader.tools(parse(text, form))
    for index, tool in enumerate(tools):
        for problem in tool.problems():
            place, _, message = problem.partition(": ")
            reader.problems.append(Problem(f"tools[{index}].{place}", message))
    if reader.problems:
        raise invalid("tools", reader.problems)
    return tools


def dump_tools(tools: Iterable[DataTool], form: Format = "yaml") -> str:
    """The text of tools; `load_tools` makes equal ones of it."""
    return write({"tools": [_tool_document(tool) for tool in tools]}, form)


def _tool_document(tool: DataTool) -> dict[str, Any]:
    document = {"name": tool.name, "kind": tool.kind, **tool.model_dump(mode="json", exclude_defaults=True)}
    if isinstance(tool, RestTool) and tool.auth is not None:
        document["auth"] = {"kind": tool.auth.kind, **document["auth"]}
    return document


def _node_document(node: Node) -> dict[str, Any]:
    config = node.config.model_dump(mode="json", exclude_defaults=True)
    config |= config.pop("policy", {})
    document = {"id": node.id, "type": str(node.node_type), **config}
    options = node.model_dump(mode="json", include={"reads", "writes", "timeout_s", "position"}, exclude_none=True)
    retry = node.retry.model_dump(exclude_defaults=True)
    if retry:
        options["retry"] = retry["max_attempts"] if list(retry) == ["max_attempts"] else retry
    if node.at_most_once:
        options["at_most_once"] = True
    return document | options


def _edge_document(edge: Edge, taken: Collection[str]) -> dict[str, Any]:
    document: dict[str, Any] = {"from": _NAMES.get(edge.source, edge.source)}
    if edge.target is not None:
        document["to"] = _NAMES.get(edge.target, edge.target)
    if edge.condition is not None:
        condition = edge.condition.model_dump(exclude_none=True)
        document["when"] = condition["cel"] if list(condition) == ["cel"] else condition
    for key in ("default", "on_error"):
        if getattr(edge, key):
            document[key] = True
    if edge.route is not None:
        document["route"] = edge.route.function
        if edge.route.parameters:
            document["parameters"] = edge.route.parameters
        document["paths"] = {answer: _NAMES.get(target, target) for answer, target in edge.route.path_map.items()}
    if edge.edge_type is not _edge_type(document):
        document["type"] = str(edge.edge_type)
    if edge.id != edge_name(edge.source, _leads_to(edge.route and edge.route.function, edge.target), taken):
        document["id"] = edge.id
    return document


def _short(channel: Any) -> Any:
    """`string` for `{type: string}`, and `{list: string}` for `{type: {list: string}}`."""
    only_type = isinstance(channel, Mapping) and list(channel) == ["type"]
    return channel["type"] if only_type and _is_short(channel["type"]) else channel


def _edge_type(document: Mapping[str, Any]) -> EdgeType:
    if "route" in document:
        return EdgeType.FLEXIBLE_CONDITIONAL
    return EdgeType.CONDITIONAL if "when" in document or document.get("default") else EdgeType.SIMPLE


def _leads_to(function: Any, target: Any) -> str:
    return str(function if function is not None else target)


class _Reader:
    """Reads documents, and keeps every problem it meets on the way."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def graph(self, data: Any, path: str) -> GraphModel | None:
        document = self._mapping(data, path, _GRAPH_KEYS)
        state = self._mapping(document.pop("state", None) or {}, f"{path}.state")
        nodes = [self._node(item, f"{path}.nodes[{i}]") for i, item in self._items(document, "nodes", path)]
        edges: list[Edge | None] = []
        taken: set[str] = set()
        for index, item in self._items(document, "edges", path):
            edges.append(self._edge(item, f"{path}.edges[{index}]", taken))
        children = [self.graph(item, f"{path}.workflows[{i}]") for i, item in self._items(document, "workflows", path)]
        tools = [self._tool(item, f"{path}.tools[{i}]") for i, item in self._items(document, "tools", path)]
        fields = {
            "name": document.get("id"),
            **document,
            "state": {"channels": {name: _long(channel) for name, channel in state.items()}} if state else {},
            "nodes": tuple(node for node in nodes if node),
            "edges": tuple(edge for edge in edges if edge),
            "workflows": tuple(child for child in children if child),
            "tools": tuple(tool for tool in tools if tool),
        }
        if "id" not in document:
            del fields["name"]
        return self._made(GraphModel, fields, path)

    def tools(self, data: Any) -> list[DataTool]:
        """The tools of a document that has nothing else."""
        document = self._mapping(data, "", ("tools",))
        found = [self._tool(item, f"tools[{i}]") for i, item in self._items(document, "tools", "")]
        return [tool for tool in found if tool is not None]

    def _node(self, data: Any, path: str) -> Node | None:
        kind = data.get("type") if isinstance(data, Mapping) else None
        config_class = _CONFIGS.get(kind) if isinstance(kind, str) else None
        if isinstance(data, Mapping) and config_class is None:
            message = "is missing" if kind is None else unknown("node type", str(kind), _CONFIGS)
            self._problem(f"{path}.type", message)
            return None
        options = [name for name in config_class.model_fields if name != "node_type"] if config_class else []
        if config_class is ForkConfig:
            options = [*_POLICY, "choice"]
        document = self._mapping(data, path, (*_NODE_KEYS, *options))
        config = {name: document.pop(name) for name in options if name in document}
        if config_class is ForkConfig and config:
            policy = {name: config.pop(name) for name in _POLICY if name in config}
            config |= {"policy": policy} if policy else {}
        if isinstance(document.get("retry"), int):
            document["retry"] = {"max_attempts": document["retry"]}
        document["config"] = {"node_type": document.pop("type", None), **config}
        return self._made(Node, document, path) if config_class else None

    def _tool(self, data: Any, path: str) -> DataTool | None:
        kind = data.get("kind") if isinstance(data, Mapping) else None
        tool_class = DATA_TOOLS.get(kind) if isinstance(kind, str) else None
        if isinstance(data, Mapping) and tool_class is None:
            self._problem(f"{path}.kind", "is missing" if kind is None else unknown("kind", str(kind), DATA_TOOLS))
            return None
        document = self._mapping(data, path, tool_class.model_fields if tool_class else ())
        return self._made(tool_class, document, path) if tool_class else None

    def _edge(self, data: Any, path: str, taken: set[str]) -> Edge | None:
        document = self._mapping(data, path, _EDGE_KEYS)
        if not document:
            return None
        fields: dict[str, Any] = {"edge_type": document.get("type", _edge_type(document))}
        for key, name in (("from", "source"), ("to", "target"), ("default", "default"), ("on_error", "on_error")):
            if key in document:
                fields[name] = _word(document[key])
        if "when" in document:
            when = document["when"]
            fields["condition"] = {"cel": when} if isinstance(when, str) else when
        if "route" in document:
            paths = self._mapping(document.get("paths", {}), f"{path}.paths")
            fields["route"] = {
                "function": document["route"],
                "parameters": document.get("parameters", {}),
                "path_map": {answer: _word(target) for answer, target in paths.items()},
            }
        else:
            for key in ("paths", "parameters"):
                if key in document:
                    self._problem(f"{path}.{key}", "belongs to a route; add route: NAME")
        leads_to = _leads_to(document.get("route"), fields.get("target"))
        fields["id"] = document.get("id", edge_name(str(fields.get("source")), leads_to, taken))
        taken.add(str(fields["id"]))
        return self._made(Edge, fields, path)

    def _items(self, document: dict[str, Any], key: str, path: str) -> Sequence[tuple[int, Any]]:
        found = document.pop(key, None)
        if isinstance(found, list):
            return list(enumerate(found))
        if found is not None:
            self._problem(f"{path}.{key}", f"must be a list, such as `{key}:` with a line `- ...` for each")
        return []

    def _mapping(self, data: Any, path: str, keys: Collection[str] | None = None) -> dict[str, Any]:
        """`data` if it is a mapping, without the keys that are not among `keys`; both are problems."""
        if not isinstance(data, Mapping):
            self._problem(path, f"must be a mapping of names to values, and is {_kind(data)}")
            return {}
        for key in data:
            if keys is not None and key not in keys:
                self._problem(f"{path}.{key}", f"there is no such option{did_you_mean(str(key), keys)}")
        return {key: value for key, value in data.items() if keys is None or key in keys}

    def _made(self, model: type[M], fields: Mapping[str, Any], path: str) -> M | None:
        try:
            return model.model_validate(fields)
        except pydantic.ValidationError as error:
            for problem in from_pydantic(error, path):
                where = problem.path
                if model is Edge:
                    where = where.replace("].source", "].from").replace("].target", "].to")
                self._problem(where, problem.message)
            return None

    def _problem(self, path: str, message: str) -> None:
        self.problems.append(Problem(path.removeprefix("."), message))


def _is_short(channel: Any) -> bool:
    return isinstance(channel, str) or (isinstance(channel, Mapping) and len(channel) == 1 and "type" not in channel)


def _long(channel: Any) -> Any:
    return {"type": channel} if _is_short(channel) else channel


def _word(value: Any) -> Any:
    return _WORDS.get(value, value) if isinstance(value, str) else value


def _kind(value: Any) -> str:
    return "empty" if value is None else f"a {type(value).__name__}"
