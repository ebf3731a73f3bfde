"""What commands print: tables and lines for people, JSON for programs, errors on one line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from enum import IntEnum
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from graphs.errors import ErrorInfo

PIPE_WIDTH = 240
"""Columns of text that goes to a file or a program, so that tables are not folded there."""

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class ExitCode(IntEnum):
    """What `greenroom` exits with."""

    OK = 0
    FAILED = 1
    BAD_USAGE = 2
    """Wrong options, or a configuration that cannot be used."""
    INTERRUPTED = 130


class Output:
    """Where a command prints.

    Args:
        as_json: Print JSON on standard output, and errors as JSON on standard error.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._console = _console(stderr=False)
        self._errors = _console(stderr=True)

    def table(self, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
        """Print rows; as JSON all their fields, as text those in `columns`."""
        if self.as_json:
            self.data(rows)
            return
        table = Table(*(column.replace("_", " ") for column in columns), box=None, pad_edge=False, header_style="bold")
        for row in rows:
            table.add_row(*(_cell(row.get(column)) for column in columns))
        self._console.print(table)

    def data(self, value: Any) -> None:
        """Print `value` (plain data, msgspec structs) as JSON."""
        encoded = msgspec.json.encode(value, enc_hook=str)
        sys.stdout.write(msgspec.json.format(encoded, indent=2).decode() + "\n")

    def line(self, text: str) -> None:
        """Print a line for people; programs do not get it."""
        if not self.as_json:
            self._console.print(text, soft_wrap=True)

    def note(self, text: str) -> None:
        """Print a line on standard error that says how it is going; programs do not get it."""
        if not self.as_json:
            self._errors.print(text, soft_wrap=True)

    def show(self, renderable: RenderableType) -> None:
        """Print something that rich can draw, for people; programs do not get it."""
        if not self.as_json:
            self._console.print(renderable)

    def progress(self, text: str) -> AbstractContextManager[Any]:
        """Show on a terminal that something is being waited for."""
        return nullcontext() if self.as_json else self._errors.status(Text(text))

    def live(self, draw: Callable[[], RenderableType]) -> AbstractContextManager[Any]:
        """Show what `draw` returns on a terminal, again and again, for as long as this is entered.

        The value of the context is None where nothing is shown.
        """
        if self.as_json or not self._errors.is_terminal:
            return nullcontext()
        return Live(get_renderable=draw, console=self._errors, refresh_per_second=8, transient=True)

    def error(self, info: ErrorInfo) -> None:
        """Print an error on one line of standard error; problems that its message leaves out follow, one on each."""
        if self.as_json:
            sys.stderr.write(msgspec.json.encode({"error": info}, enc_hook=str).decode() + "\n")
        else:
            message = " ".join(info.message.split())
            more = [problem for problem in info.fields.get("problems", ()) if problem not in message]
            sys.stderr.write("".join(f"{line}\n" for line in (f"error: {message}", *(f"  {each}" for each in more))))


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    # What is printed may come from users and models: nothing in it is to be taken for markup.
    width = None if stream.isatty() else PIPE_WIDTH
    return Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)


def _cell(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return " ".join(str(item) for item in value) or "-"
        case _:
            return str(value) or "-"
