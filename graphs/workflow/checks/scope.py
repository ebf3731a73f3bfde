"""What the checks of a graph look things up in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from graphs.errors import GraphInvalid, NotFoundError
from graphs.functions import is_reference, resolve
from graphs.journal import END, START
from graphs.state.schema import StateSchema
from graphs.workflow.graph import GraphModel
from graphs.workflow.items import ITEM
from graphs.workflow.node import (
    CallConfig,
    ForkConfig,
    HumanConfig,
    LlmConfig,
    MapConfig,
    Node,
    NodeConfig,
    SubworkflowConfig,
    WaitConfig,
)
from graphs.workflow.problems import Problem, unknown
from graphs.workflow.routing import RouteRegistry
from graphs.workflow.template import fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What exists around a graph. None means that it is not known, and skips the checks of it."""

    routes: RouteRegistry
    tools: Collection[str] | None = None
    models: Collection[str] | None = None
    workflows: Collection[str] | None = None
    """Ids and refs of registered workflows."""
    functions: Mapping[str, Callable[..., Any]] | None = None
    """Python callables by reference; what is not in it must be importable."""


@dataclass(frozen=True)
class Scope:
    """One graph, and what its names may refer to."""

    graph: GraphModel
    schema: StateSchema | None
    """None: the state could not be read, and nothing is said about channels."""
    known: Known
    relatives: tuple[GraphModel, ...] = field(default=())
    """The graphs it came along with; a map may run them too."""

    @cached_property
    def nodes(self) -> dict[str, Node]:
        """Node id -> the first node with it."""
        return {node.id: node for node in reversed(self.graph.nodes)}

    @cached_property
    def bodies(self) -> frozenset[str]:
        """Nodes that a map runs for each item."""
        configs = (node.config for node in self.graph.nodes)
        return frozenset(config.node for config in configs if isinstance(config, MapConfig) and config.node)

    def workflow(self, ref: str) -> GraphModel | None:
        """The graph called `ref` among this one, its companions and its relatives."""
        return next((found for graph in (self.graph, *self.relatives) if (found := graph.companion(ref))), None)

    def channel(self, path: str, name: str) -> Iterator[Problem]:
        """A problem if the state has no channel `name`."""
        if self.schema is not None and name not in self.schema.channels:
            yield Problem(path, unknown("channel", name, self.schema.channels))

    def node(self, path: str, name: str) -> Iterator[Problem]:
        """A problem if the graph has no node `name`."""
        if name not in self.nodes and name not in (START, END):
            yield Problem(path, unknown("node", name, self.nodes))

    def writes(self, path: str, node: Node, channel: str) -> Iterator[Problem]:
        """A problem if `node` cannot write `channel`."""
        yield from self.channel(path, channel)
        if node.writes is not None and channel not in node.writes:
            yield Problem(path, f'"{channel}" is not among the channels it may write; add it to writes')

    def reads(self, path: str, node: Node, channel: str) -> Iterator[Problem]:
        """A problem if `node` does not get `channel`."""
        yield from self.channel(path, channel)
        if node.reads is not None and channel not in node.reads:
            yield Problem(path, f'"{channel}" is not among the channels it gets; add it to reads')

    def template(self, path: str, node: Node, template: str) -> Iterator[Problem]:
        """All problems of a template that `node` fills in."""
        try:
            names = fields(template)
        except GraphInvalid as error:
            yield Problem(path, error.message)
            return
        for name in sorted(names):
            if name != ITEM or node.id not in self.bodies:
                yield from self.reads(path, node, name)

    def written(self, node: Node) -> frozenset[str]:
        """Channels that `node` is known to write: what it declares, and what its kind writes."""
        return frozenset(node.writes or ()) | self._written_by(node.config)

    def _written_by(self, config: NodeConfig) -> frozenset[str]:
        match config:
            case (
                HumanConfig(into=None, answer={"struct": dict() as fields})
                | LlmConfig(into=None, output={"struct": dict() as fields})
            ):
                return frozenset(map(str, fields))
            case SubworkflowConfig(output=None, workflow=ref):
                other = self.workflow(ref)
                return (
                    frozenset() if other is None else frozenset(channels_of(other)) & frozenset(channels_of(self.graph))
                )
            case SubworkflowConfig(output=dict() as output):
                return frozenset(output)
            case CallConfig() | ForkConfig() | SubworkflowConfig() | WaitConfig():
                return frozenset()
            case _:
                return frozenset({config.into} if config.into else ())

    def tool(self, path: str, name: str) -> Iterator[Problem]:
        """A problem if there is no tool `name`."""
        if is_reference(name):
            yield from self.function(path, name)
        elif self.known.tools is not None:
            known = {*self.known.tools, *(tool.name for tool in self.graph.tools)}
            if name not in known:
                yield Problem(path, unknown("tool", name, known))

    def function(self, path: str, ref: str) -> Iterator[Problem]:
        """A problem if the Python callable `ref` cannot be had."""
        if self.known.functions is not None:
            try:
                resolve(ref, self.known.functions)
            except NotFoundError as error:
                yield Problem(path, error.message)


def channels_of(graph: GraphModel) -> Mapping[str, Any]:
    """Channel -> its spec, as far as the state of `graph` can be read."""
    channels = graph.state.get("channels")
    return channels if isinstance(channels, Mapping) else {}
