"""Checks of the answers that human nodes take, and of those that models give in a form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from graphs.state.specs import annotation_of
from graphs.workflow.answers import TABLES
from graphs.workflow.checks.fits import fits_channel
from graphs.workflow.checks.scope import Scope
from graphs.workflow.node import HumanConfig, LlmConfig, Node
from graphs.workflow.problems import Problem


def check_answer_type(scope: Scope, path: str, node: Node, config: HumanConfig | LlmConfig) -> Iterator[Problem]:
    """All problems of what a node says of its answer, and of where the answer goes."""
    answer: Any
    if isinstance(config, HumanConfig):
        option, answer, python = "answer", config.answer, config.answer_type
    else:
        option, answer, python = "output", config.output, config.output_type
    if python is not None:
        yield from scope.function(f"{path}.{option}_type", python)
    if config.into is not None and node.id not in scope.bodies:
        yield from scope.writes(f"{path}.into", node, config.into)
        yield from _check_table(scope, path, config.into)
    found: list[str] = []
    if answer is not None:
        annotation_of(answer, f"{path}.{option}", found, "Answer")
    for text in found:
        place, _, message = text.partition(": ")
        yield Problem(place, message)
    if answer is None or found or node.id in scope.bodies:
        return
    if config.into is not None:
        yield from _check_fit(scope, f"{path}.{option}", answer, config.into)
    else:
        yield from _check_fields(scope, path, option, node, answer)


def _check_fields(scope: Scope, path: str, option: str, node: Node, answer: Any) -> Iterator[Problem]:
    """An answer without `into` goes to the channels that its fields are named after."""
    fields = answer.get("struct") if isinstance(answer, Mapping) else None
    if isinstance(fields, Mapping):
        for name, spec in fields.items():
            yield from scope.writes(f"{path}.{option}.{name}", node, name)
            yield from _check_fit(scope, f"{path}.{option}.{name}", spec, name)
    elif answer != "json" and not (isinstance(answer, Mapping) and "map" in answer):
        yield Problem(f"{path}.into", "is missing: this answer has no fields to write to channels of their names")


def _check_fit(scope: Scope, path: str, answer: Any, into: str) -> Iterator[Problem]:
    if scope.schema is None or into not in scope.schema.channels:
        return
    channel = scope.schema.channels[into]
    if not fits_channel(answer, channel):
        yield Problem(path, f'does not fit channel "{into}", whose type is {channel.type.spec}')


def _check_table(scope: Scope, path: str, into: str) -> Iterator[Problem]:
    channel = scope.schema.channels.get(into) if scope.schema is not None else None
    if channel is not None and channel.type.inner.spec in TABLES:
        yield Problem(f"{path}.into", f'channel "{into}" holds a table, which nobody can type in')
