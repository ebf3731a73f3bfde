"""The fields of a model, TypedDict or dataclass, seen as one thing; and objects of them made without validation."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass
from typing import Annotated, Any

import pydantic
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from graphs.errors import SchemaError

_VALIDATORS: dict[str, Callable[[Any], Any]] = {
    "before": pydantic.BeforeValidator,
    "after": pydantic.AfterValidator,
    "plain": pydantic.PlainValidator,
    "wrap": pydantic.WrapValidator,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of a class."""

    name: str
    annotation: Any
    """Its type, without `metadata`."""
    metadata: tuple[Any, ...] = ()
    """What `Annotated` and `Field(...)` add: constraints, validators, reducers."""
    default: Any = MISSING
    optional: bool = False
    """Whether a mapping may lack it (`NotRequired`)."""

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is MISSING


def is_model(t: Any) -> bool:
    """Whether `t` is a pydantic model."""
    return isinstance(t, type) and issubclass(t, BaseModel)


def is_typed_dict(t: Any) -> bool:
    """Whether `t` is a TypedDict."""
    return isinstance(t, type) and issubclass(t, dict) and hasattr(t, "__total__")


def is_dataclass(t: Any) -> bool:
    """Whether `t` is a dataclass."""
    return isinstance(t, type) and dataclasses.is_dataclass(t)


def has_fields(t: Any) -> bool:
    """Whether `t` is a class that `fields_of` reads."""
    return is_model(t) or is_typed_dict(t) or is_dataclass(t)


def fields_of(t: Any) -> list[Field]:
    """The fields of a pydantic model, TypedDict or dataclass, in order.

    Raises:
        SchemaError: It is none of these, or has parts that channels and structs cannot have.
    """
    if is_model(t):
        return _model_fields(t)
    if is_typed_dict(t):
        optional = t.__optional_keys__
        return [_parsed(name, hint, MISSING, optional=name in optional) for name, hint in _hints(t).items()]
    if is_dataclass(t):
        return _dataclass_fields(t)
    raise SchemaError(f"{t!r} is no pydantic model, TypedDict or dataclass")


def fields_set(data: Any) -> dict[str, Any]:
    """The fields of a model or dataclass object that were given a value, by name."""
    if isinstance(data, BaseModel):
        return {name: getattr(data, name) for name in type(data).model_fields if name in data.model_fields_set}
    found = {}
    for field in fields_of(type(data)):
        value = getattr(data, field.name)
        if field.required or (value is not field.default and value != field.default):
            found[field.name] = value
    return found


def maker(t: Any) -> Callable[[dict[str, Any]], Any]:
    """Makes objects of `t` from values by field name, without validation and without running any `__init__`."""
    if is_model(t):
        return lambda values: t.model_construct(**values)
    if is_typed_dict(t):
        return lambda values: values

    def make(values: dict[str, Any]) -> Any:
        made = object.__new__(t)
        for name, value in values.items():
            object.__setattr__(made, name, value)
        return made

    return make


def _model_fields(t: type[BaseModel]) -> list[Field]:
    decorators = t.__pydantic_decorators__
    if issubclass(t, pydantic.RootModel):
        raise SchemaError(f"{t.__name__} is a RootModel, which has no fields; use the type of its root")
    if t.model_config.get("extra") == "allow":
        raise SchemaError(
            f"{t.__name__} allows extra fields, which have no type; declare them, or hold them in one Any"
        )
    return [
        Field(
            name=name,
            annotation=info.annotation,
            metadata=(*info.metadata, *_field_validators(decorators, name)),
            default=_default(info),
        )
        for name, info in t.model_fields.items()
    ]


def _field_validators(decorators: Any, name: str) -> list[Any]:
    if decorators is None:
        return []
    return [
        _VALIDATORS[each.info.mode](each.func)
        for each in decorators.field_validators.values()
        if name in each.info.fields or "*" in each.info.fields
    ]


def _dataclass_fields(t: Any) -> list[Field]:
    hints = _hints(t)
    found = []
    for field in dataclasses.fields(t):
        default = field.default if field.default_factory is MISSING else field.default_factory()
        metadata: tuple[Any, ...] = ()
        if isinstance(default, FieldInfo):
            default, metadata = _default(default), tuple(default.metadata)
        metadata = (*metadata, *_field_validators(getattr(t, "__pydantic_decorators__", None), field.name))
        found.append(_parsed(field.name, hints[field.name], default, metadata))
    return found


def _parsed(name: str, hint: Any, default: Any, metadata: tuple[Any, ...] = (), *, optional: bool = False) -> Field:
    """The field with this hint: `Annotated`, `Required` and `NotRequired` around the type are taken off."""
    while True:
        origin = typing.get_origin(hint)
        if origin is Annotated:
            hint, *added = typing.get_args(hint)
            metadata = (*added, *metadata)
        elif origin in (typing.Required, typing.NotRequired):
            optional = origin is typing.NotRequired
            (hint,) = typing.get_args(hint)
        else:
            return Field(name=name, annotation=hint, metadata=metadata, default=default, optional=optional)


def _hints(t: Any) -> Mapping[str, Any]:
    try:
        return typing.get_type_hints(t, include_extras=True)
    except NameError as error:
        raise SchemaError(f"{t.__name__}: {error}; define the types it uses at the top of a module") from error


def _default(info: FieldInfo) -> Any:
    if info.is_required():
        return MISSING
    if info.default_factory is not None and info.default_factory_takes_validated_data:
        raise SchemaError("a default computed from other fields cannot be kept in a spec; give it a fixed default")
    return info.get_default(call_default_factory=True)
