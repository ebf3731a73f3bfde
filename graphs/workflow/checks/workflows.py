"""Checks of the workflows that maps and subworkflows run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from graphs.workflow.checks.fits import fits, fits_channel
from graphs.workflow.checks.scope import Scope, channels_of
from graphs.workflow.graph import GraphModel
from graphs.workflow.node import MapConfig, Node, SubworkflowConfig
from graphs.workflow.problems import Problem, unknown


def check_item_workflow(scope: Scope, path: str, config: MapConfig, ref: str) -> Iterator[Problem]:
    """All problems of the workflow that a map runs for each item."""
    other = scope.workflow(ref)
    if other is None:
        yield from _check_known(scope, path, ref)
        return
    for name, channel in (("item", config.item), ("result", config.result)):
        if channel is not None:
            yield from _check_channel(f"{path}.{name}", other, channel)


def check_subworkflow(scope: Scope, path: str, node: Node, config: SubworkflowConfig) -> Iterator[Problem]:
    """All problems of a subworkflow: the workflow, and the channels that go in and come out."""
    other = scope.workflow(config.workflow)
    if other is None:
        yield from _check_known(scope, path, config.workflow)
    for theirs, ours in (config.input or {}).items():
        yield from scope.reads(f"{path}.input.{theirs}", node, ours)
        if other is not None:
            yield from _check_channel(f"{path}.input.{theirs}", other, theirs)
    for ours, theirs in (config.output or {}).items():
        yield from scope.writes(f"{path}.output.{ours}", node, ours)
        if other is not None:
            yield from _check_channel(f"{path}.output.{ours}", other, theirs)
    if other is not None and scope.schema is not None:
        yield from _check_types(scope, path, config, other)


def _check_known(scope: Scope, path: str, ref: str) -> Iterator[Problem]:
    if scope.known.workflows is not None and ref not in scope.known.workflows:
        yield Problem(f"{path}.workflow", unknown("workflow", ref, scope.known.workflows))


def _check_channel(path: str, other: GraphModel, channel: str) -> Iterator[Problem]:
    channels = channels_of(other)
    if channel not in channels:
        yield Problem(path, f'workflow "{other.id}": {unknown("channel", channel, channels)}')


def _check_types(scope: Scope, path: str, config: SubworkflowConfig, other: GraphModel) -> Iterator[Problem]:
    """Channels of both sides whose values do not fit each other."""
    assert scope.schema is not None
    ours, theirs = scope.schema.channels, channels_of(other)
    both = {name: name for name in ours if name in theirs}
    for name, (there, here) in _pairs("input", config.input, both):
        if here in ours and there in theirs and not fits(ours[here].type.spec, theirs[there]):
            yield Problem(f"{path}.{name}", _mismatch(other, here, there))
    for name, (here, there) in _pairs("output", config.output, both):
        if here in ours and there in theirs and not fits_channel(theirs[there], ours[here]):
            yield Problem(f"{path}.{name}", _mismatch(other, here, there))


def _pairs(option: str, given: Mapping[str, str] | None, both: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """(path of the option, the two channels) for each that is mapped, by name or by being on both sides."""
    if given is None:
        yield from ((option, pair) for pair in both.items())
    else:
        yield from ((f"{option}.{pair[0]}", pair) for pair in given.items())


def _mismatch(other: GraphModel, here: str, there: str) -> str:
    return f'channel "{here}" and channel "{there}" of workflow "{other.id}" have types that do not fit; map others'
