"""Going from one node to what comes after it: edges, forks, maps, the limit of steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from graphs.budgets import Budget
from graphs.errors import ErrorInfo, GreenroomError, RoutingError, StateInvalid, StepLimitExceeded
from graphs.journal import END, Cursor, Fork, Usage
from graphs.state.refs import NotLoaded, ValueRef
from graphs.workflow.items import items_at
from graphs.workflow.node import ForkConfig, MapConfig, SubworkflowConfig
from graphs.workflow.plan import Plan
from graphs.workflow.routing import RouteContext

_replace = msgspec.structs.replace


@dataclass(frozen=True, slots=True)
class Move:
    """How a thread leaves a node, given the state after it.

    Its methods raise `NotLoaded` if that hangs on values of which the state has only references.
    """

    plan: Plan
    state: Mapping[str, Any]
    seq: int
    now: float

    def leave(self, cursor: Cursor, source: str, usage: Usage) -> Cursor:
        """Follow the edges that leave `source`."""
        try:
            targets = _targets(self.plan, cursor, source, self.state, usage, self.now)
        except GreenroomError as error:
            return _replace(cursor, error=error.info())
        return self.go(cursor, targets, source, usage)

    def leave_fork(self, cursor: Cursor, source: str, usage: Usage) -> Cursor:
        """Go on behind the branches that started at `source`: at their join, or after the map or subworkflow."""
        node = self.plan.nodes.get(source)
        if node is not None and isinstance(node.config, MapConfig | SubworkflowConfig):
            return self.leave(cursor, source, usage)
        return self.go(cursor, (self.plan.joins[source],), source, usage)

    def catch(self, cursor: Cursor, source: str, error: ErrorInfo) -> Cursor:
        """Go where the failure of `source` leads; without an edge for errors the turn fails."""
        target = self.plan.error_targets.get(source)
        if target is None:
            return _replace(cursor, error=error)
        return self.enter(_replace(cursor, caught=error), target, Usage())

    def go(self, cursor: Cursor, targets: tuple[str, ...], source: str, usage: Usage) -> Cursor:
        """Go to `targets`: the end, one node, or a fork of several."""
        plan = self.plan
        special = source in plan.special_forks
        if special or len(targets) > 1:
            join = plan.joins[source]
            # A branch that would begin at its own end has nothing to do; a single one left needs no thread of its own.
            busy = tuple(target for target in targets if target not in (join, cursor.stop_at))
            branches = targets if special and busy else busy
            if len(branches) > 1 or (special and busy):
                fork = Fork(node=source, seq=self.seq, join=join, targets=branches, opened_at=self.now)
                return _replace(cursor, fork=fork)
            targets = busy or (join,)
        return self.enter(cursor, targets[0], usage)

    def enter(self, cursor: Cursor, target: str, usage: Usage) -> Cursor:
        """Begin `target`: the end, or a node."""
        plan = self.plan
        if target in (END, cursor.stop_at):
            return cursor
        if cursor.steps >= plan.graph.max_steps:
            error = StepLimitExceeded(
                f"{plan.graph.ref} ran {cursor.steps} steps in one turn; end the loop or raise max_steps",
                max_steps=plan.graph.max_steps,
                node=target,
            )
            return _replace(cursor, error=error.info())
        config = plan.nodes[target].config
        match config:
            case MapConfig():
                return self._map(cursor, target, config)
            case SubworkflowConfig():
                return _replace(cursor, fork=self._fork(target, 1))
            case ForkConfig():
                return self.leave(_replace(cursor, steps=cursor.steps + 1), target, usage)
            case _:
                return _replace(cursor, node=target, asks=plan.asks(target, self.state))

    def _map(self, cursor: Cursor, node: str, config: MapConfig) -> Cursor:
        """Begin the map at `node`."""
        try:
            items = self.state[config.over] if config.over in self.state else items_at(config.over, self.state)
        except StateInvalid as misfit:
            return _replace(cursor, error=misfit.info())
        if isinstance(items, ValueRef):  # single items may be references: only their number counts here
            raise NotLoaded((config.over,))
        if items is not None and not isinstance(items, list):
            error = RoutingError(
                f"map {node!r} needs a list in channel {config.over!r}, which holds {type(items).__name__}",
                node=node,
                channel=config.over,
            )
            return _replace(cursor, error=error.info())
        return _replace(cursor, fork=self._fork(node, len(items or ())))

    def _fork(self, node: str, items: int) -> Fork:
        return Fork(node=node, seq=self.seq, join=node, items=items, opened_at=self.now)


def _is_spent(budget: Budget, cursor: Cursor, usage: Usage, now: float) -> bool:
    tokens, cost = usage.total_tokens, usage.cost
    return budget.exceeded(node="", tokens=tokens, cost=cost, steps=cursor.steps, now=now, asks=True) is not None


def _targets(
    plan: Plan, cursor: Cursor, source: str, state: Mapping[str, Any], usage: Usage, now: float
) -> tuple[str, ...]:
    """Distinct targets of the edges taken after `source`, in edge order; never empty."""
    spent = cursor.budget is not None and _is_spent(cursor.budget, cursor, usage, now)
    context = RouteContext(steps=cursor.steps, turn=cursor.turn, usage=usage, is_spent=spent)
    taken: dict[str, None] = {}
    default: str | None = None
    conditional_taken = False
    for planned in plan.edges.get(source, ()):
        edge = planned.edge
        if edge.default:
            default = edge.target
            continue
        found = planned.taken(plan.schema, state, context)
        conditional_taken = conditional_taken or (bool(found) and edge.condition is not None)
        taken.update(dict.fromkeys(found))
    if default is not None and not conditional_taken:
        taken[default] = None
    if not taken:
        raise RoutingError(
            f"no edge after {source!r} is taken: none of its conditions holds; add an edge with default=True",
            node=source,
        )
    return tuple(taken)
