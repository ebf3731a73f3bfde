"""`greenroom tools import`: the operations of an API as tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from graphs.workflow.openapi import import_openapi
from graphs.workflow.spec import dump_tools
from runtime.cli.output import JsonFlag
from runtime.deployment import read_document


def import_tools(
    document: Annotated[Path, typer.Argument(metavar="FILE", help="An OpenAPI document (3.0 or 3.1), JSON or YAML.")],
    base_url: Annotated[
        str | None, typer.Option("--base-url", metavar="URL", help="Where the API is; by default as the document says.")
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(
            "--include", metavar="PATTERN", help="Names or paths such as 'list_*' or 'GET /pets*'; repeatable."
        ),
    ] = None,
    tags: Annotated[
        list[str] | None, typer.Option("--tags", metavar="TAG", help="Operations with one of these tags; repeatable.")
    ] = None,
    auth: Annotated[
        list[str] | None,
        typer.Option("--auth", metavar="[SCHEME=]secret:NAME", help="The secret of a security scheme; repeatable."),
    ] = None,
    prefix: Annotated[
        str, typer.Option("--prefix", metavar="TEXT", help="What the names of the tools begin with.")
    ] = "",
    as_json: JsonFlag = False,
) -> None:
    """Print the tools that the operations of an API are.

    Put what it prints into a file, and name that in `tool_files` of the configuration or copy it into a workflow.
    """
    data: Any = read_document(document)
    tools = import_openapi(
        data,
        base_url=base_url,
        include=include or (),
        tags=tags or (),
        auth=_auth(auth or []),
        prefix=prefix,
    )
    typer.echo(dump_tools(tools, "json" if as_json else "yaml"), nl=False)


def _auth(given: list[str]) -> dict[str, str] | str | None:
    """Security scheme -> secret, or one secret for all of them."""
    if len(given) == 1 and "=" not in given[0]:
        return given[0]
    pairs = [text.partition("=") for text in given]
    for scheme, equals, secret in pairs:
        if not (scheme and equals and secret):
            raise typer.BadParameter("write SCHEME=secret:NAME", param_hint="--auth")
    return {scheme: secret for scheme, _, secret in pairs} or None
