"""From what a user says to what actors are told."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from actors.llm.anthropic import BASE_URL
from actors.llm.settings import (
    Latency,
    ModelSettings,
    Price,
    Reply,
    Script,
    ScriptedCall,
    ScriptedReply,
    Timeouts,
)
from actors.settings import ActorSettings, ExecutorSettings, HistorySettings, HostSettings, RetentionSettings
from actors.tools.settings import ToolSettings
from runtime.config import Config, ModelConfig, ReplyConfig, load_config
from runtime.servers import ModelEndpoint

NO_MODEL = ModelEndpoint(base_url="http://127.0.0.1:9/v1", api_key="")
"""Nothing answers there: `LocalRuntime` starts no model server."""


def load(*, address: str | None = None, redis_url: str | None = None, **options: Any) -> Config:
    """The configuration for a runtime.

    Args:
        address: Short for `ray={"address": ...}`.
        redis_url: Short for `redis={"url": ...}`.
        **options: Fields of `Config`; sections as mappings.

    Raises:
        ConfigError: An option is unknown or wrong; all problems are listed.
    """
    if address is not None:
        options["ray"] = {**options.get("ray", {}), "address": address}
    if redis_url is not None:
        options["redis"] = {**options.get("redis", {}), "url": redis_url}
    return load_config(**options)


def actor_settings(config: Config, redis_url: str, *, local_model: ModelEndpoint | None = None) -> ActorSettings:
    """What actor processes are told.

    Args:
        config: The configuration.
        redis_url: URL of the store, with password.
        local_model: The local model server; None if there is none.
    """
    executors = config.executors
    return ActorSettings(
        redis_url=redis_url,
        hosts=HostSettings(min_hosts=config.hosts.min, max_hosts=config.hosts.max, capacity=config.hosts.capacity),
        executors={
            kind: ExecutorSettings(processes=pool.processes, concurrency=pool.concurrency)
            for kind, pool in (("function", executors.function), ("llm", executors.llm), ("tool", executors.tool))
        },
        models={name: _model_settings(name, model, local_model) for name, model in config.models.items()},
        tools=tool_settings(config),
        metrics_port=config.metrics.port,
        retention=RetentionSettings(
            sessions_idle_s=None if config.retention.session_days is None else config.retention.session_days * 86_400,
            snapshots_per_thread=config.retention.snapshots_per_thread,
            history_s=None if config.retention.history_days is None else config.retention.history_days * 86_400,
        ),
        history=HistorySettings(texts=config.history.texts, redact=config.history.redact),
        log_level=config.log_level,
        shared_values=str(shared_values()),
    )


def shared_values() -> Path:
    """Where the processes of this user share large values on this machine."""
    return Path(tempfile.gettempdir()) / f"greenroom-{os.geteuid()}" / "values"


def tool_settings(config: Config) -> ToolSettings:
    """What its tools may use and reach. Raises `ConfigError` if a secret is not there."""
    return ToolSettings(
        secrets={name: secret.read(name) for name, secret in config.secrets.items()},
        hosts=config.access.hosts,
        networks=config.access.networks,
        files=tuple(map(str, config.access.files)),
        logs=str(config.home / "logs"),
    )


def _model_settings(name: str, model: ModelConfig, local_model: ModelEndpoint | None) -> ModelSettings:
    local = (local_model or NO_MODEL) if model.provider == "local" else None
    return ModelSettings(
        name=name,
        provider="openai" if model.provider == "local" else model.provider,
        base_url=local.base_url if local else (model.base_url or (BASE_URL if model.provider == "anthropic" else "")),
        model="local" if local else (model.model or ""),
        api_key=local.api_key if local else model.key(),
        timeouts=Timeouts(
            connect_s=model.timeouts.connect_s,
            first_token_s=model.timeouts.first_token_s,
            idle_s=model.timeouts.idle_s,
            total_s=model.timeouts.total_s,
        ),
        max_retries=model.max_retries,
        requests_per_minute=model.requests_per_minute,
        tokens_per_minute=model.tokens_per_minute,
        max_wait_s=model.max_wait_s,
        fallbacks=tuple(model.fallbacks),
        fallback_on=tuple(model.fallback_on),
        hedge_after_s=model.hedge_after_s,
        share_identical=model.share_identical,
        cache_ttl_s=model.cache_ttl_s,
        price=None if model.price is None else Price(**model.price.model_dump()),
        script=Script(
            replies=_replies(model),
            latency=Latency(
                kind=model.latency.kind,
                mean_s=model.latency.mean_s,
                spread_s=model.latency.spread_s,
                seed=model.latency.seed,
            ),
        ),
    )


def _replies(model: ModelConfig) -> tuple[Reply, ...] | dict[str, Reply | tuple[Reply, ...]]:
    if not isinstance(model.replies, dict):
        return tuple(map(_reply, model.replies))
    return {
        text: tuple(map(_reply, found)) if isinstance(found, list) else _reply(found)
        for text, found in model.replies.items()
    }


def _reply(reply: ReplyConfig) -> Reply:
    if isinstance(reply, str):
        return reply
    calls = tuple(ScriptedCall(name=call.name, arguments=call.arguments) for call in reply.tool_calls)
    return ScriptedReply(text=reply.text, tool_calls=calls)
