"""What Greenroom is told from outside: arguments, `GREENROOM_*`, a TOML file. The only reader of the environment."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin
from urllib.parse import urlsplit

import platformdirs
import pydantic
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, SecretStr
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from graphs.access import host_problem
from graphs.errors import GraphInvalid
from graphs.suggest import did_you_mean
from graphs.workflow.endpoints import RestTool
from graphs.workflow.mcp import McpServer
from graphs.workflow.spec import load_tools
from runtime.errors import ConfigError

ENV_PREFIX = "GREENROOM_"
CONFIG_FILE = "greenroom.toml"
CONFIG_FILE_VARIABLE = "GREENROOM_CONFIG"

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class RayConfig(_Section):
    """Where Ray is."""

    address: str | None = None
    """`host:port` of a cluster, or `auto` on a machine of it; nothing: a local Ray, shared by this user's drivers."""
    num_cpus: PositiveInt | None = None
    """CPUs the local Ray offers; nothing: all."""
    object_store_memory_bytes: Annotated[int, Field(ge=80 * 2**20)] = 512 * 2**20
    """Size of the local Ray's object store."""


class RedisConfig(_Section):
    """Where the truth is."""

    url: SecretStr | None = None
    """`redis://`, `rediss://` or `unix://` URL; nothing: a Valkey of this user, started when needed."""

    @pydantic.field_validator("url")
    @classmethod
    def _check_scheme(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and urlsplit(url.get_secret_value()).scheme not in {"redis", "rediss", "unix"}:
            raise ValueError("not a redis://, rediss:// or unix:// URL")
        return url


class HostsConfig(_Section):
    """The processes that carry sessions and threads."""

    min: PositiveInt = 2
    max: PositiveInt = 2
    capacity: PositiveInt = 1_000
    """Turns of main threads that run at once on one host."""

    @pydantic.model_validator(mode="after")
    def _check_range(self) -> HostsConfig:
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) is larger than max ({self.max})")
        return self


class ExecutorConfig(_Section):
    """The processes that run nodes of one kind."""

    processes: PositiveInt = 1
    concurrency: PositiveInt = 64
    """Threads for synchronous user code in each process."""


class ExecutorsConfig(_Section):
    """Executor pools by kind."""

    function: ExecutorConfig = Field(default_factory=lambda: ExecutorConfig(processes=os.cpu_count() or 1))
    llm: ExecutorConfig = ExecutorConfig()
    tool: ExecutorConfig = ExecutorConfig()


def _off(value: Any) -> Any:
    return None if value == "off" else value


class MetricsConfig(_Section):
    """What is told to Prometheus."""

    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    """On the loopback address of the machine of the supervisor; nothing: metrics are not served."""


class RetentionConfig(_Section):
    """What is deleted by itself. `off` turns a rule off."""

    session_days: Annotated[PositiveFloat | None, pydantic.BeforeValidator(_off)] = 30.0
    """Sessions in which nothing has begun or ended for so long, unless they are paused."""
    snapshots_per_thread: Annotated[PositiveInt | None, pydantic.BeforeValidator(_off)] = 20
    """Named snapshots above so many of one thread, the oldest first; those with the tag `keep` stay."""
    history_days: Annotated[PositiveFloat | None, pydantic.BeforeValidator(_off)] = None
    """Records of the history are found for so long; nothing: as long as their session. Statistics stay."""


class TimeoutsConfig(_Section):
    """How long a model may take."""

    connect_s: PositiveFloat = 5.0
    first_token_s: PositiveFloat = 60.0
    idle_s: PositiveFloat = 30.0
    """Between two pieces of an answer."""
    total_s: PositiveFloat = 300.0


class LatencyConfig(_Section):
    """How long the scripted model takes for an answer."""

    kind: Literal["fixed", "uniform", "lognormal"] = "fixed"
    mean_s: Annotated[float, Field(ge=0)] = 0.0
    spread_s: Annotated[float, Field(ge=0)] = 0.0
    """Half the width of `uniform`, standard deviation of `lognormal`."""
    seed: int = 0


class ScriptedCallConfig(_Section):
    """A tool that the scripted model asks for."""

    name: str
    arguments: dict[str, Any] = {}


class ScriptedReplyConfig(_Section):
    """An answer of the scripted model that asks for tools."""

    text: str = ""
    tool_calls: list[ScriptedCallConfig]


FallbackError = Literal["ModelError", "ModelUnavailable", "RateLimited"]
ReplyConfig = str | ScriptedReplyConfig


