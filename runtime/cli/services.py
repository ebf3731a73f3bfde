"""`greenroom up`, `down` and `status`: the local services."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

import msgspec
import typer

from runtime import services
from runtime.cli.output import ExitCode, JsonFlag, Output
from runtime.config import Config, load_config
from runtime.errors import ConfigError
from runtime.servers import ModelService, RayService, ValkeyService, local_model_file
from runtime.service import Service

COLUMNS = ("service", "state", "address", "pid", "keeper_pid", "uptime_s", "users", "pinned")
NAMES = (ModelService.name, RayService.name, ValkeyService.name)
"""In the order in which they are stopped: the store last."""

Actors = Annotated[
    bool, typer.Option("--actors", help="End Greenroom's actors on the Ray cluster that is configured; it goes on.")
]
Force = Annotated[bool, typer.Option("--force", help="End services under the drivers that use them.")]


def up(as_json: JsonFlag = False) -> None:
    """Start the local services and keep them until `greenroom down`.

    The store and Ray are started unless the configuration names others, and the local model if it is installed. If Ray
    is, threads go on that were unfinished when everything ended.
    """
    out = Output(as_json=as_json)
    config = load_config()
    wanted = _wanted(config)
    with services.LocalServices(config.home) as local:
        with out.progress("starting"):
            local.start(*wanted)
            for service in wanted:
                local.wait(service.name)
        for service in wanted:
            local.pin(service.name)
        if config.ray.address is None:
            with out.progress("starting actors"):
                asyncio.run(_begin())
    _show(out, config)


def down(force: Force = False, actors: Actors = False, as_json: JsonFlag = False) -> None:
    """End the local services. Those in use end with their last driver; the exit code is 1 then."""
    out = Output(as_json=as_json)
    config = load_config()
    with out.progress("stopping"):
        if actors:
            if config.ray.address is None:
                raise ConfigError("--actors needs the address of a cluster; set GREENROOM_RAY__ADDRESS")
            _end_actors(config.ray.address)
        outcomes = {name: services.stop(config.home, name, force=force) for name in NAMES}
    rows = [
        {"service": name, "outcome": outcome, "users": services.status(config.home, name).users}
        for name, outcome in outcomes.items()
    ]
    out.table(("service", "outcome", "users"), rows)
    if "in use" in outcomes.values():
        out.line("Services in use end with their last driver; greenroom down --force ends them now.")
        raise typer.Exit(ExitCode.FAILED)


def status(as_json: JsonFlag = False) -> None:
    """Show the local services and who uses them. The exit code is 1 if one has failed."""
    out = Output(as_json=as_json)
    rows = _show(out, load_config())
    if any(row["state"] == "failed" for row in rows):
        raise typer.Exit(ExitCode.FAILED)


async def _begin() -> None:
    """Start the actors, which go on with what is unfinished."""
    from runtime.runtime import AsyncRuntime

    async with AsyncRuntime():
        pass


def _end_actors(address: str) -> None:
    # Ray takes half a second to import, which the other commands need not wait for.
    from actors.network import SUPERVISOR
    from actors.settings import ActorSettings
    from actors.world import RayWorld
    from runtime import launch

    launch.connect_to(address)
    try:
        asyncio.run(RayWorld(ActorSettings(redis_url="")).kill(SUPERVISOR))
    finally:
        launch.disconnect()


def _wanted(config: Config) -> list[Service]:
    wanted: list[Service] = []
    if config.redis.url is None:
        wanted.append(ValkeyService())
    if config.ray.address is None:
        wanted.append(RayService(config.ray))
    if local_model_file() is not None and any(model.provider == "local" for model in config.models.values()):
        wanted.append(ModelService())
    return wanted


def _show(out: Output, config: Config) -> list[dict[str, Any]]:
    rows = []
    for name in reversed(NAMES):
        seen = services.status(config.home, name)
        uptime_s = None if seen.started_at is None else round(time.time() - seen.started_at)
        rows.append({**msgspec.to_builtins(seen), "uptime_s": uptime_s})
    out.table(COLUMNS, rows)
    for row in rows:
        if row["error"]:
            out.line(f"{row['service']}: {row['error']}")
    return rows
