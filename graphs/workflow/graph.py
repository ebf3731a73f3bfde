"""A workflow graph as pure data, and the metadata of its registration."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from graphs.workflow.edge import Edge
from graphs.workflow.node import Node

DEFAULT_MAX_STEPS = 200


class GraphModel(BaseModel):
    """A named, versioned graph: what is stored, validated, drawn and run. Built by `GraphBuilder` or read from a spec."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str
    version: str = "1.0.0"
    description: str = ""
    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    """In order: after a node its outgoing edges are read in this order."""
    state: dict[str, Any] = {}
    """Spec of the state schema, see `graphs.state.schema.StateSchema.to_spec`."""
    max_steps: int = Field(default=DEFAULT_MAX_STEPS, ge=1)
    """Steps one turn may take."""
    metadata: dict[str, Any] = {}
    workflows: tuple[GraphModel, ...] = ()
    """Graphs that come along because a map of this one runs them."""

    @property
    def ref(self) -> str:
        """`id@version`."""
        return f"{self.id}@{self.version}"

    def node(self, node_id: str) -> Node:
        """The node with this id; raises KeyError."""
        for node in self.nodes:
            if node.id == node_id:
                return node
        raise KeyError(node_id)


class WorkflowMetadata(BaseModel):
    """What the registry tells about a workflow."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str
    version: str
    description: str = ""
    created_at: float
    """Unix seconds."""
    updated_at: float