class PriceConfig(_Section):
    """What a million tokens of a model cost; it comes before published prices."""

    input_per_million: Annotated[Decimal, Field(ge=0)]
    output_per_million: Annotated[Decimal, Field(ge=0)]
    cached_per_million: Annotated[Decimal | None, Field(ge=0)] = None
    """Of prompt tokens that the provider had kept from an earlier one; nothing: as the others."""
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] = "USD"


class HistoryConfig(_Section):
    """What is kept of calls of models and tools."""

    texts: bool = True
    """Whether the texts of requests and answers, and arguments and output of tools, are stored with the calls."""
    redact: Annotated[str, Field(pattern=r"^([\w.]+:[\w.]+)?$")] = ""
    """`module:function` that gets each of these texts and gives back what may be stored."""


class ModelConfig(_Section):
    """A language model that workflows name."""

    provider: Literal["openai", "anthropic", "scripted", "local"] = "openai"
    """`openai`: any OpenAI-compatible endpoint; `anthropic`: Anthropic's API; `local`: served by Greenroom itself;
    `scripted`: no model at all."""
    base_url: str | None = None
    """Everything before `/chat/completions` or `/messages`; Anthropic's own if nothing is said."""
    model: str | None = None
    """The endpoint's name for the model."""
    api_key: SecretStr | None = None
    api_key_env: str | None = None
    """Environment variable that holds the key, instead of `api_key`."""
    timeouts: TimeoutsConfig = TimeoutsConfig()
    max_retries: Annotated[int, Field(ge=0)] = 3
    requests_per_minute: PositiveInt | None = None
    """Chats, counted over all processes of the cluster; nothing: any number."""
    tokens_per_minute: PositiveInt | None = None
    """Tokens of prompts and answers, likewise."""
    max_wait_s: PositiveFloat = 60.0
    """How long a chat may wait for its turn under these limits."""
    fallbacks: list[str] = []
    """Models asked one after the other when this one fails."""
    fallback_on: list[FallbackError] = ["ModelUnavailable"]
    """Classes of errors after which they are; those derived from them count."""
    hedge_after_s: PositiveFloat | None = None
    """Seconds without a word after which the same is asked once more; the first to speak is listened to."""
    share_identical: bool = False
    """Whether equal chats that one process has under way at the same time are one."""
    cache_ttl_s: PositiveFloat | None = None
    """How long an answer is given again to the same question; nothing: never."""
    replies: list[ReplyConfig] | dict[str, ReplyConfig | list[ReplyConfig]] = []
    """Scripted: answers, of which the request picks one, or text looked for in it -> answer, or the answers one after
    the other until the next user message. Nothing: an echo."""
    latency: LatencyConfig = LatencyConfig()
    price: PriceConfig | None = None

    @pydantic.model_validator(mode="after")
    def _check_provider(self) -> ModelConfig:
        if self.provider == "openai" and not (self.base_url and self.model):
            raise ValueError("provider openai needs base_url and model")
        if self.provider == "anthropic" and not self.model:
            raise ValueError("provider anthropic needs model")
        if self.provider in ("scripted", "local") and (self.base_url or self.api_key or self.api_key_env):
            raise ValueError(f"provider {self.provider} takes no base_url, api_key or api_key_env")
        if self.api_key and self.api_key_env:
            raise ValueError("api_key and api_key_env exclude each other")
        return self

    def key(self) -> str | None:
        """The API key, if there is one. Raises `ConfigError` if the variable named by `api_key_env` is not set."""
        if self.api_key_env is None:
            return self.api_key.get_secret_value() if self.api_key else None
        if self.api_key_env not in os.environ:  # noqa: TID251
            raise ConfigError(f"the API key of model {self.model} is missing; set {self.api_key_env}")
        return os.environ[self.api_key_env]  # noqa: TID251


def _host(text: str) -> str:
    problem = host_problem(text)
    if problem:
        raise ValueError(problem)
    return text


def _network(text: str) -> str:
    return str(ip_network(text))


def _folder(path: Path) -> Path:
    folder = path.expanduser().absolute()
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder")
    return folder


