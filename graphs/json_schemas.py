"""JSON schemas of single values: whether they are sound, and what is wrong with a value.

Schemas come from other people (OpenAPI documents, MCP servers), so nothing in them may cost without bound or reach
out: references lead to given definitions only, and patterns run in RE2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import re2
from jsonschema import Draft202012Validator
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

DEFINITIONS = "#/$defs/"
"""What every reference in a schema begins with."""
_SHOWN_CHARACTERS = 200
_SHOWN_PROBLEMS = 5


def schema_problems(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[str]:
    """What is wrong with a schema; empty if it is sound.

    Args:
        schema: A schema in the dialect of JSON Schema 2020-12.
        definitions: What its references `#/$defs/NAME` name.
    """
    problems = []
    try:
        Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        problems.append(f"is no JSON schema: {_place(error)}{_shortened(error.message)}")
    problems += [
        f'"{ref}" leads nowhere; references begin with {DEFINITIONS} and name one of the definitions'
        for ref in sorted(set(_references(schema)))
        if not ref.startswith(DEFINITIONS) or ref.removeprefix(DEFINITIONS).partition("/")[0] not in definitions
    ]
    return problems


def value_problems(value: Any, schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[str]:
    """What is wrong with `value`, each with its place within it; empty if it fits a sound schema."""
    whole = {**schema, "$defs": definitions} if definitions else schema
    found: list[str] = []
    try:
        for error in _Validator(whole, registry=Registry()).iter_errors(value):
            found.append(f"{_place(error)}{_shortened(error.message)}")
            if len(found) == _SHOWN_PROBLEMS:
                break
    except (RecursionError, Unresolvable) as error:
        return [f"cannot be checked, its schema is wrong: {_shortened(str(error))}"]
    return found


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        ref = schema.get("$ref")
        if isinstance(ref, str):
            yield ref
        for value in schema.values():
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def _pattern(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
    """The keyword `pattern`. What RE2 does not know is left to whoever gets the value."""
    if not validator.is_type(value, "string"):
        return
    options = re2.Options()
    options.log_errors = False
    try:
        fits = re2.search(pattern, value, options=options) is not None
    except re2.error:
        return
    if not fits:
        yield jsonschema.ValidationError(f"{value!r} does not match {pattern!r}")


def _unchecked(validator: Any, rule: Any, value: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
    """Patterns of property names are left to whoever gets the value."""
    yield from ()


def _additional(validator: Any, rule: Any, value: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
    """The keyword `additionalProperties`, where no patterns say which those are."""
    if "patternProperties" not in schema:
        yield from Draft202012Validator.VALIDATORS["additionalProperties"](validator, rule, value, schema)


_Validator = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {
        "pattern": _pattern,
        "patternProperties": _unchecked,
        "unevaluatedProperties": _unchecked,
        "additionalProperties": _additional,
    },
)


def _place(error: Any) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
    return f"{path.removeprefix('.')}: " if path else ""


def _shortened(message: str) -> str:
    line = " ".join(message.split())
    return line if len(line) <= _SHOWN_CHARACTERS else line[:_SHOWN_CHARACTERS] + "..."
