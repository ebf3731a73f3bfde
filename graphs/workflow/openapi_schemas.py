"""The schemas of an OpenAPI document as JSON Schema, as far as requests need them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import EMPTY_REGISTRY

_SCHEMA = frozenset({"items", "not", "if", "then", "else", "contains", "propertyNames", "additionalProperties"})
_SCHEMAS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_NAMED = frozenset({"properties", "patternProperties", "dependentSchemas"})
_KEPT = frozenset(
    (
        *("type", "enum", "const", "format", "description", "default", "required", "dependentRequired"),
        *("multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
        *("minLength", "maxLength", "pattern", "minItems", "maxItems", "uniqueItems", "minContains", "maxContains"),
        *("minProperties", "maxProperties"),
    )
)
_MAX_HOPS = 20


class Lookup:
    """Follows the references of one document, and notes those that lead nowhere.

    Args:
        document: The document.
        problems: JSON pointer -> what is wrong there; the first thing counts.
    """

    def __init__(self, document: Mapping[str, Any], problems: dict[str, str]) -> None:
        self.problems = problems
        registry: Registry[Any] = EMPTY_REGISTRY.with_resource("", Resource.opaque(document))
        self._resolver = registry.resolver()

    def target(self, value: Any, pointer: str) -> tuple[Any, str]:
        """What `value` is or refers to, and where that stands. An empty mapping if it leads nowhere."""
        for _ in range(_MAX_HOPS):
            if not isinstance(value, Mapping) or not isinstance(value.get("$ref"), str):
                return value, pointer
            ref = value["$ref"]
            if not ref.startswith("#"):
                self.problem(f"{pointer}/$ref", f'"{ref}" is in another document; put all into one first')
                return {}, pointer
            try:
                value = self._resolver.lookup(ref).contents
            except Unresolvable:
                self.problem(f"{pointer}/$ref", f'"{ref}" leads nowhere')
                return {}, pointer
            pointer = unquote(ref.removeprefix("#"))
        self.problem(f"{pointer}/$ref", "leads to itself")
        return {}, pointer

    def problem(self, pointer: str, message: str) -> None:
        """Note what is wrong at a place."""
        self.problems.setdefault(pointer, message)


class Schemas:
    """The schemas of one operation.

    Args:
        lookup: Follows references.
        old: Whether the document is of OpenAPI 3.0, whose schemas are a dialect of their own.
    """

    def __init__(self, lookup: Lookup, *, old: bool) -> None:
        self.definitions: dict[str, Any] = {}
        """What the converted ones refer to, by name."""
        self._lookup = lookup
        self._old = old
        self._names: dict[str, str] = {}

    def converted(self, schema: Any, pointer: str) -> dict[str, Any]:
        """A schema in the dialect of JSON Schema 2020-12; references lead to `definitions`."""
        if isinstance(schema, bool):
            return {} if schema else {"not": {}}
        if not isinstance(schema, Mapping):
            self._lookup.problem(pointer, "is no schema")
            return {}
        if isinstance(schema.get("$ref"), str):
            return self._reference(schema, pointer)
        found = {key: value for key, value in schema.items() if key in _KEPT}
        for key in _SCHEMA & schema.keys():
            inner = schema[key]
            found[key] = inner if isinstance(inner, bool) else self.converted(inner, f"{pointer}/{key}")
        for key in _SCHEMAS & schema.keys():
            found[key] = [self.converted(each, f"{pointer}/{key}/{i}") for i, each in enumerate(schema[key])]
        for key in _NAMED & schema.keys():
            found[key] = dict(self._named(schema[key], f"{pointer}/{key}"))
        if "required" in found and "properties" in schema:
            gone = set(schema["properties"]) - set(found["properties"])
            found["required"] = [name for name in found["required"] if name not in gone]
        return _modern(found, nullable=schema.get("nullable") is True) if self._old else found

    def whole(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """A converted schema, or the definition that it refers to."""
        ref = schema.get("$ref")
        return self.definitions[ref.rpartition("/")[2]] if isinstance(ref, str) else schema

    def used(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The definitions that these schemas, or each other, refer to."""
        wanted: dict[str, Any] = {}
        todo: list[Any] = [parameters]
        while todo:
            for name in _referred(todo.pop()):
                if name not in wanted:
                    wanted[name] = self.definitions[name]
                    todo.append(wanted[name])
        return wanted

    def _reference(self, schema: Mapping[str, Any], pointer: str) -> dict[str, Any]:
        target, place = self._lookup.target(schema, pointer)
        if place not in self._names:
            name = _unused(re.sub(r"\W", "_", place.rpartition("/")[2]) or "Schema", self.definitions)
            self._names[place] = name
            self.definitions[name] = {}  # it may refer to itself
            self.definitions[name] = self.converted(target, place)
        found: dict[str, Any] = {"$ref": f"#/$defs/{self._names[place]}"}
        if not self._old and isinstance(schema.get("description"), str):
            found["description"] = schema["description"]
        return found

    def _named(self, schemas: Mapping[str, Any], pointer: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Schemas by name; what servers alone set is left out."""
        for name, schema in schemas.items():
            place = f"{pointer}/{escaped(name)}"
            target, _ = self._lookup.target(schema, place)
            if not (isinstance(target, Mapping) and target.get("readOnly") is True):
                yield name, self.converted(schema, place)


def _referred(schema: Any) -> Iterator[str]:
    """Names of the definitions that a converted schema refers to."""
    if isinstance(schema, Mapping):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].rpartition("/")[2]
        for value in schema.values():
            yield from _referred(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _referred(value)


def escaped(name: str) -> str:
    """`name` as a part of a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def _unused(name: str, taken: Mapping[str, Any]) -> str:
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    return found


def _modern(schema: dict[str, Any], *, nullable: bool) -> dict[str, Any]:
    """A schema of OpenAPI 3.0 in the words of 2020-12."""
    for limit, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        exclusive = schema.get(limit)
        if isinstance(exclusive, bool):
            del schema[limit]
            if exclusive and bound in schema:
                schema[limit] = schema.pop(bound)
    if nullable and isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
        if "enum" in schema and None not in schema["enum"]:
            schema["enum"] = [*schema["enum"], None]
    return schema