class SecretConfig(_Section):
    """Where a secret is, to which tools refer as `secret:NAME`."""

    env: str | None = None
    """Environment variable that holds it."""
    file: Path | None = None
    """File that holds it; blanks and line ends around it do not count."""
    value: SecretStr | None = None

    @pydantic.model_validator(mode="before")
    @classmethod
    def _take_text(cls, given: Any) -> Any:
        return {"value": given} if isinstance(given, str | SecretStr) else given

    @pydantic.model_validator(mode="after")
    def _check_one(self) -> SecretConfig:
        if sum(each is not None for each in (self.env, self.file, self.value)) != 1:
            raise ValueError("give one of env, file and value")
        return self

    def read(self, name: str) -> str:
        """The secret called `name`. Raises `ConfigError` if it is not there."""
        if self.env is not None:
            if self.env not in os.environ:  # noqa: TID251
                raise ConfigError(f"the secret {name} is missing; set {self.env}")
            return os.environ[self.env]  # noqa: TID251
        if self.file is not None:
            try:
                return self.file.expanduser().read_text("utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"the secret {name} cannot be read: {error}") from None
        assert self.value is not None
        return self.value.get_secret_value()


def _tools_in(files: Iterable[Path]) -> dict[str, RestTool]:
    """The tools in these files, by name."""
    found: dict[str, RestTool] = {}
    for path in files:
        try:
            text = path.expanduser().read_text("utf-8")
            tools = load_tools(text, "json" if path.suffix == ".json" else "yaml")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"cannot read {path}: {error}") from None
        except GraphInvalid as error:
            raise ValueError(f"{path}: {'; '.join(error.problems)}") from None
        for tool in tools:
            if not isinstance(tool, RestTool):
                raise ValueError(f'{path}: "{tool.name}" is a tool of an MCP server; name that in the section mcp')
            if found.setdefault(tool.name, tool) != tool:
                raise ValueError(f'{path}: another tool is called "{tool.name}"; rename one of them')
    return found


class AccessConfig(_Section):
    """What tools may reach."""

    hosts: tuple[Annotated[str, pydantic.AfterValidator(_host)], ...] = ()
    """Hosts that tools may be told to ask, such as `api.example.com`, `*.example.com` or `example.com:8080`."""
    networks: tuple[Annotated[str, pydantic.AfterValidator(_network)], ...] = ()
    """Addresses that are not public and may be connected to all the same, such as `10.1.0.0/16`."""
    files: tuple[Annotated[Path, pydantic.AfterValidator(_folder)], ...] = ()
    """Folders whose files tools may read."""


