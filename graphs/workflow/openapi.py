"""From an OpenAPI document (3.0 or 3.1) to REST tools: one for each operation, or all that keeps them from being it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal
from urllib.parse import urljoin, urlsplit

import pydantic

from graphs.errors import DocumentInvalid
from graphs.workflow.endpoints import ApiKeyAuth, Auth, BasicAuth, BearerAuth, RestTool
from graphs.workflow.openapi_schemas import Lookup, Schemas, escaped

_METHODS = ("get", "put", "post", "delete", "patch", "head")
_VERSION = re.compile(r"3\.[01](\.\d+)?")
_NAME_LENGTH = 64
_DESCRIPTION_LENGTH = 2_000
_FORM = "application/x-www-form-urlencoded"
_STYLES: dict[str, Literal["comma", "space", "pipe", "deep"]] = {
    "spaceDelimited": "space",
    "pipeDelimited": "pipe",
    "deepObject": "deep",
}
_OWN_HEADERS = frozenset({"accept", "content-type", "authorization", "idempotency-key"})
"""What a REST tool sends by itself."""
_FIELD = re.compile(r"\{([^{}]*)\}")


def import_openapi(
    document: Mapping[str, Any],
    *,
    base_url: str | None = None,
    include: Collection[str] = (),
    tags: Collection[str] = (),
    auth: Mapping[str, str] | str | None = None,
    prefix: str = "",
) -> list[RestTool]:
    """The REST tools that the operations of an API are.

    Args:
        document: The document, as plain data.
        base_url: Where the API is, in place of what the document says.
        include: Patterns such as `list_*`, `/pets/*` or `GET /pets*`: only operations of which the name, the path, or
            both method and path match one of them. Nothing: all.
        tags: Only operations with one of these tags.
        auth: Security scheme of the document -> `secret:NAME`, or `USER:secret:NAME` for a scheme with a user and
            password; a text alone is meant for every scheme.
        prefix: What the names of the tools begin with.

    Raises:
        DocumentInvalid: Listing everything that is wrong or cannot be called, each with its JSON pointer.
    """
    problems = _form_problems(document)
    if problems:
        raise _invalid(problems)
    lookup = Lookup(document, problems)
    schemes = auth if isinstance(auth, Mapping) else {}
    for name in schemes:
        if name not in document.get("components", {}).get("securitySchemes", {}):
            lookup.problem("/components/securitySchemes", f'there is no scheme "{name}"')
    tools: dict[str, RestTool] = {}
    for path, method, operation, pointer in _operations(document, lookup):
        own_name = _identifier(operation.get("operationId") or f"{method}_{path}")
        if _is_wanted(own_name, path, method, operation, include, tags):
            reader = _Operation(document, lookup, base_url, auth)
            name = _unused(f"{prefix}{own_name}"[:_NAME_LENGTH], tools, _NAME_LENGTH)
            tool = reader.tool(name, path, method, operation, pointer)
            if tool is not None:
                tools[name] = tool
    if not tools and not problems:
        lookup.problem("/paths", "has no operation that is wanted")
    if problems:
        raise _invalid(problems)
    return list(tools.values())


def _invalid(problems: Mapping[str, str]) -> DocumentInvalid:
    texts = [f"{pointer or '/'}: {message}" for pointer, message in problems.items()]
    more = f"; and {len(texts) - 3} more" if len(texts) > 3 else ""
    return DocumentInvalid(f"OpenAPI document: {'; '.join(texts[:3])}{more}", problems=texts)


def _form_problems(document: Mapping[str, Any]) -> dict[str, str]:
    """JSON pointer -> what is wrong with the form of a document."""
    version = document.get("openapi")
    if not (isinstance(version, str) and _VERSION.fullmatch(version)):
        found = f"is {version}" if version is not None else "is missing"
        return {"/openapi": f"{found}; give a document of OpenAPI 3.0 or 3.1"}
    from openapi_pydantic import parse_obj  # a quarter of a second that nothing else needs

    try:
        parse_obj(document)
    except pydantic.ValidationError as error:
        problems: dict[str, str] = {}
        for detail in error.errors(include_url=False, include_context=False, include_input=False):
            pointer = _pointer(detail["loc"], document, is_missing=detail["type"] == "missing")
            if pointer is not None:
                problems.setdefault(pointer, "is missing" if detail["type"] == "missing" else detail["msg"])
        return problems
    return {}


def _pointer(loc: Iterable[int | str], document: Any, *, is_missing: bool) -> str | None:
    """The JSON pointer of an error's place; None if the error is about what the place is not meant to be."""
    parts = list(loc)
    node, pointer = document, ""
    for number, part in enumerate(parts):
        if isinstance(node, Mapping) and part in node:
            node = node[part]
            pointer += f"/{escaped(str(part))}"
        elif isinstance(node, list) and isinstance(part, int) and part < len(node):
            node = node[part]
            pointer += f"/{part}"
        elif is_missing and number == len(parts) - 1:
            pointer += f"/{escaped(str(part))}"
        elif isinstance(node, Mapping) and (part == "Reference") is not ("$ref" in node):
            return None
    return pointer


