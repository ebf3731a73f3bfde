"""State schemas: the channels of a workflow's state, and all that is done with values of them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from graphs.errors import SchemaError, StateInvalid
from graphs.state.arrow import Codec
from graphs.state.channel import Channel
from graphs.state.fields import fields_of, fields_set, has_fields, is_model, maker
from graphs.state.reducers import last_value, reducer_named
from graphs.state.refs import NotLoaded, holds_refs
from graphs.state.specs import field_of, state_model
from graphs.suggest import did_you_mean

_SHOWN = 5
"""Problems that the message of an error shows; its `problems` has them all."""


class StateSchema:
    """The channels of a state. Made by `from_type` and `from_spec`; values are plain dicts, channel -> value.

    Attributes:
        name: Name of the state's class.
        channels: Channel name -> channel, in order.
        arrow_schema: Arrow type of each channel.
        own_reducers: Users' reducer functions by the name the spec has for them.
        conversations: Channels whose values can look like a list of messages.
        shared: Whether user code that gets a view of a state can change nothing but its own.
    """

    def __init__(self, name: str, channels: Sequence[Channel], python: Any) -> None:
        self.name = name
        self.channels: Mapping[str, Channel] = MappingProxyType({channel.name: channel for channel in channels})
        self.arrow_schema = pa.schema([(channel.name, channel.arrow_type) for channel in channels])
        self.own_reducers: Mapping[str, Callable[[Any, Any], Any]] = MappingProxyType(_own_reducers(name, channels))
        self._codec = Codec({channel.name: channel.type for channel in channels})
        self._make = maker(python)
        self.conversations = frozenset(name for name, channel in self.channels.items() if channel.may_hold_messages)
        self._lists = tuple(name for name, channel in self.channels.items() if channel.copied)
        self.shared = all(channel.shared for channel in channels)

    @classmethod
    def from_type(cls, t: Any) -> StateSchema:
        """The schema of a pydantic model, TypedDict or dataclass.

        Raises:
            SchemaError: Fields have no mapping; `problems` names each.
        """
        if not has_fields(t):
            raise SchemaError(f"{t!r} cannot be a state; use a pydantic model, a TypedDict or a dataclass")
        problems: list[str] = []
        if is_model(t) and t.__pydantic_decorators__.model_validators:
            problems.append(
                "model validators cannot run, because channels are written one at a time; use validators of fields"
            )
        config = getattr(t, "model_config", None)
        channels = [Channel(field, field.name, problems, config=config) for field in fields_of(t)]
        _raise(f"state {t.__name__}", problems, SchemaError)
        return cls(t.__name__, channels, t)

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]] = {}) -> StateSchema:
        """The schema that `to_spec` wrote or a user wrote by hand.

        Args:
            spec: `{"channels": {name: type or {"type": ..., "reducer": ..., "default": ...}}}`.
            functions: Own reducers by `module:qualname`; what is not in it is imported when it is first used.

        Raises:
            SchemaError: It cannot be read; `problems` has all reasons with their paths.
        """
        problems = [f"no key {key!r}{did_you_mean(str(key), ('channels',))}" for key in spec if key != "channels"]
        given = spec.get("channels", {})
        if not isinstance(given, Mapping):
            problems.append("channels: must be a mapping of names to types")
            given = {}
        channels, fields = [], []
        for name, inner in given.items():
            path = f"channels.{name}"
            field = field_of(name, inner, path, problems, more=frozenset({"reducer"}))
            reducer = last_value
            try:
                if isinstance(inner, Mapping) and "reducer" in inner:
                    reducer = reducer_named(inner["reducer"], functions)
            except SchemaError as error:
                problems.append(f"{path}.reducer: {error.message}")
            if field is not None:
                fields.append(field)
                channels.append(Channel(field, path, problems, reducer=reducer))
        _raise("state", problems, SchemaError)
        return cls("State", channels, state_model(fields))

    def to_spec(self) -> dict[str, Any]:
        """The schema as data that JSON and YAML can hold."""
        return copy.deepcopy({"channels": {name: channel.to_spec() for name, channel in self.channels.items()}})

    def initial(self) -> dict[str, Any]:
        """The state before anything is written: defaults; None for channels without one."""
        return {name: channel.initial() for name, channel in self.channels.items()}

    def check_input(self, data: Any) -> dict[str, Any]:
        """The write that an input means.

        Args:
            data: A mapping with some of the channels; or a model or dataclass, of which the fields that were set count.

        Raises:
            StateInvalid: `problems` has all that is wrong, such as `text: Input should be a valid string`.
        """
        if has_fields(type(data)):
            data = fields_set(data)
        if not isinstance(data, Mapping):
            raise StateInvalid(
                f"input must be a mapping of channels to values, not {type(data).__name__}",
                problems=[f"must be a mapping, not {type(data).__name__}"],
            )
        problems: list[str] = []
        write = self._checked(data, None, problems)
        _raise("input", problems, StateInvalid)
        return write

    def check_write(self, node_id: str, update: Any, allowed: Collection[str] | None) -> dict[str, Any]:
        """The write that a node's return value means.

        Args:
            node_id: The node, for errors.
            update: What it returned: a mapping with the channels it writes, or None for no channel.
            allowed: Channels it may write; None: any.

        Raises:
            StateInvalid: `problems` has all that is wrong, `node` is the node.
        """
        if update is None:
            return {}
        if not isinstance(update, Mapping):
            raise StateInvalid(
                f"node {node_id!r} returned {type(update).__name__}; it must return a dict of the channels it writes",
                problems=[f"must be a mapping, not {type(update).__name__}"],
                node=node_id,
            )
        problems: list[str] = []
        write = self._checked(update, allowed, problems)
        _raise(f"node {node_id!r} returned", problems, StateInvalid, node=node_id)
        return write

    def apply(self, state: Mapping[str, Any], write: Mapping[str, Any]) -> dict[str, Any]:
        """`state` after `write`, as a new dict.

        Raises:
            StateInvalid: A reducer failed, or its result does not fit the channel.
        """
        new = dict(state)
        for name, value in write.items():
            channel = self.channel(name)
            new[name] = channel.apply(new.get(name), value)
        return new

    def combine(self, writes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """As few writes as possible with the effect of `writes` one after the other."""
        by_channel: dict[str, list[Any]] = {}
        for write in writes:
            for name, value in write.items():
                by_channel.setdefault(name, []).append(value)
        combined: list[dict[str, Any]] = []
        for name, values in by_channel.items():
            for place, value in enumerate(self.channel(name).reducer.combine(values)):
                if place == len(combined):
                    combined.append({})
                combined[place][name] = value
        return combined

    def view(self, state: Mapping[str, Any], reads: Collection[str] | None, *, as_dict: bool = False) -> Any:
        """What a node gets: an object of the state's class, not validated again; a dict for a TypedDict.

        Lists and dicts are copies, so that a node which changes them in place changes nothing but its own.

        Args:
            state: The state.
            reads: Channels the node reads; the others have their default. None: all.
            as_dict: Give a dict in any case.

        Raises:
            NotLoaded: Of something it gets there is only a reference.
        """
        self._check_loaded(state, reads)
        if reads is None:
            values = {
                name: state[name] if name in state else channel.initial() for name, channel in self.channels.items()
            }
        else:
            values = self.initial()
            for name in reads:
                values[self.channel(name).name] = state.get(name)
        for name in self._lists:
            if values[name]:
                values[name] = values[name].copy()
        return values if as_dict else self._make(values)

    def copied(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """`state` with lists and dicts of its own, for somebody who may change them in place."""
        return {name: value.copy() if type(value) in (list, dict) else value for name, value in state.items()}

    def plain(self, state: Mapping[str, Any], only: Collection[str] | None = None) -> dict[str, Any]:
        """The state in mappings, lists and scalars, for conditions, templates and output.

        Models become dicts, enum members their values, dates ISO text, tables their size. Datetimes, decimals and
        bytes stay what they are.

        Args:
            state: The state.
            only: Channels to take; None: all.

        Raises:
            NotLoaded: Of something to be taken there is only a reference.
        """
        self._check_loaded(state, only)
        return {
            name: None if value is None else self.channel(name).type.plain(value)
            for name, value in state.items()
            if only is None or name in only
        }

    def unloaded(self, state: Mapping[str, Any], only: Collection[str] | None = None) -> list[str]:
        """Channels of which the state has only references, among `only` (None: all)."""
        names = state if only is None else [name for name in only if name in state]
        return [name for name in names if holds_refs(state[name])]

    def encode_state(self, state: Mapping[str, Any]) -> bytes:
        """A whole state as bytes. Raises `StateInvalid` for a value that does not fit its channel."""
        return self._codec.encode({name: state.get(name) for name in self.channels})

    def decode_state(self, blob: bytes) -> dict[str, Any]:
        """The state in `blob`; channels it does not know have their default.

        Raises:
            SchemaError: It is damaged, or was written with another schema.
        """
        stored = self._codec.decode(blob)
        return {name: stored[name] if name in stored else channel.initial() for name, channel in self.channels.items()}

    def encode_delta(self, write: Mapping[str, Any]) -> bytes:
        """A write as bytes: only the channels in it. Raises as `encode_state`."""
        for name in write:
            self.channel(name)
        return self._codec.encode(write)

    def decode_delta(self, blob: bytes) -> dict[str, Any]:
        """The write in `blob`. Raises as `decode_state`."""
        return self._codec.decode(blob)

    def _checked(self, data: Mapping[Any, Any], allowed: Collection[str] | None, problems: list[str]) -> dict[str, Any]:
        write: dict[str, Any] = {}
        for name, value in data.items():
            channel = self.channels.get(name)
            if channel is None:
                problems.append(f"{name}: no such channel{did_you_mean(str(name), self.channels)}")
            elif allowed is not None and name not in allowed:
                problems.append(f"{name}: is not among the channels it writes ({', '.join(allowed) or 'none'})")
            else:
                write[name] = channel.check_write(value, problems)
        return write

    def _check_loaded(self, state: Mapping[str, Any], only: Collection[str] | None) -> None:
        if missing := self.unloaded(state, only):
            raise NotLoaded(missing)

    def channel(self, name: str) -> Channel:
        """The channel called `name`. Raises `StateInvalid`."""
        channel = self.channels.get(name)
        if channel is None:
            hint = did_you_mean(name, self.channels)
            raise StateInvalid(f'no channel "{name}"{hint}', problems=[f"{name}: no such channel{hint}"])
        return channel


def _own_reducers(name: str, channels: Sequence[Channel]) -> dict[str, Callable[[Any, Any], Any]]:
    found: dict[str, Callable[[Any, Any], Any]] = {}
    for channel in channels:
        reducer = channel.reducer
        if reducer.own and reducer.loaded and reducer.function is not found.setdefault(reducer.name, reducer.function):
            raise SchemaError(
                f"state {name}: two reducers are called {reducer.name}; make them functions with names of their own",
                problems=[f"{channel.name}: another reducer is called {reducer.name} too"],
            )
    return found


def _raise(what: str, problems: list[str], error: type[SchemaError | StateInvalid], **fields: Any) -> None:
    if problems:
        texts = [" ".join(problem.split()) for problem in problems]
        more = f"; and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
        raise error(f"{what}: {'; '.join(texts[:_SHOWN])}{more}", problems=texts, **fields)