class Config(BaseSettings):
    """All there is to configure. Build it with `load_config`, whose errors are made for people."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=True
    )

    home: Path = Field(default_factory=lambda: Path(platformdirs.user_data_dir("greenroom", appauthor=False)))
    """Directory of the local services' data, locks and logs."""
    ray: RayConfig = RayConfig()
    redis: RedisConfig = RedisConfig()
    hosts: HostsConfig = HostsConfig()
    executors: ExecutorsConfig = ExecutorsConfig()
    models: dict[str, ModelConfig] = {}
    """By name. `scripted` and `local` always exist, and `default` is `local` unless it is configured."""
    secrets: dict[Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")], SecretConfig] = {}
    """By name: what tools refer to as `secret:NAME`."""
    tool_files: tuple[Path, ...] = ()
    """YAML or JSON files of more REST tools, such as `greenroom tools import` writes."""
    tools: dict[str, RestTool] = {}
    """REST tools, by name."""
    mcp: dict[str, McpServer] = {}
    """MCP servers, by name."""
    access: AccessConfig = AccessConfig()
    retention: RetentionConfig = RetentionConfig()
    metrics: MetricsConfig = MetricsConfig()
    history: HistoryConfig = HistoryConfig()
    log_level: LogLevel = "WARNING"

    @pydantic.field_validator("home")
    @classmethod
    def _make_absolute(cls, home: Path) -> Path:
        return home.expanduser().absolute()

    @pydantic.field_validator("models")
    @classmethod
    def _add_models(cls, models: dict[str, ModelConfig]) -> dict[str, ModelConfig]:
        known = {"scripted": ModelConfig(provider="scripted"), "local": ModelConfig(provider="local"), **models}
        known = {"default": known["local"], **known}
        for name, model in known.items():
            for other in model.fallbacks:
                if other == name or other not in known:
                    problem = "is the model itself" if other == name else f"no such model{did_you_mean(other, known)}"
                    raise ValueError(f'fallback "{other}" of {name}: {problem}')
        return known

    @pydantic.field_validator("tools", "mcp", mode="before")
    @classmethod
    def _name_each(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        return {name: {"name": name, **each} if isinstance(each, Mapping) else each for name, each in given.items()}

    @pydantic.field_validator("tools")
    @classmethod
    def _check_tools(cls, tools: dict[str, RestTool], info: pydantic.ValidationInfo) -> dict[str, RestTool]:
        problems = [f"{name}.{problem}" for name, tool in tools.items() for problem in tool.problems()]
        problems += [f'{name}.name: must be "{name}"' for name, tool in tools.items() if tool.name != name]
        if problems:
            raise ValueError("; ".join(problems))
        return {**_tools_in(info.data.get("tool_files", ())), **tools}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments before environment before file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, config_file())


def load_config(**overrides: Any) -> Config:
    """The configuration.

    Args:
        **overrides: Fields of `Config`, sections as mappings: `load_config(ray={"num_cpus": 2})`. They come before the
            environment (`GREENROOM_RAY__NUM_CPUS`), which comes before `greenroom.toml` in the working directory (or
            the file that `GREENROOM_CONFIG` names).

    Raises:
        ConfigError: A key is unknown or a value does not fit; `problems` has all of them.
    """
    problems = _unknown_variables(name for name in os.environ if name.upper().startswith(ENV_PREFIX))  # noqa: TID251
    if problems:
        raise ConfigError(f"invalid configuration: {'; '.join(problems)}", problems=problems)
    try:
        return Config(**overrides)
    except pydantic.ValidationError as error:
        problems = [_problem(details["loc"], details["type"], details["msg"]) for details in error.errors()]
        raise ConfigError(f"invalid configuration: {'; '.join(problems)}", problems=problems) from None
    except SettingsError as error:
        raise ConfigError(f"invalid configuration: {error}; lists and mappings are written as JSON") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{config_file()} is not valid TOML: {error}; correct it") from None


def config_file() -> Path | None:
    """The file to read, if there is one. Raises `ConfigError` if `GREENROOM_CONFIG` names none."""
    named = os.environ.get(CONFIG_FILE_VARIABLE)  # noqa: TID251
    if named is None:
        default = Path(CONFIG_FILE)
        return default if default.is_file() else None
    if not Path(named).is_file():
        raise ConfigError(f"no file {named}, which {CONFIG_FILE_VARIABLE} names; correct or unset it")
    return Path(named)


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment for a program that Greenroom starts: this process's, without Ray's default address, and `extra`."""
    inherited = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}  # noqa: TID251
    return {**inherited, **(extra or {})}


def swap_environment(values: Mapping[str, str | None]) -> dict[str, str | None]:
    """Set variables of this process that a library reads, such as Ray its token; None removes one.

    Returns:
        What they were before, to be given back.
    """
    before = {name: os.environ.get(name) for name in values}  # noqa: TID251
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)  # noqa: TID251
        else:
            os.environ[name] = value  # noqa: TID251
    return before


def _unknown_variables(names: Iterable[str]) -> list[str]:
    """A problem for each `GREENROOM_*` variable that no field listens to."""
    problems = []
    for name in sorted(names):
        if name == CONFIG_FILE_VARIABLE:
            continue
        field = name[len(ENV_PREFIX) :].lower().split("__")[0]
        if field not in Config.model_fields:
            problems.append(f"{name}: no such setting{did_you_mean(name, _variables())}")
    return problems


def _variables() -> list[str]:
    """Names of the variables there are, of sections those one level down."""
    names = []
    for field in Config.model_fields:
        inner = _fields_at((field,))
        names += [f"{ENV_PREFIX}{field}__{name}".upper() for name in inner] or [f"{ENV_PREFIX}{field}".upper()]
    return names


def _problem(loc: tuple[int | str, ...], kind: str, text: str) -> str:
    path = ".".join(str(part) for part in loc)
    if kind == "extra_forbidden":
        return f"{path}: no such setting{did_you_mean(str(loc[-1]), _fields_at(loc[:-1]))}"
    return f"{path}: {text.removeprefix('Value error, ')}"


def _fields_at(loc: tuple[int | str, ...]) -> list[str]:
    """Names of the settings below `loc`."""
    section: Any = Config
    for part in loc:
        if get_origin(section) is dict:
            section = get_args(section)[1]
        elif isinstance(section, type) and issubclass(section, BaseModel) and part in section.model_fields:
            section = section.model_fields[str(part)].annotation
    return list(section.model_fields) if isinstance(section, type) and issubclass(section, BaseModel) else []
