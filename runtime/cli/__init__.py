"""`greenroom`, the command line.

Each file here is one group of commands: functions that take options, print through `output.Output`, and let typed
errors pass. `main` prints those on one line and exits with a code of `output.ExitCode`: 0 done, 1 failed, 2 wrong
usage or configuration, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer
from typer.exceptions import TyperException

from graphs.errors import ErrorInfo, GreenroomError
from runtime.cli import (
    acts,
    bench,
    demo,
    doctor,
    graphs,
    history,
    past,
    run,
    services,
    session_acts,
    sessions,
    snapshots,
    threads,
    tools,
    top,
    workflows,
)
from runtime.cli.output import ExitCode, Output
from runtime.errors import ConfigError

__all__ = ["app", "main"]

app = typer.Typer(
    name="greenroom",
    help="Run agent workflow graphs on Ray without losing a step.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 130 interrupted.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(services.up)
app.command()(services.down)
app.command()(services.status)
app.command()(doctor.doctor)
app.command()(top.top)
app.command()(demo.demo)
app.command()(run.run)
app.add_typer(bench.app, name="bench")
app.add_typer(graphs.app, name="graph")
for command in (acts.answer, acts.cancel, acts.pause, acts.resume, past.branch, past.history, past.diff, past.promote):
    threads.app.command()(command)
app.add_typer(threads.app, name="threads")
app.add_typer(snapshots.app, name="snapshots")
for act in (session_acts.complete, session_acts.pause, session_acts.resume, session_acts.abort):
    sessions.app.command()(act)
app.add_typer(sessions.app, name="sessions")
app.add_typer(history.app, name="history")
app.add_typer(workflows.app, name="workflows")
app.add_typer(tools.app, name="tools")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit.

    Args:
        arguments: Instead of those of this process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    out = Output(as_json="--json" in given)
    try:
        code = app(given or ["--help"], prog_name="greenroom", standalone_mode=False)
        sys.stdout.flush()
    except TyperException as error:
        message = f"{error.format_message().rstrip('.')}. See greenroom --help"
        out.error(ErrorInfo(code="UsageError", message=message))
        code = ExitCode.BAD_USAGE
    except GreenroomError as error:
        out.error(error.info())
        code = ExitCode.BAD_USAGE if isinstance(error, ConfigError) else ExitCode.FAILED
    except (KeyboardInterrupt, typer.Abort):
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has gone; what is left of it goes nowhere, or Python would complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.FAILED
    sys.exit(code if isinstance(code, int) else ExitCode.OK)
