"""The edges of a graph: where a thread goes after a node."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from itertools import chain, count

from pydantic import BaseModel, ConfigDict

from graphs.journal import END, START
from graphs.workflow.json_value import Json


class EdgeType(StrEnum):
    """Kinds of edges."""

    SIMPLE = "simple"
    CONDITIONAL = "conditional"
    FLEXIBLE_CONDITIONAL = "flexible_conditional"


class Condition(BaseModel):
    """When a conditional edge is taken: exactly one of the two is set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cel: str | None = None
    """A CEL expression over `state`."""
    function: str | None = None
    """`module:name` of a Python predicate that gets the state."""


class Route(BaseModel):
    """What a flexible conditional edge asks, and where each answer leads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    function: str
    """Name of a registered route function, or `module:name` of a Python one."""
    parameters: dict[str, Json] = {}
    path_map: dict[str, str]
    """Answer -> target node or `END`."""


def edge_name(source: str, leads_to: str, taken: Collection[str]) -> str:
    """The id of an edge that is given none: `source->target`, with `#2` and so on where that is `taken`.

    Args:
        source: Id of the source.
        leads_to: Id of the target, or the name of the route function.
        taken: Ids of the edges before it.
    """
    words = {START: "START", END: "END"}
    name = f"{words.get(source, source)}->{words.get(leads_to, leads_to)}"
    return next(each for each in chain([name], (f"{name}#{n}" for n in count(2))) if each not in taken)


class Edge(BaseModel):
    """One edge. A flexible conditional one has no single target: its `route.path_map` holds them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    source: str
    target: str | None = None
    edge_type: EdgeType = EdgeType.SIMPLE
    condition: Condition | None = None
    default: bool = False
    """Taken when no conditional edge of the same source is."""
    on_error: bool = False
    """Taken when the source fails for good, and only then: the turn goes on there."""
    route: Route | None = None

    @property
    def targets(self) -> tuple[str, ...]:
        """Every node this edge may lead to."""
        if self.route is not None:
            return tuple(dict.fromkeys(self.route.path_map.values()))
        return () if self.target is None else (self.target,)