def _operations(document: Mapping[str, Any], lookup: Lookup) -> Iterator[tuple[str, str, Mapping[str, Any], str]]:
    """Path, method, operation with the parameters of its path, and where it stands."""
    for path, given in (document.get("paths") or {}).items():
        item, place = lookup.target(given, f"/paths/{escaped(path)}")
        for method in _METHODS:
            if method in item:
                shared = [(each, f"{place}/parameters/{i}") for i, each in enumerate(item.get("parameters") or ())]
                pointer = f"{place}/{method}"
                own = item[method].get("parameters") or ()
                parameters = [*shared, *((each, f"{pointer}/parameters/{i}") for i, each in enumerate(own))]
                servers = item[method].get("servers") or item.get("servers")
                yield path, method, {**item[method], "parameters": parameters, "servers": servers}, pointer


def _is_wanted(
    name: str,
    path: str,
    method: str,
    operation: Mapping[str, Any],
    include: Collection[str],
    tags: Collection[str],
) -> bool:
    if tags and not set(tags) & set(operation.get("tags") or ()):
        return False
    texts = (name, path, f"{method.upper()} {path}")
    return not include or any(fnmatchcase(text, pattern) for pattern in include for text in texts)


class _Operation:
    """One operation on its way to a tool."""

    def __init__(
        self, document: Mapping[str, Any], lookup: Lookup, base_url: str | None, auth: Mapping[str, str] | str | None
    ) -> None:
        self._document = document
        self._lookup = lookup
        self._base_url = base_url
        self._auth = auth
        self._schemas = Schemas(lookup, old=document["openapi"].startswith("3.0"))
        self._parameters: dict[str, dict[str, Any]] = {}
        self._required: list[str] = []
        self._fields: dict[str, Any] = {"query": {}, "headers": {}, "cookies": {}, "query_style": {}}

    def tool(self, name: str, path: str, method: str, operation: Mapping[str, Any], pointer: str) -> RestTool | None:
        """The tool; None if there are problems."""
        before = len(self._lookup.problems)
        auth = self._authentication(operation, pointer)
        path_names = self._add_parameters(operation["parameters"], auth)
        for wanted in _FIELD.findall(path):
            if wanted not in path_names:
                self._lookup.problem(f"{pointer}/parameters", f'the path parameter "{wanted}" is missing')
        if "requestBody" in operation:
            self._add_body(operation["requestBody"], f"{pointer}/requestBody")
        base = self._base(operation, pointer)
        if len(self._lookup.problems) > before or not base:
            return None
        tool = RestTool(
            name=name,
            description=_described(operation),
            version=str(self._document["info"]["version"]),
            tags=tuple(map(str, operation.get("tags") or ())),
            method=method.upper(),
            url=base + _FIELD.sub(lambda match: "{" + path_names[match.group(1)] + "}", path),
            parameters=self._parameters,
            required=tuple(self._required),
            definitions=self._schemas.used(self._parameters),
            auth=auth,
            **self._fields,
        )
        for problem in tool.problems():
            self._lookup.problem(pointer, problem)
        return tool

    def _add_parameters(self, given: Iterable[tuple[Any, str]], auth: Auth | None) -> dict[str, str]:
        """Take in the parameters; those of an operation come before those of its path. Path parameter -> field."""
        found: dict[tuple[str, str], tuple[Mapping[str, Any], str]] = {}
        for value, place in given:
            parameter, pointer = self._lookup.target(value, place)
            if parameter:
                found[parameter["name"], parameter["in"]] = parameter, pointer
        path_names = {}
        for (wire, place), (parameter, pointer) in found.items():
            if place == "header" and wire.lower() in _OWN_HEADERS:
                continue
            if isinstance(auth, ApiKeyAuth) and (auth.name.lower(), auth.place) == (wire.lower(), place):
                continue
            field = self._add(wire, parameter, pointer)
            match place:
                case "path":
                    path_names[wire] = field
                case "query":
                    self._fields["query"][wire] = "{" + field + "}"
                    self._add_style(wire, parameter, pointer)
                case "header" | "cookie":
                    self._fields[f"{place}s"][wire] = "{" + field + "}"
            if place == "path" and parameter.get("style", "simple") != "simple":
                self._lookup.problem(f"{pointer}/style", f'the style "{parameter["style"]}" is not supported in a path')
        return path_names

    def _add(self, wire: str, parameter: Mapping[str, Any], pointer: str) -> str:
        """Take in one parameter, and give the name of its field."""
        if "content" in parameter:
            content: Mapping[str, Any] = parameter["content"]
            kind = next(iter(content), "")
            if not _is_json(kind):
                self._lookup.problem(
                    f"{pointer}/content", "is not JSON, the only form of a parameter that is supported"
                )
            schema, place = content.get(kind, {}).get("schema", {}), f"{pointer}/content/{escaped(kind)}/schema"
        else:
            schema, place = parameter.get("schema", {}), f"{pointer}/schema"
        described = self._schemas.converted(schema, place)
        if parameter.get("description"):
            described = {**described, "description": parameter["description"][:_DESCRIPTION_LENGTH]}
        return self._take(wire, described, required=parameter.get("required") is True or parameter["in"] == "path")

    def _take(self, wire: str, schema: dict[str, Any], *, required: bool) -> str:
        field = _unused(_identifier(wire), self._parameters, _NAME_LENGTH)
        self._parameters[field] = schema
        if required:
            self._required.append(field)
        return field

    def _add_style(self, wire: str, parameter: Mapping[str, Any], pointer: str) -> None:
        style = parameter.get("style", "form")
        schema = self._schemas.whole(self._schemas.converted(parameter.get("schema", {}), f"{pointer}/schema"))
        if style in _STYLES:
            self._fields["query_style"][wire] = _STYLES[style]
        elif style == "form" and schema.get("type") == "object" and "content" not in parameter:
            self._lookup.problem(f"{pointer}/style", "an object in a query must have the style deepObject")
        elif style == "form" and parameter.get("explode") is False:
            self._fields["query_style"][wire] = "comma"

    def _add_body(self, given: Any, place: str) -> None:
        body, pointer = self._lookup.target(given, place)
        content = body.get("content") or {}
        kind = next(filter(_is_json, content), None) or (_FORM if _FORM in content else None)
        if kind is None:
            known = ", ".join(content) or "nothing"
            self._lookup.problem(f"{pointer}/content", f"has {known}; only JSON and {_FORM} are supported")
            return
        if kind not in ("application/json", _FORM):
            self._fields["headers"]["Content-Type"] = kind if "*" not in kind else "application/json"
        schema = self._schemas.converted(content[kind].get("schema", {}), f"{pointer}/content/{escaped(kind)}/schema")
        whole = self._schemas.whole(schema)
        properties = whole.get("properties") or {}
        is_required = body.get("required") is True
        needed = set(whole.get("required") or ())
        if kind == _FORM or (_is_plain_object(whole) and (is_required or not needed)):
            template = {
                wire: "{" + self._take(wire, inner, required=wire in needed) + "}" for wire, inner in properties.items()
            }
            self._fields["form" if kind == _FORM else "body"] = template
            return
        if body.get("description"):
            schema = {**schema, "description": body["description"][:_DESCRIPTION_LENGTH]}
        self._fields["body"] = "{" + self._take("body", schema, required=is_required) + "}"

    def _base(self, operation: Mapping[str, Any], pointer: str) -> str:
        if self._base_url is not None:
            return self._base_url.rstrip("/")
        servers = operation["servers"] or self._document.get("servers") or [{"url": "/"}]
        url: str = servers[0]["url"]
        for name, variable in (servers[0].get("variables") or {}).items():
            url = url.replace("{" + name + "}", str(variable["default"]))
        if urlsplit(url).scheme not in ("http", "https"):
            self._lookup.problem("/servers", f'"{url}" does not say where the API is; give base_url')
            return ""
        return urljoin(url, urlsplit(url).path.rstrip("/") or "/").rstrip("/")

    def _authentication(self, operation: Mapping[str, Any], pointer: str) -> Auth | None:
        """How to authenticate: by the first alternative of which all secrets are given."""
        alternatives = operation.get("security", self._document.get("security")) or [{}]
        schemes = self._document.get("components", {}).get("securitySchemes", {})
        for alternative in alternatives:
            names = list(alternative)
            if not names and (self._auth is None or len(alternatives) == 1):
                return None
            given = [self._auth if isinstance(self._auth, str) else (self._auth or {}).get(name) for name in names]
            if len(names) == 1 and given[0] is not None and names[0] in schemes:
                place = f"/components/securitySchemes/{escaped(names[0])}"
                return self._scheme(*self._lookup.target(schemes[names[0]], place), given[0])
        if {} in alternatives:
            return None
        wanted = " or ".join(" and ".join(f'"{name}"' for name in alternative) for alternative in alternatives)
        hint = "; several at once are not supported" if all(len(each) > 1 for each in alternatives) else ""
        self._lookup.problem(f"{pointer}/security", f"needs {wanted}; give auth with the name of its secret{hint}")
        return None

    def _scheme(self, scheme: Mapping[str, Any], pointer: str, secret: str) -> Auth | None:
        try:
            if scheme.get("type") == "apiKey":
                return ApiKeyAuth(place=scheme["in"], name=scheme["name"], key=secret)
            if scheme.get("type") == "http" and scheme["scheme"].lower() == "basic":
                username, _, password = secret.partition(":")
                if username == "secret":
                    self._lookup.problem(pointer, "needs a user too; give auth as USER:secret:NAME")
                    return None
                return BasicAuth(username=username, password=password)
            if scheme.get("type") == "http" and scheme["scheme"].lower() != "bearer":
                self._lookup.problem(pointer, f'the scheme "{scheme["scheme"]}" is not supported')
                return None
            return BearerAuth(token=secret)
        except pydantic.ValidationError:
            self._lookup.problem(pointer, "auth must give the name of a secret, such as secret:weather_key")
            return None


def _is_plain_object(schema: Mapping[str, Any]) -> bool:
    """Whether its properties are all there is to say of it."""
    return (
        schema.get("type") == "object"
        and bool(schema.get("properties"))
        and not {"allOf", "anyOf", "oneOf", "not", "if", "minProperties", "patternProperties"} & schema.keys()
        and not schema.get("additionalProperties")
    )


def _is_json(kind: str) -> bool:
    name = kind.partition(";")[0].strip().lower()
    return name == "application/json" or name.endswith("+json") or name == "*/*"


def _described(operation: Mapping[str, Any]) -> str:
    parts = dict.fromkeys(text.strip() for key in ("summary", "description") if (text := operation.get(key)))
    return "\n\n".join(parts)[:_DESCRIPTION_LENGTH]


def _identifier(text: str) -> str:
    """`text` as a name that models and templates take."""
    found = re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9_]", "_", text)).strip("_") or "value"
    return f"_{found}" if found[0].isdigit() else found


def _unused(name: str, taken: Collection[str], length: int) -> str:
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name[: length - len(str(number)) - 1]}_{number}"
    return found
