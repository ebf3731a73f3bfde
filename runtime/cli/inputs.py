"""JSON that users give to commands, on the command line, in a file or on standard input."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import typer

STDIN = "-"
_UNITS_S = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0}


def duration_s(text: str, wanted: str) -> float:
    """The seconds that `7d` or `12h` means. Raises `typer.BadParameter`, which says what is `wanted`."""
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS_S or not number.replace(".", "", 1).isdigit():
        raise typer.BadParameter(f"{text!r} is no time; write {wanted}")
    return float(number) * _UNITS_S[unit]


def json_object(text: str, option: str, *, line: int = 1) -> dict[str, Any]:
    """The JSON object in `text`. Raises `typer.BadParameter`, naming `option`, for anything else.

    Args:
        text: JSON.
        option: Who gave it.
        line: Where it begins, in what was given.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {line + error.lineno - 1}, column {error.colno}"
        raise _bad(option, f"not valid JSON ({error.msg} at {where})") from None
    except RecursionError:
        raise _bad(option, "nested too deeply") from None
    if not isinstance(value, dict):
        where = f"line {line} " if line > 1 else ""
        raise _bad(option, where + 'must be a JSON object, such as {"text": "hello"}')
    return value


def run_input(text: str | None, file: str | None) -> dict[str, Any]:
    """The input of a turn: that of `--input` or `--input-file`; without both, nothing is set.

    Raises:
        typer.BadParameter: Both are given, the file cannot be read, or it holds no JSON object.
    """
    given = _given(text, file)
    return {} if given is None else json_object(*given)


def input_lines(text: str | None, file: str | None) -> list[dict[str, Any]]:
    """The inputs of many turns: that of `--input`, or one on each line of `--input-file`; without both, an empty one.

    Raises:
        typer.BadParameter: Both are given, the file cannot be read or has no lines, or a line is no JSON object.
    """
    given = _given(text, file)
    if given is None:
        return [{}]
    if file is None:
        return [json_object(*given)]
    content, option = given
    lines = [(number, line) for number, line in enumerate(content.splitlines(), 1) if line.strip()]
    if not lines:
        raise _bad(option, f"{file} is empty; write a JSON object on each line")
    return [json_object(line, option, line=number) for number, line in lines]


def _given(text: str | None, file: str | None) -> tuple[str, str] | None:
    """What was given, and the option that gave it."""
    if text is not None and file is not None:
        raise _bad("--input-file", "cannot go with --input")
    if text is not None:
        return text, "--input"
    if file is None:
        return None
    try:
        content = sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
        return content.decode("utf-8"), "--input-file"
    except OSError as error:
        raise _bad("--input-file", f"cannot read {file}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise _bad("--input-file", f"{file} is not UTF-8 text") from None


def _bad(option: str, message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint=option)
