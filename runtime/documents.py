"""Values of states, results and events as plain data for JSON and YAML."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import msgspec
import pyarrow
import yaml
from pydantic import BaseModel

from graphs.errors import GreenroomError
from graphs.journal import Usage
from runtime.events import Event
from runtime.results import ThreadResult


def plain(value: Any) -> Any:
    """`value` as what JSON has; bytes become Base64, and what has no plain form becomes its text."""
    return msgspec.to_builtins(value, str_keys=True, enc_hook=_plain)


def usage_document(usage: Usage) -> dict[str, Any]:
    """Tokens, with their sum, and what they cost as far as that is known."""
    document: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "calls": usage.calls,
    }
    return document | ({"cost": plain(usage.cost)} if usage.cost else {})


def result_document(result: ThreadResult, *, seconds: float) -> dict[str, Any]:
    """A result as `--json` prints it; `seconds` is how long the turn took as seen from here."""
    document = {
        "thread_id": result.thread_id,
        "turn": result.turn,
        "status": str(result.status),
        "seq": result.seq,
        "seconds": round(seconds, 3),
        "usage": usage_document(result.usage),
        "state": plain(result.state),
        "error": None if result.error is None else plain(result.error),
    }
    return document if result.pause is None else document | {"pause": plain(result.pause)}


def event_document(event: Event) -> dict[str, Any]:
    """An event as `--json` prints it: its name under `event`, then its fields."""
    document: dict[str, Any] = {"event": type(event).__name__}
    for field in dataclasses.fields(event):
        value = getattr(event, field.name)
        document[field.name] = usage_document(value) if isinstance(value, Usage) else plain(value)
    return document


def as_yaml(value: Mapping[str, Any]) -> str:
    """`value` as YAML for people: a key on each line, texts of several lines as blocks."""
    return yaml.dump(plain(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """The safe dumper, without anchors, and with blocks for texts of several lines."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _plain(value: Any) -> Any:
    match value:
        case BaseModel():
            return value.model_dump()
        case GreenroomError():
            return value.info()
        case pyarrow.Table():
            return value.to_pylist()
        case _ if hasattr(value, "tolist"):  # arrays of numpy, which need not be installed
            return value.tolist()
        case Mapping():
            return dict(value)
        case _:
            return str(value)
