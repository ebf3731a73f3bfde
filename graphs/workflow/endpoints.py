"""Tools that are data: what they take, where they are, and how arguments get there.

Users write them in Python, in a configuration file or in a workflow; a workflow that is deployed takes those it uses
along. They name secrets (`secret:NAME`) and never hold any.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from string import Formatter
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from graphs.errors import GraphInvalid
from graphs.json_paths import compile_path
from graphs.suggest import did_you_mean
from graphs.tools import (
    ParameterDefinition,
    ParameterType,
    Tool,
    ToolConfig,
    ToolMetadata,
    ToolType,
    validate_tool_config,
)
from graphs.workflow.json_value import Json
from graphs.workflow.template import fields

_SECRET = re.compile(r"secret:[a-z][a-z0-9_]*")
_TYPES = {str(kind): kind for kind in ParameterType} | {"integer": ParameterType.NUMBER}
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OWN_HEADERS = frozenset(
    ("host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade", "idempotency-key")
)
_FIELD = re.compile(r"[^\W\d]\w*")


def _check_secret(text: str) -> str:
    if not _SECRET.fullmatch(text):
        raise ValueError("must be the name of a secret of the configuration, such as secret:weather_key")
    return text


Secret = Annotated[str, AfterValidator(_check_secret)]
"""The name of a secret of the configuration, such as `secret:weather_key`."""


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ToolData(_Data):
    """What all tools that are data have."""

    name: str
    """What graphs and models call it by."""
    description: str = ""
    version: str = "1.0.0"
    author: str | None = None
    tags: tuple[str, ...] = ()
    at_most_once: bool = False
    """Journalled before it is called, and never called again: what a crash interrupts has failed."""
    permissions: tuple[str, ...] = ()
    """What a session needs to have for it."""
    requires_approval: bool = False
    """Whether a person is asked each time before a workflow calls it."""
    parameters: dict[str, dict[str, Json]] = {}
    """Parameter -> JSON schema of its argument, such as `{"type": "integer", "default": 3}`."""
    required: tuple[str, ...] | None = None
    """Parameters that must be given; None: those without a default."""
    definitions: dict[str, Json] = {}
    """What the schemas refer to by `#/$defs/NAME`."""

    def __hash__(self) -> int:
        return hash((type(self), self.name, self.version))

    def _tool(self, tool_type: ToolType) -> Tool:
        return Tool(
            id=f"{self.name}@{self.version}",
            name=self.name,
            tool_type=tool_type,
            config=ToolConfig(
                parameters={name: self._definition(name, schema) for name, schema in self.parameters.items()},
                definitions=self.definitions,
            ),
            metadata=ToolMetadata(
                description=self.description, version=self.version, author=self.author, tags=self.tags
            ),
            at_most_once=self.at_most_once,
            permissions=self.permissions,
            requires_approval=self.requires_approval,
        )

    def _definition(self, name: str, schema: Mapping[str, Any]) -> ParameterDefinition:
        default = schema.get("default")
        required = name in self.required if self.required is not None else "default" not in schema
        rest = {key: value for key, value in schema.items() if key not in ("default", "description")}
        return ParameterDefinition(
            name=name,
            parameter_type=_type_of(schema, self.definitions),
            required=required,
            default_value=None if required else default,
            description=str(schema.get("description", "")),
            schema=rest,
        )

    def _unknown_required(self) -> Iterator[str]:
        for name in self.required or ():
            if name not in self.parameters:
                yield f'required: no parameter "{name}"{did_you_mean(name, self.parameters)}'


class BearerAuth(_Data):
    """`Authorization: Bearer ...`."""

    kind: Literal["bearer"] = "bearer"
    token: Secret


class BasicAuth(_Data):
    """`Authorization: Basic ...`."""

    kind: Literal["basic"] = "basic"
    username: str
    password: Secret


class ApiKeyAuth(_Data):
    """A key in a header, in the query or in a cookie."""

    kind: Literal["api_key"] = "api_key"
    place: Literal["header", "query", "cookie"] = "header"
    name: str
    key: Secret


Auth = Annotated[BearerAuth | BasicAuth | ApiKeyAuth, Field(discriminator="kind")]


class RestTool(ToolData):
    """An HTTP endpoint as a tool.

    Texts may have fields such as `{city}`, each a parameter. A text that is one lone field keeps the type of the
    argument, and is left out where an optional one is not given.
    """

    kind: Literal["rest"] = "rest"
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    url: str
    """Such as `https://api.example.com/cities/{city}`; fields may be in its path."""
    query: dict[str, Json] = {}
    """A list becomes the same name several times, unless `query_style` says otherwise."""
    query_style: dict[str, Literal["comma", "space", "pipe", "deep"]] = {}
    """How a list is joined; `deep`: an object becomes `name[key]=value`."""
    headers: dict[str, str] = {}
    cookies: dict[str, str] = {}
    body: Json = None
    """Sent as JSON."""
    form: dict[str, Json] | None = None
    """Sent as fields of a form, in place of `body`."""
    auth: Auth | None = None
    answer: Literal["auto", "json", "text", "bytes"] = "auto"
    """What is made of the body. `auto`: the value of JSON, or text, as its content type says; others are errors."""
    result: str | None = None
    """JSONPath (RFC 9535) of the output within JSON; one that may find several values gives a list."""
    nothing_on: tuple[int, ...] = ()
    """Statuses that mean there is nothing, such as 404: the output is null then."""
    safe_to_repeat: bool | None = None
    """Whether a request without an answer may be sent again. None: GET, HEAD, PUT and DELETE, and any other request
    with an idempotency key."""
    max_attempts: int = Field(default=3, ge=1, le=10)
    timeout_s: float = Field(default=30.0, gt=0)
    """For one attempt."""
    max_size_bytes: int = Field(default=2_000_000, ge=1)
    """Largest answer, decompressed."""

    def described(self) -> Tool:
        """The tool that it is."""
        return self._tool(ToolType.REST)

    def problems(self) -> list[str]:
        """All that is wrong with it, each with its path; empty if it is sound."""
        tool = self.described()
        found = [*validate_tool_config(tool), *self._unknown_required()]
        definitions = tool.config.parameters.values()
        always = {each.name for each in definitions if each.required or each.default_value is not None}
        url_problem = _url_problem(self.url)
        if url_problem:
            found.append(f"url: {url_problem}")
        for path, text in self._texts():
            found += [f"{path}: {problem}" for problem in self._template_problems(path, text, always)]
        found += self._name_problems()
        if self.result is not None:
            try:
                compile_path(self.result)
            except ValueError as error:
                found.append(f"result: {error}")
            if self.answer in ("text", "bytes"):
                found.append(f"result: there is no path in {self.answer}; drop answer")
        if self.body is not None and self.form is not None:
            found.append("form: there is a body already; drop one of them")
        if self.method in ("GET", "HEAD") and (self.body is not None or self.form is not None):
            found.append(f"method: {self.method} has no body; use query, or another method")
        found += [f"query_style.{name}: no such query parameter" for name in self.query_style if name not in self.query]
        return found

    def _name_problems(self) -> Iterator[str]:
        """Names of headers and cookies that are none, or that a request has by itself."""
        named = [(f"{place}.{name}", name) for place in ("headers", "cookies") for name in getattr(self, place)]
        if isinstance(self.auth, ApiKeyAuth) and self.auth.place != "query":
            named.append(("auth.name", self.auth.name))
        for path, name in named:
            if not _TOKEN.fullmatch(name):
                yield f'{path}: "{name}" is no name of a header or cookie'
            elif not path.startswith("cookies") and name.lower() in _OWN_HEADERS:
                yield f"{path}: every request has it by itself; drop it"

    def _texts(self) -> Iterator[tuple[str, str]]:
        """Every template, with its path."""
        yield "url", urlsplit(self.url).path if not _url_problem(self.url) else ""
        for place in ("query", "headers", "cookies", "body", "form"):
            yield from _texts_in(place, getattr(self, place))

    def _template_problems(self, path: str, text: str, always: Collection[str]) -> Iterator[str]:
        try:
            named = fields(text)
        except GraphInvalid as error:
            yield from error.problems
            return
        lone = path != "url" and lone_field(text) is not None
        for name in sorted(named):
            if name not in self.parameters:
                yield f'no parameter "{name}"{did_you_mean(name, self.parameters)}'
            elif not lone and name not in always:
                yield f'"{name}" may be missing; make it required or give it a default'
        if any(not _FIELD.fullmatch(name) for _, name, _, _ in Formatter().parse(text) if name is not None):
            yield "fields are names of parameters, without . and []"


def lone_field(text: str) -> str | None:
    """The parameter that `text` is, if it is one field and nothing else."""
    parts = list(Formatter().parse(text))
    if len(parts) == 1 and parts[0][0] == "" and parts[0][1] is not None and not parts[0][2]:
        return parts[0][1]
    return None


def _texts_in(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts_in(f"{path}.{key}", item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts_in(f"{path}[{index}]", item)


def _url_problem(url: str) -> str | None:
    if any(character.isspace() or not character.isprintable() for character in url):
        return "has blanks or characters that cannot be printed; write %20 for a blank"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        return f"is no URL ({error}); write one such as https://api.example.com/cities/{{city}}"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "must begin with http:// or https:// and a host"
    if "@" in parts.netloc:
        return "holds a user or password; use auth, which names a secret"
    if "{" in parts.netloc:
        return "has a field in its host; fields may be in the path only"
    if parts.query or parts.fragment:
        return "has a query or fragment; use query"
    return None


def _type_of(schema: Mapping[str, Any], definitions: Mapping[str, Any], depth: int = 0) -> ParameterType:
    """The one type that a schema allows besides null, or `any`."""
    ref = schema.get("$ref")
    if isinstance(ref, str) and depth < len(definitions) + 1:
        found = definitions.get(ref.rpartition("/")[2])
        return _type_of(found, definitions, depth + 1) if isinstance(found, Mapping) else ParameterType.ANY
    named = schema.get("type")
    names = {named} if isinstance(named, str) else set(named) if isinstance(named, list) else set()
    kinds = {_TYPES[name] for name in names if name in _TYPES}
    if kinds:
        return kinds.pop() if len(kinds) == 1 else ParameterType.ANY
    options = schema.get("anyOf") or schema.get("oneOf") or ()
    kinds = {_type_of(option, definitions, depth + 1) for option in options if option != {"type": "null"}}
    return kinds.pop() if len(kinds) == 1 else ParameterType.ANY
