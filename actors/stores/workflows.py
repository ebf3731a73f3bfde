"""Workflow specs in Redis: one hash of specs and one of times and latest versions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from actors.stores import keys
from actors.stores.link import RedisLink
from actors.stores.records import open_bytes, seal_bytes
from actors.stores.writer import ScriptWriter


class RedisWorkflows:
    """Stored workflow specs (port `WorkflowRepository`)."""

    def __init__(self, link: RedisLink, writer: ScriptWriter) -> None:
        self._link = link
        self._writer = writer

    async def save(self, ref: str, spec: bytes, *, at: float) -> None:
        """Store the spec of a build, and make it what `id@version` and `id` name. `at` is Unix seconds."""
        await self._link.run(partial(self._save, ref, spec, at))

    async def get(self, ref: str) -> tuple[str, bytes] | None:
        """(ref, spec) of a build, or of the one saved last if `ref` is an alias. Raises `CorruptRecord`."""
        build = await self.resolve(ref)
        if build is None:
            return None
        blob = await self._link.run(lambda: self._link.client.hget(keys.WORKFLOWS, build))
        return None if blob is None else (build, open_bytes(blob, key=f"{keys.WORKFLOWS} {build}"))

    async def resolve(self, ref: str) -> str | None:
        """The build that `get` would give, without its spec."""
        if "+" in ref:
            return ref if await self._writer.command(b"HEXISTS", keys.WORKFLOWS, ref) else None
        latest: bytes | None = await self._writer.command(b"HGET", keys.WORKFLOW_INDEX, keys.latest(ref))
        return None if latest is None else latest.decode()

    async def save_program(self, ref: str, program: bytes) -> None:
        """Store where the Python functions of a build are written."""
        await self._link.run(lambda: self._link.client.hset(keys.PROGRAMS, ref, seal_bytes(program)))

    async def program(self, ref: str) -> bytes | None:
        """Where the Python functions of a build are written. Raises `CorruptRecord`."""
        blob = await self._link.run(lambda: self._link.client.hget(keys.PROGRAMS, ref))
        return None if blob is None else open_bytes(blob, key=f"{keys.PROGRAMS} {ref}")

    async def list(self) -> Mapping[str, tuple[float, float]]:
        """Ref -> (created_at, updated_at), in order of the ref."""
        index: dict[bytes, bytes] = await self._link.run(lambda: self._link.client.hgetall(keys.WORKFLOW_INDEX))
        times = {field.decode(): value for field, value in index.items()}
        refs = sorted(field.removeprefix("created:") for field in times if field.startswith("created:"))
        return {ref: (float(times[f"created:{ref}"]), float(times[f"updated:{ref}"])) for ref in refs}

    async def _save(self, ref: str, spec: bytes, at: float) -> None:
        latest = {keys.latest(alias): ref for alias in keys.aliases(ref)}
        async with self._link.client.pipeline(transaction=False) as pipeline:
            # The spec first: the index never names one that is not there.
            pipeline.hset(keys.WORKFLOWS, ref, seal_bytes(spec))
            pipeline.hset(keys.WORKFLOW_INDEX, mapping={f"updated:{ref}": repr(at), **latest})
            pipeline.hsetnx(keys.WORKFLOW_INDEX, f"created:{ref}", repr(at))
            await pipeline.execute()
