"""What may be answered to a human node, or by a model where a form is given, and what an answer writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pydantic
from pydantic import BaseModel

from graphs.errors import NotFoundError, StateInvalid
from graphs.messages import Message
from graphs.state.annotations import value_type
from graphs.state.channel import Channel
from graphs.state.containers import StructType
from graphs.state.fields import Field, is_model
from graphs.state.specs import adapter, annotation_of, problems_of, state_model
from graphs.state.types import MisfitError, ValueType
from graphs.suggest import did_you_mean
from graphs.workflow.node import HumanConfig, LlmConfig
from graphs.workflow.plan import Plan

TABLES = ("table", "record_batch")
"""Types that nobody can type in."""


@dataclass(frozen=True, slots=True)
class _Expected:
    """What a node says of its answer."""

    spec: Any
    python: str | None
    into: str | None


def check_answer(plan: Plan, node_id: str, value: Any) -> dict[str, Any]:
    """The write that an answer to a human node means, or the answer of a model that `output` gives a form.

    It is checked with the Python type of the answer where that is at hand and still the one that was deployed, else
    with the type that the graph describes; and then as every write is.

    Raises:
        StateInvalid: `problems` has all that is wrong with it, such as `answer.approved: Field required`.
    """
    expected = _expected(plan, node_id)
    annotation = _declared(plan, expected)
    if annotation is not None:
        value = _validated(node_id, annotation, value)
    if expected.into is not None:
        if isinstance(value, str) and plan.schema.channels[expected.into].holds_messages:
            value = Message(role="user", content=value)
        value = {expected.into: value}
    try:
        return plan.schema.check_write(node_id, value, plan.nodes[node_id].writes)
    except StateInvalid as error:
        raise _refused(node_id, error.problems) from None


def answer_schema(plan: Plan, node_id: str) -> dict[str, Any]:
    """The JSON schema of the answers that a node takes, for the forms of user interfaces and for models."""
    expected = _expected(plan, node_id)
    annotation = _declared(plan, expected)
    if annotation is None and expected.into is not None:
        annotation = _written(plan.schema.channels[expected.into])
    if annotation is None:
        writes = plan.nodes[node_id].writes
        annotation = _any_channels(
            [channel for name, channel in plan.schema.channels.items() if writes is None or name in writes]
        )
    return adapter(annotation).json_schema()


def _expected(plan: Plan, node_id: str) -> _Expected:
    node = plan.nodes.get(node_id)
    match node.config if node is not None else None:
        case HumanConfig(answer=spec, answer_type=python, into=into):
            return _Expected(spec, python, into)
        case LlmConfig(output=spec, output_type=python, into=into) if spec is not None:
            return _Expected(spec, python, into)
        case _:
            raise NotFoundError(f"{plan.graph.ref} has no human node {node_id!r}", kind="human node", key=node_id)


def _declared(plan: Plan, expected: _Expected) -> Any:
    """The type the node declares for its answer; None if it declares none."""
    if expected.python is not None:
        try:
            python: Any = plan.function(expected.python)
        except NotFoundError:
            python = None
        if python is not None and expected.spec in (None, _spec(python)):
            return python
    return None if expected.spec is None else annotation_of(expected.spec, "answer", [], "Answer")


def _spec(python: Any) -> Any:
    problems: list[str] = []
    spec = value_type(python, "answer", problems).spec
    return None if problems else spec


def _validated(node_id: str, annotation: Any, value: Any) -> Any:
    """`value` as the declared type takes it, in mappings, lists and scalars."""
    kind = value_type(annotation, "answer", [])
    problems = _unknown_keys(kind.inner, value)
    try:
        valid = adapter(annotation).validator.validate_python(value, from_attributes=True)
        if not problems:
            return kind.plain(kind.settle(valid))
    except pydantic.ValidationError as error:
        problems += problems_of(error, "answer")
    except MisfitError as error:
        problems.append(f"answer{error.path}: {error}")
    raise _refused(node_id, problems)


def _unknown_keys(kind: ValueType, value: Any) -> list[str]:
    """Keys of an answer that no field takes: a slip that must not be lost where the right field has a default."""
    if not isinstance(kind, StructType) or not isinstance(value, Mapping):
        return []
    fields = kind.python.model_fields if is_model(kind.python) else {}
    known = {*kind.fields, *(info.alias for info in fields.values() if info.alias is not None)}
    return [f"answer.{key}: no such field{did_you_mean(str(key), known)}" for key in value if key not in known]


def _refused(node_id: str, problems: list[str]) -> StateInvalid:
    texts = [" ".join(problem.split()) for problem in problems]
    return StateInvalid(f"the answer to {node_id!r} does not fit: {'; '.join(texts)}", problems=texts, node=node_id)


def _written(channel: Channel) -> Any:
    """The type of what may be written to a channel: one that appends also takes a single item."""
    spec: Any = channel.type.spec
    annotation = annotation_of(spec, channel.name, [], "Answer")
    inner: Any = channel.type.inner.spec
    if channel.reducer.wants not in ("list", "messages") or not isinstance(inner, Mapping):
        return annotation
    item = annotation_of(inner["list"], channel.name, [], "Item")
    return str | item | annotation if channel.holds_messages else item | annotation


def _any_channels(channels: list[Channel]) -> type[BaseModel]:
    return state_model(
        [
            Field(name=channel.name, annotation=_written(channel), default=None)
            for channel in channels
            if channel.type.inner.spec not in TABLES
        ]
    )
