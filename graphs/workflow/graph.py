"""A workflow graph as pure data, and the metadata of its registration."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, Field, field_validator

from graphs.budgets import Budget
from graphs.errors import ValidationError
from graphs.threads import Durability
from graphs.workflow.data_tools import AnyDataTool, DataTool
from graphs.workflow.edge import Edge
from graphs.workflow.json_value import Json
from graphs.workflow.node import MapConfig, Node, SubworkflowConfig

DEFAULT_MAX_STEPS = 200


class GraphModel(BaseModel):
    """A named, versioned graph: what is stored, checked, drawn and run. Built by `GraphBuilder` or read from a spec."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str
    version: str = "1.0.0"
    description: str = ""
    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    """In order: after a node its outgoing edges are read in this order."""
    state: dict[str, Json] = {}
    """Spec of the state schema, see `graphs.state.schema.StateSchema.to_spec`."""
    max_steps: int = Field(default=DEFAULT_MAX_STEPS, ge=1)
    """Steps one turn may take."""
    durability: Durability = Durability.SYNC
    """When steps are stored, unless a call says otherwise."""
    budget: dict[str, Json] = {}
    """What one turn may use; see `graphs.budgets.Budget`. Empty: without limit."""
    metadata: dict[str, Json] = {}
    workflows: tuple[GraphModel, ...] = ()
    """Graphs that come along because a map or subworkflow of this one runs them."""
    tools: tuple[AnyDataTool, ...] = ()
    """Tools of its own that are data; they come before others of their names."""

    @field_validator("budget")
    @classmethod
    def _check_budget(cls, budget: dict[str, Json]) -> dict[str, Json]:
        try:
            Budget.of(budget)
        except ValidationError as error:
            raise ValueError(error.message.removeprefix("budget: ")) from None
        return budget

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

    def tool(self, name: str) -> DataTool | None:
        """Its own tool of this name, if it has one."""
        return next((tool for tool in self.tools if tool.name == name), None)

    def runs(self) -> tuple[str, ...]:
        """What its maps and subworkflows call the workflows they run."""
        configs = [node.config for node in self.nodes]
        named = [config.workflow for config in configs if isinstance(config, MapConfig | SubworkflowConfig)]
        return tuple(dict.fromkeys(ref for ref in named if ref is not None))

    def family(self) -> Iterator[GraphModel]:
        """This graph and all that come along with it, those of its companions included."""
        yield self
        for graph in self.workflows:
            yield from graph.family()

    def companion(self, ref: str) -> GraphModel | None:
        """The graph called `ref` (`id` or `id@version`) among this one and those that come along with it, or None."""
        return next((graph for graph in self.family() if ref in (graph.id, graph.ref)), None)


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
