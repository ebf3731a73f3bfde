"""The threads of one fork, map or subworkflow: what they begin with, and what they bring back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from actors.catalog import Catalog
from actors.ports import Clock
from actors.protocol import BranchDone, RunBranch
from actors.values import Values
from graphs.budgets import Budget
from graphs.journal import END, Cursor, Fork, Usage
from graphs.state.refs import ValueRef
from graphs.state.schema import StateSchema
from graphs.threads import Thread, ThreadFactory, ThreadType, child_thread_id
from graphs.workflow.items import ITEM, channel_of, items_at
from graphs.workflow.node import FunctionConfig, MapConfig, SubworkflowConfig
from graphs.workflow.plan import RESULT, Plan


@dataclass(frozen=True, slots=True)
class BranchParent:
    """The thread that has forked."""

    thread: Thread
    plan: Plan
    state: Mapping[str, Any]
    cursor: Cursor
    seq: int
    usage: Usage
    """What its turn has used."""

    @property
    def budget(self) -> Budget | None:
        """What its turn has left."""
        budget = self.cursor.budget
        return None if budget is None else budget.left(self.usage.total_tokens, self.usage.cost)


class Children:
    """The threads of an open fork.

    Args:
        parent: The thread that has forked.
        fork: The fork.
        catalog: The workflows.
        values: Large values.
        clock: Time.
    """

    def __init__(self, parent: BranchParent, fork: Fork, catalog: Catalog, values: Values, clock: Clock) -> None:
        self.ids = [child_thread_id(parent.thread.id, fork.seq, index) for index in range(fork.size)]
        self._parent = parent
        self._fork = fork
        self._catalog = catalog
        self._values = values
        self._parent_values = values.of(parent.thread.id, parent.plan.schema)
        self._clock = clock
        self._config = None if fork.targets else parent.plan.nodes[fork.node].config
        self._workflow = parent.plan.ref if fork.targets else parent.plan.workflow_of(fork.node)
        self._base: bytes | None = None
        """The state branches begin with, encoded when the first one needs it."""

    @property
    def in_place(self) -> bool:
        """Whether the one thread there is runs where its parent does."""
        return isinstance(self._config, SubworkflowConfig)

    async def request(self, index: int) -> RunBranch:
        """What runs thread `index`: the same each time.

        Raises:
            StateInvalid: The other workflow does not take what it is to begin with.
        """
        parent, fork = self._parent, self._fork
        branch = bool(fork.targets)
        shares_state = branch or "#" in self._workflow
        if shares_state and self._base is None:
            self._base = await self._encoded_base()
        thread = ThreadFactory(self._clock.now()).child(
            parent.thread,
            self.ids[index],
            ThreadType.SEQUENTIAL if self.in_place else ThreadType.PARALLEL,
            workflow=self._workflow,
            base=(parent.thread.id, parent.seq) if shares_state else None,
            name=fork.targets[index] if branch else fork.node if self.in_place else f"{fork.node}[{index}]",
        )
        return RunBranch(
            thread=thread,
            at=fork.targets[index] if branch else None,
            stop_at=fork.join if branch else END,
            # Running another workflow is a step: those that run themselves come to an end. Those of a queue have all.
            steps=0 if parent.thread.is_queue else parent.cursor.steps + (0 if shares_state else 1),
            content=None if branch else await self._content(index),
            state=self._base if shares_state else None,
            durability=parent.cursor.durability,
            budget=parent.budget,
        )

    async def writes(self, done: Mapping[int, BranchDone]) -> list[dict[str, Any]]:
        """What these threads, by index, write to their parent, to be applied one after the other.

        Raises:
            StateInvalid: The parent's state does not take it.
        """
        parent, fork, config = self._parent, self._fork, self._config
        schema = parent.plan.schema
        if config is None:
            return [schema.decode_delta(delta) for branch in done.values() for delta in branch.deltas]
        child_schema = await self._catalog.schema(self._workflow)
        values = self._values.of(parent.thread.id, child_schema)
        if isinstance(config, SubworkflowConfig):
            (branch,) = done.values()
            made = [await values.load(child_schema.decode_delta(delta)) for delta in branch.deltas]
            final = await values.load(child_schema.decode_state(branch.state))
            writes = _outputs(config, schema, child_schema, made, final)
        else:
            assert isinstance(config, MapConfig)
            results: list[Any] = []
            for index in range(fork.size):
                item = done.get(index)
                if item is not None:
                    state = await values.load(child_schema.decode_state(item.state), _result_channels(config))
                    results.append(_result(config, state, child_schema.plain))
                elif config.on_branch_error == "collect":
                    results.append(None)
            writes = [{config.into: results}]
        checked = [schema.check_write(fork.node, write, None) for write in writes]
        return [(await self._parent_values.spill(write))[0] for write in checked]

    async def _encoded_base(self) -> bytes:
        """The state they begin with. A function that gets one item looks at nothing else, which may be far more."""
        schema = self._parent.plan.schema
        if isinstance(self._config, MapConfig):
            (node,) = (await self._catalog.plan(self._workflow)).graph.nodes
            if isinstance(node.config, FunctionConfig):
                return schema.encode_delta({})
        return schema.encode_state(dict(self._parent.state))

    async def _content(self, index: int) -> bytes:
        """The encoded input of thread `index`."""
        schema, state, config = await self._catalog.schema(self._workflow), self._parent.state, self._config
        if isinstance(config, SubworkflowConfig) and config.delta is not None:
            loaded = await self._parent_values.load(state, (config.delta,))
            return bytes(loaded[config.delta])
        if isinstance(config, SubworkflowConfig):
            names = _inputs(config, self._parent.plan.schema, schema)
            loaded = await self._parent_values.load(state, tuple(names.values()))
            content: Any = {there: loaded[here] for there, here in names.items()}
        else:
            assert isinstance(config, MapConfig)
            item = await self._item(config, index)
            if isinstance(item, ValueRef):
                return schema.encode_delta({ITEM: item})
            content = _item_input(config, item)
        return (await self._values.of(self.ids[index], schema).spill(schema.check_input(content)))[1]

    async def _item(self, config: MapConfig, index: int) -> Any:
        """Item `index`; only a reference to it where that, of the same type here and there, is passed on as it is."""
        state = self._parent.state
        items = state.get(config.over)
        if config.node is not None and isinstance(items, list):
            return items[index]
        loaded = await self._parent_values.load(state, (channel_of(config.over),))
        return items_at(config.over, loaded)[index]


def _inputs(config: SubworkflowConfig, here: StateSchema, there: StateSchema) -> dict[str, str]:
    """Channel of the other workflow -> channel here that it begins with."""
    if config.input is not None:
        return config.input
    return {name: name for name in there.channels if name in here.channels}


def _outputs(
    config: SubworkflowConfig,
    here: StateSchema,
    there: StateSchema,
    made: list[dict[str, Any]],
    final: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """The writes that the end of another workflow means here.

    A channel that takes the last value gets the final one. Any other gets what the workflow wrote to it: what the
    workflow began with is there already, and must not be added again.
    """
    written = {name for write in made for name in write}
    names = config.output
    if names is None:
        names = {name: name for name in here.channels if name in written}
    last: dict[str, Any] = {}
    writes: list[dict[str, Any]] = [last]
    for name, source in names.items():
        if here.channels[name].reducer.name == "last_value":
            last[name] = final[source]
        else:
            writes.extend({name: write[source]} for write in made if source in write)
    return [write for write in writes if write]


def _result_channels(config: MapConfig) -> tuple[str, ...] | None:
    """Channels of an item's state that its result is made of; None: all."""
    if config.node is not None:
        return (RESULT,)
    return None if config.result is None else (config.result,)


def _result(config: MapConfig, state: dict[str, Any], plain: Any) -> Any:
    if config.node is not None:
        return state[RESULT]
    return state[config.result] if config.result is not None else plain(state)


def _item_input(config: MapConfig, item: Any) -> Any:
    """What the thread of one item is started with."""
    if config.node is not None:
        return {ITEM: item}
    return {config.item: item} if config.item is not None else item
