"""A channel: one field of a state, with the type of its values and the way writes change it."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING
from typing import Annotated, Any, get_args

import pyarrow as pa
import pydantic
from pydantic import ConfigDict

from graphs.errors import GreenroomError, SchemaError, StateInvalid
from graphs.messages import Message
from graphs.state.annotations import bare, value_type
from graphs.state.containers import ListType, MapType
from graphs.state.fields import Field
from graphs.state.reducers import Reducer, last_value, own_reducer
from graphs.state.specs import adapter, problems_of
from graphs.state.types import JsonType, MisfitError, ValueType


class Channel:
    """One field of a state.

    Args:
        field: Its name, annotation, metadata and default. A reducer may stand among the metadata.
        path: Where it stands, for problems.
        problems: What is wrong with it is added here; then the channel cannot be used.
        config: Config of the model it belongs to.
        reducer: How writes change it; None: as the metadata say, else the last write wins.

    Attributes:
        name: Its name.
        type: Type of its values.
        reducer: How writes change it.
        default: Its first value, or `dataclasses.MISSING`: then it is None until it is written.
    """

    def __init__(
        self,
        field: Field,
        path: str,
        problems: list[str],
        *,
        config: ConfigDict | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        count = len(problems)
        self.name = field.name
        self.default: Any = MISSING
        self.reducer = reducer or last_value
        try:
            self.reducer = reducer or _reducer(field)
        except SchemaError as error:
            problems.append(f"{path}: {error.message}")
        self.type: ValueType = value_type(field.annotation, path, problems)
        if len(problems) > count:
            return
        if not self.reducer.fits(self.type.spec):
            problems.append(f"{path}: {_misplaced(self.reducer)}, and its type is {self.type.spec!r}")
            return
        constraints = tuple(each for each in field.metadata if not _is_reducer(each))
        try:
            self._validate = _validator(_annotated(field.annotation, constraints), config)
            self._validate_item: Callable[[Any], Any] | None = None
            if self.reducer.wants in ("list", "messages"):
                self._validate_item = _validator((*get_args(bare(field.annotation)), Any)[0], config)
        except pydantic.PydanticUserError as error:
            problems.append(f"{path}: {error.message}")
            return
        self._set_default(field.default, path, problems)
        self._fresh = copy.deepcopy if self.type.mutable else _same

    def __repr__(self) -> str:
        return f"Channel({self.name}: {self.type.spec!r}, {self.reducer})"

    @property
    def arrow_type(self) -> pa.DataType:
        """Its Arrow type."""
        return self.type.arrow

    @property
    def required(self) -> bool:
        """Whether it has no default and so is None until it is written."""
        return self.default is MISSING

    @property
    def copied(self) -> bool:
        """Whether nodes get a copy of its value."""
        return isinstance(self.type.inner, ListType | MapType)

    @property
    def shared(self) -> bool:
        """Whether a copy of its list, or its value itself, can be handed to user code that must not change it."""
        inner = self.type.inner
        if not isinstance(inner, ListType):
            return not inner.mutable
        return self.holds_messages or not inner.item.inner.mutable

    @property
    def holds_list(self) -> bool:
        """Whether its values are lists."""
        return isinstance(self.type.inner, ListType)

    @property
    def holds_messages(self) -> bool:
        """Whether its values are lists of messages."""
        return bool(self.type.inner.spec == {"list": "message"})

    @property
    def may_hold_messages(self) -> bool:
        """Whether its values can look like a conversation: a list of messages, or of mappings that are like them."""
        kind = self.type.inner
        return isinstance(kind, JsonType) or (isinstance(kind, ListType) and not kind.direct)

    def to_spec(self) -> dict[str, Any]:
        """Its form in a spec."""
        spec: dict[str, Any] = {"type": self.type.spec}
        if self.reducer.name != last_value.name:
            spec["reducer"] = self.reducer.name
        if self.default is not MISSING:
            spec["default"] = None if self.default is None else self.type.plain(self.default, text=True)
        return spec

    def initial(self) -> Any:
        """What it holds before it is written."""
        return None if self.default is MISSING else self._fresh(self.default)

    def check(self, value: Any, problems: list[str]) -> Any:
        """`value` validated and settled; None, with what is wrong added to `problems`, if it does not fit."""
        try:
            return self.type.settle(self._validate(value))
        except pydantic.ValidationError as error:
            problems += problems_of(error, self.name)
        except MisfitError as error:
            problems.append(f"{self.name}{error.path}: {error}")
        return None

    def check_write(self, value: Any, problems: list[str]) -> Any:
        """As `check`, for what is written: a channel that appends also takes a single item."""
        if self._validate_item is None:
            return self.check(value, problems)
        if self.reducer.wants == "messages":
            value = _as_messages(value)
        found: list[str] = []
        written = self.check(value, found)
        if found and not (isinstance(value, list) and self.holds_messages):
            try:
                written = self.type.settle([self._validate_item(value)])
                found = []
            except pydantic.ValidationError as error:
                found = found if isinstance(value, list | tuple) else problems_of(error, self.name)
            except MisfitError as error:
                found = [f"{self.name}{error.path}: {error}"]
        problems += found
        return written

    def apply(self, old: Any, new: Any) -> Any:
        """The value after `new` was written to `old`.

        Raises:
            StateInvalid: The reducer failed, or its result does not fit.
        """
        if not self.reducer.own:
            value = self.reducer.apply(old, new)
            return self._sum(value) if self.reducer.wants == "number" else value
        problems: list[str] = []
        try:
            value = self.check(self.reducer.apply(old, new), problems)
        except GreenroomError:
            raise
        except Exception as error:
            problems = [f"{self.name}: reducer {self.reducer.name} raised {type(error).__name__}: {error}"]
            raise StateInvalid(problems[0], problems=problems, channel=self.name) from error
        if problems:
            raise StateInvalid(f"reducer {self.reducer.name}: {problems[0]}", problems=problems, channel=self.name)
        return value

    def _sum(self, value: Any) -> Any:
        try:
            return value if value is None else self.type.settle(value)
        except MisfitError as error:
            problem = f"{self.name}: the sum {error}"
            raise StateInvalid(problem, problems=[problem], channel=self.name) from None

    def _set_default(self, default: Any, path: str, problems: list[str]) -> None:
        if default is MISSING or (default is None and self.type.inner is self.type and self.type.spec != "json"):
            default = self.reducer.start(self.type.inner.spec)
            if default is None:
                return
        found: list[str] = []
        self.default = self.check(default, found)
        if not found:
            try:
                self.to_spec()
            except UnicodeDecodeError as error:
                found.append(f"bytes in a spec must be UTF-8: {error}")
        if not found and self.default is not None and self.type.inner.spec in ("table", "record_batch"):
            found.append("a spec cannot hold a table; make it None, and write it with the input")
        problems += [f"{path}: its default: {problem.removeprefix(f'{self.name}: ')}" for problem in found]


def _same(value: Any) -> Any:
    return value


def _validator(annotation: Any, config: ConfigDict | None) -> Callable[[Any], Any]:
    validate = adapter(annotation, config).validator.validate_python
    # Objects of other classes with the same fields are taken: a node may return its own model where the schema,
    # rebuilt from a spec, has a generated one.
    return lambda value: validate(value, from_attributes=True)


def _annotated(annotation: Any, metadata: tuple[Any, ...]) -> Any:
    return Annotated[(annotation, *metadata)] if metadata else annotation


def _is_reducer(metadata: Any) -> bool:
    return isinstance(metadata, Reducer) or inspect.isroutine(metadata)


def _reducer(field: Field) -> Reducer:
    found = [each for each in field.metadata if _is_reducer(each)]
    if len(found) > 1:
        raise SchemaError(f"has {len(found)} reducers; give it one")
    if not found:
        return last_value
    return found[0] if isinstance(found[0], Reducer) else own_reducer(found[0])


def _misplaced(reducer: Reducer) -> str:
    wanted = {
        "list": "a list",
        "map": "a dict[str, ...]",
        "number": "an int, float or Decimal",
        "messages": "a list[Message]",
    }
    return f"reducer {reducer.name} works on {wanted[reducer.wants or '']}"


def _as_messages(value: Any) -> Any:
    if isinstance(value, str | Message | Mapping):
        value = [value]
    if not isinstance(value, list | tuple):
        return value
    return [Message(role="assistant", content=each) if isinstance(each, str) else each for each in value]
