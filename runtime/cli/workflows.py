"""`greenroom workflows`: the workflows that are deployed. Needs the store alone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import typer

from runtime.cli.output import JsonFlag, Output
from runtime.cli.stored import stored_records
from runtime.cli.trees import clock
from runtime.config import load_config

app = typer.Typer(help="Look at deployed workflows.", no_args_is_help=True)

COLUMNS = ("workflow", "version", "build", "created", "updated")


@app.callback()
def workflows() -> None:
    """Look at deployed workflows."""


@app.command("ls")
def list_workflows(as_json: JsonFlag = False) -> None:
    """List the builds of all workflows, by name."""
    out = Output(as_json=as_json)
    rows = []
    for ref, (created_at, updated_at) in asyncio.run(_list()).items():
        workflow, _, pinned = ref.partition("@")
        version, _, build = pinned.partition("+")
        row = {"ref": ref, "workflow": workflow, "version": version, "build": build}
        times = {"created_at": created_at, "updated_at": updated_at}
        rows.append(row | (times if as_json else {"created": clock(created_at), "updated": clock(updated_at)}))
    out.table(COLUMNS, rows)


async def _list() -> Mapping[str, tuple[float, float]]:
    async with stored_records(load_config()) as records:
        return await records.store.workflows.list()
