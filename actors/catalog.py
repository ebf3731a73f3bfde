"""The workflows a process has made ready to run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from actors.network import SUPERVISOR, Network
from actors.ports import WorkflowRepository
from actors.protocol import FetchFunctions, Functions
from graphs.errors import NotFoundError
from graphs.state.schema import StateSchema
from graphs.workflow.graph import GraphModel
from graphs.workflow.plan import Plan

Unpack = Callable[[bytes], Mapping[str, Any]]
"""Packed callables -> callables by reference."""


class Catalog:
    """Plans by workflow reference, built once in each process.

    Args:
        workflows: Where specs are stored.
        network: For asking the supervisor for Python callables.
        unpack: Opens packed callables.
    """

    def __init__(self, workflows: WorkflowRepository, network: Network, unpack: Unpack) -> None:
        self._workflows = workflows
        self._network = network
        self._unpack = unpack
        self._plans: dict[str, Plan] = {}
        self._building: dict[str, asyncio.Lock] = {}

    async def plan(self, ref: str) -> Plan:
        """The plan of `id@version`, or of `id@version#map` for the items of a map.

        Raises:
            NotFoundError: No such workflow is stored.
        """
        plan = self._plans.get(ref)
        if plan is not None:
            return plan
        async with self._building.setdefault(ref, asyncio.Lock()):
            if ref not in self._plans:
                self._plans[ref] = await self._build(ref)
        return self._plans[ref]

    async def schema(self, ref: str) -> StateSchema:
        """State schema of a workflow."""
        return (await self.plan(ref)).schema

    def forget(self, ref: str) -> None:
        """Build `ref` anew when it is next asked for: it has been deployed again."""
        for known in [known for known in self._plans if known.partition("#")[0] == ref]:
            del self._plans[known]

    async def _build(self, ref: str) -> Plan:
        parent, _, map_id = ref.partition("#")
        if map_id:
            return (await self.plan(parent)).of_item(map_id)
        found = await self._workflows.get(ref)
        if found is None:
            raise NotFoundError(f"no workflow {ref!r} is deployed; deploy it first", kind="workflow", key=ref)
        graph = GraphModel.model_validate_json(found[1])
        reply = await self._network.ask(SUPERVISOR, FetchFunctions(ref=ref), Functions)
        functions = self._unpack(reply.packed) if reply.packed else {}
        return Plan(graph, StateSchema.from_spec(graph.state, functions), functions)
