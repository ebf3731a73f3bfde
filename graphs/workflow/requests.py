"""From the arguments of a REST tool to an HTTP request, without its credentials.

No argument can leave its place: one in a path stays within its segment, one in a header on its line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from string import Formatter
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from graphs.errors import ValidationError
from graphs.workflow.endpoints import RestTool, lone_field
from graphs.workflow.template import render

_DOTS = frozenset({".", ".."})
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\x80-\xff\t]")
_COOKIE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")
_SEPARATORS = {"comma": ",", "space": " ", "pipe": "|"}


class HttpRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent, but for credentials."""

    method: str
    url: str
    """Whole, with the path and the query encoded."""
    headers: tuple[tuple[str, str], ...]
    body: bytes | None


def request_of(tool: RestTool, arguments: Mapping[str, Any]) -> HttpRequest:
    """The request for `arguments`, which fit the tool's parameters.

    Raises:
        ValidationError: An argument cannot stand where it belongs; `problems` name each such parameter.
    """
    problems: list[str] = []
    parts = urlsplit(tool.url)
    path = _path(parts.path, arguments, problems)
    query = list(_pairs(tool.query, arguments, tool.query_style))
    headers = list(_texts(tool.headers, arguments))
    cookies = list(_texts(tool.cookies, arguments))
    problems += [
        f"{_blamed(tool.headers[name], name)}: cannot stand in a header; use printable characters of Latin-1"
        for name, text in headers
        if _UNPRINTABLE.search(text)
    ]
    problems += [
        f"{_blamed(tool.cookies[name], name)}: cannot stand in a cookie; encode it first"
        for name, text in cookies
        if not _COOKIE.fullmatch(text)
    ]
    if problems:
        raise ValidationError(f"{tool.name}: {'; '.join(problems)}", problems=problems, tool=tool.name)
    if cookies:
        headers.append(("Cookie", "; ".join(f"{name}={text}" for name, text in cookies)))
    body, content_type = _body(tool, arguments)
    if body is not None and not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("Content-Type", content_type))
    url = parts._replace(path=path, query=urlencode(query, quote_via=quote)).geturl()
    return HttpRequest(method=tool.method, url=url, headers=tuple(headers), body=body)


def _path(template: str, arguments: Mapping[str, Any], problems: list[str]) -> str:
    """The path, with each argument within its segment."""
    path = ""
    for literal, name, spec, _ in Formatter().parse(template):
        path += quote(literal, safe="/%:@!$&'()*+,;=~-._")
        if name is None:
            continue
        value = arguments[name]
        if spec:
            text = render("{" + f"{name}:{spec}" + "}", arguments)
        else:
            text = ",".join(map(_text, value)) if isinstance(value, list) else _text(value)
        if not text:
            problems.append(f"{name}: must not be empty, it is a part of the path")
        path += quote(text, safe="")
    if not _DOTS.isdisjoint(path.split("/")) and not problems:
        named = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
        problems += [f"{name}: must not be a part of . or .., which leads elsewhere" for name in named] or [
            "url: has . or .. in its path"
        ]
    return path


def _pairs(
    templates: Mapping[str, Any], arguments: Mapping[str, Any], styles: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Names and texts of a query or form."""
    for name, template in templates.items():
        value = _filled(template, arguments)
        style = styles.get(name)
        if value is _MISSING or value is None:
            continue
        if isinstance(value, Mapping) and style == "deep":
            yield from ((f"{name}[{key}]", _text(item)) for key, item in value.items() if item is not None)
        elif isinstance(value, list) and style in _SEPARATORS:
            yield name, _SEPARATORS[style].join(map(_text, value))
        elif isinstance(value, list):
            yield from ((name, _text(item)) for item in value)
        else:
            yield name, _text(value)


def _texts(templates: Mapping[str, str], arguments: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Names and texts of headers or cookies; lists are joined with commas."""
    for name, template in templates.items():
        value = _filled(template, arguments)
        if value is not _MISSING and value is not None:
            yield name, ",".join(map(_text, value)) if isinstance(value, list) else _text(value)


def _body(tool: RestTool, arguments: Mapping[str, Any]) -> tuple[bytes | None, str]:
    if tool.form is not None:
        pairs = list(_pairs(tool.form, arguments, {}))
        return urlencode(pairs).encode(), "application/x-www-form-urlencoded"
    value = _MISSING if tool.body is None else _filled(tool.body, arguments)
    return (None, "") if value is _MISSING else (msgspec.json.encode(value), "application/json")


_MISSING = object()


def _filled(template: Any, arguments: Mapping[str, Any]) -> Any:
    """`template` with arguments in it; a lone field without an argument is `_MISSING`, and left out of mappings."""
    if isinstance(template, str):
        name = lone_field(template)
        return render(template, arguments) if name is None else arguments.get(name, _MISSING)
    if isinstance(template, Mapping):
        filled = {key: _filled(item, arguments) for key, item in template.items()}
        return {key: item for key, item in filled.items() if item is not _MISSING}
    if isinstance(template, list):
        return [item for each in template if (item := _filled(each, arguments)) is not _MISSING]
    return template


def _text(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case _:
            return msgspec.json.encode(value).decode()


def _blamed(template: str, place: str) -> str:
    """The parameter that filled a template, or its place if there is none."""
    return next((name for _, name, _, _ in Formatter().parse(template) if name is not None), place)
