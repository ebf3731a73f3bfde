"""The workflows a process has made ready to run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from actors.errors import FunctionUnavailable
from actors.llm.settings import ModelSettings
from actors.ports import WorkflowRepository
from actors.tools.settings import ToolSettings
from graphs.errors import ErrorInfo, GreenroomError, NotFoundError
from graphs.functions import state_reference
from graphs.state.schema import StateSchema
from graphs.workflow.graph import GraphModel
from graphs.workflow.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What the nodes of a workflow may use, by the configuration of whoever has deployed it. Holds secrets."""

    models: Mapping[str, ModelSettings]
    tools: ToolSettings | None
    """None: nobody has deployed it since the cluster started."""


MeansSource = Callable[[str], Awaitable[Means]]
"""`id@version+build` -> what came with it."""
FunctionSource = Callable[[str], Awaitable[Mapping[str, Any]]]
"""`id@version+build` -> the Python callables that came with the workflow, by reference."""


class Catalog:
    """Plans by workflow reference, built once in each process.

    Args:
        workflows: Where specs are stored.
        functions: Where Python callables come from that cannot be imported.
        means: Where the models and the means of the tools of a workflow come from; only executors need it.
    """

    def __init__(
        self, workflows: WorkflowRepository, functions: FunctionSource, means: MeansSource | None = None
    ) -> None:
        self._workflows = workflows
        self._functions = functions
        self._means_source = means
        self._means: dict[str, Means] = {}
        self._plans: dict[str, Plan] = {}
        self._unavailable: dict[str, ErrorInfo] = {}
        """Plans that cannot be built until they are deployed again."""
        self._building: dict[str, asyncio.Lock] = {}
        self._forgotten_count = 0
        """How often something was deployed anew."""

    async def plan(self, ref: str) -> Plan:
        """The plan of `id@version`, or of `id@version#map` for the items of a map.

        Raises:
            NotFoundError: No such workflow is stored.
            FunctionUnavailable: One of its functions cannot be found; goes away when it is deployed again.
        """
        plan = self._plans.get(ref)
        if plan is not None:
            return plan
        async with self._building.setdefault(ref, asyncio.Lock()):
            while (plan := self._plans.get(ref)) is None:
                if ref in self._unavailable:
                    raise GreenroomError.from_info(self._unavailable[ref])
                before = self._forgotten_count
                try:
                    built = await self._build(ref)
                except FunctionUnavailable as error:
                    if before == self._forgotten_count:
                        self._unavailable[ref] = error.info()
                    continue
                if before == self._forgotten_count:  # else it may be made of what was just deployed anew
                    self._plans[ref] = built
        return plan

    async def schema(self, ref: str) -> StateSchema:
        """State schema of a workflow."""
        return (await self.plan(ref)).schema

    async def models(self, ref: str) -> Mapping[str, ModelSettings]:
        """The models a workflow was deployed with; none if it has not been since the cluster started."""
        means = await self._means_of(ref)
        return {} if means is None else means.models

    async def tools(self, ref: str) -> ToolSettings | None:
        """The means of tools that a workflow was deployed with; None if it has not been since the cluster started."""
        means = await self._means_of(ref)
        return None if means is None else means.tools

    async def _means_of(self, ref: str) -> Means | None:
        parent = ref.partition("#")[0]
        means = self._means.get(parent)
        while means is None and self._means_source is not None:
            before = self._forgotten_count
            found = await self._means_source(parent)
            if before == self._forgotten_count:
                means = self._means[parent] = found
        return means

    def forget(self, refs: Collection[str]) -> None:
        """Build these workflows anew when they are next asked for."""
        self._forgotten_count += 1
        for known in [known for known in self._plans if known.partition("#")[0] in refs]:
            del self._plans[known]
        for ref in refs:
            self._unavailable.pop(ref, None)
            self._means.pop(ref, None)

    async def _build(self, ref: str) -> Plan:
        parent, _, map_id = ref.partition("#")
        if map_id:
            return (await self.plan(parent)).of_item(map_id)
        found = await self._workflows.get(ref)
        if found is None:
            raise NotFoundError(f"no workflow {ref!r} is deployed; deploy it first", kind="workflow", key=ref)
        graph = GraphModel.model_validate_json(found[1])
        functions = await self._functions(found[0])
        return Plan(graph, _schema(graph, functions), functions, pinned=found[0])


def _schema(graph: GraphModel, functions: Mapping[str, Any]) -> StateSchema:
    """The schema of the user's own state type, if it came along and is still what the graph was deployed with."""
    state_type = functions.get(state_reference(graph.id))
    if state_type is not None:
        schema = StateSchema.from_type(state_type)
        if schema.to_spec() == graph.state:
            return schema
    return StateSchema.from_spec(graph.state, functions)
