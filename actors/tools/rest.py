"""REST tools: what sends their requests, again where that is safe, and makes outputs or errors of what comes back."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

import httpx
import msgspec
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from actors.errors import AccessRefused, AnswerInvalid, ToolError, ToolRefused, ToolTimeout, ToolUnavailable
from actors.retry_after import seconds_of
from actors.tools.guard import AccessDenied
from actors.tools.http import BadAnswer, HttpAnswer, HttpClient, HttpFailed
from actors.tools.secrets import Secrets, name_of
from actors.tools.settings import ToolSettings
from graphs.access import Access
from graphs.errors import ValidationError
from graphs.json_paths import compile_path, found_by
from graphs.tools import Tool
from graphs.workflow.endpoints import ApiKeyAuth, BasicAuth, BearerAuth, RestTool
from graphs.workflow.requests import HttpRequest, request_of

IDEMPOTENCY_HEADER = "Idempotency-Key"
MAX_WAIT_S = 30.0
"""Longest wait between two attempts; who asks for more gets no further one."""
_REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE"})
_NO_CONTENT = (HTTPStatus.NO_CONTENT, HTTPStatus.RESET_CONTENT)
_COOKIE_CHARACTERS = "!#$%&'()*+/:<=>?@[]^`{|}"
"""What stands in the value of a cookie as it is, besides letters, digits and `-._~`."""
_REMEDIES = {401: "check its auth", 403: "check its auth", 404: "check its url and arguments"}
_backoff = wait_exponential(multiplier=0.25, max=8.0) + wait_random(0.0, 0.25)


class RestExecutor:
    """Runs one REST tool.

    Args:
        endpoint: The tool.
        settings: What it may use and reach, besides its own URL.
        http: What sends requests.
        sleep: Waits for so many seconds between attempts.
    """

    def __init__(
        self,
        endpoint: RestTool,
        settings: ToolSettings,
        http: HttpClient,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._endpoint = endpoint
        self._secrets = Secrets(settings.secrets, _derived(endpoint, settings))
        self._access = Access(
            hosts=settings.hosts, networks=settings.networks, own=str(httpx.URL(endpoint.url.partition("{")[0]))
        )
        self._http = http
        self._sleep = sleep
        self._result = None if endpoint.result is None else compile_path(endpoint.result)

    async def execute(self, tool: Tool, arguments: Mapping[str, Any], *, idempotency_key: str | None) -> Any:
        """Send the request for `arguments`, and give the output that the answer has.

        Raises:
            ToolError: An argument cannot stand where it belongs, or a secret is missing.
            AccessRefused: Its URL, or where that sends it on to, leads to an address that is not allowed.
            ToolRefused: The status is an error that another attempt would not change.
            ToolUnavailable: It cannot be reached, or answered 408, 429 or 5xx, also after the attempts allowed.
            ToolTimeout: It did not answer in time.
            AnswerInvalid: The answer is too large, or not what it should be.
        """
        try:
            request = self._signed(request_of(self._endpoint, arguments), idempotency_key)
        except ValidationError as error:
            raise ToolError(error.message, tool=tool.name, problems=error.problems) from error
        retrying = AsyncRetrying(
            stop=stop_after_attempt(self._attempts(idempotency_key)),
            wait=_wait_s,
            retry=retry_if_exception(_may_pass),
            sleep=self._sleep,
            reraise=True,
        )
        answer: HttpAnswer | None = await retrying(self._attempt, request)
        return None if answer is None else self._secrets.without(self._output(answer))

    def _attempts(self, idempotency_key: str | None) -> int:
        endpoint = self._endpoint
        repeatable = endpoint.safe_to_repeat
        if repeatable is None:
            repeatable = endpoint.method in _REPEATABLE or idempotency_key is not None
        return endpoint.max_attempts if repeatable and not endpoint.at_most_once else 1

    def _signed(self, request: HttpRequest, idempotency_key: str | None) -> HttpRequest:
        """`request` with what it authenticates with and the idempotency key."""
        headers, url = list(request.headers), request.url
        if idempotency_key is not None:
            headers.append((IDEMPOTENCY_HEADER, idempotency_key))
        match self._endpoint.auth:
            case BearerAuth(token=token):
                headers.append(("Authorization", f"Bearer {self._secret(token)}"))
            case BasicAuth(username=username, password=password):
                headers.append(("Authorization", f"Basic {_pair(username, self._secret(password))}"))
            case ApiKeyAuth(place="header", name=name, key=key):
                headers.append((name, self._secret(key)))
            case ApiKeyAuth(place="cookie", name=name, key=key):
                cookies = [text for header, text in headers if header == "Cookie"]
                headers = [each for each in headers if each[0] != "Cookie"]
                text = quote(self._secret(key), safe=_COOKIE_CHARACTERS)
                headers.append(("Cookie", "; ".join([*cookies, f"{name}={text}"])))
            case ApiKeyAuth(place="query", name=name, key=key):
                pair = f"{quote(name, safe='')}={quote(self._secret(key), safe='')}"
                url += ("&" if urlsplit(url).query else "?") + pair
        return msgspec.structs.replace(request, headers=tuple(headers), url=url)

    def _secret(self, reference: str) -> str:
        value = self._secrets.resolve(reference, self._endpoint.name)
        if not (value and value.isascii() and value.isprintable()):
            raise self._failed(ToolError, f"{reference} is empty or has characters no key has; set it again")
        return value

    async def _attempt(self, request: HttpRequest) -> HttpAnswer | None:
        """Send it once; None if the answer is that there is nothing."""
        endpoint = self._endpoint
        try:
            answer = await self._http.send(
                request, self._access, timeout_s=endpoint.timeout_s, max_size_bytes=endpoint.max_size_bytes
            )
        except TimeoutError as error:
            raise self._failed(
                ToolTimeout,
                f"no whole answer within {endpoint.timeout_s:g} s; raise timeout_s or ask for less",
                timeout_s=endpoint.timeout_s,
            ) from error
        except AccessDenied as error:
            raise self._failed(AccessRefused, self._secrets.shown(str(error))) from error
        except HttpFailed as error:
            reason = self._secrets.shown(str(error))
            raise self._failed(ToolUnavailable, f"{reason}; see that the server runs") from error
        except BadAnswer as error:
            reason = self._secrets.shown(str(error))
            raise self._failed(
                AnswerInvalid, f"{reason}; see max_size_bytes and its url", status=error.status
            ) from error
        if answer.status in endpoint.nothing_on:
            return None
        if not HTTPStatus(200) <= answer.status < HTTPStatus(300):
            self._refuse(answer)
        return answer

    def _refuse(self, answer: HttpAnswer) -> NoReturn:
        """Raise what a status that is no success means."""
        status = answer.status
        text = self._secrets.shown(answer.text()) if answer.is_text else ""
        said = f"it answered {status}{': ' if text else ''}{text}"
        if status in (408, 429) or status >= 500:
            retry_after_s = seconds_of(answer.headers.get("retry-after"))
            raise self._failed(
                ToolUnavailable,
                f"{said}; try again later",
                status=status,
                retry_after_s=retry_after_s,
            )
        remedy = _REMEDIES.get(status, "correct its url or the arguments")
        raise self._failed(ToolRefused, f"{said}; {remedy}", status=status, text=text)

    def _output(self, answer: HttpAnswer) -> Any:
        endpoint = self._endpoint
        if answer.status in _NO_CONTENT or not answer.body:
            return None if endpoint.answer != "bytes" else answer.body
        match endpoint.answer:
            case "bytes":
                return answer.body
            case "text":
                return answer.text()
            case "auto" if answer.is_json or self._result is not None:
                return self._value(answer)
            case "auto" if answer.is_text:
                return answer.text()
            case "json":
                return self._value(answer)
        shown = answer.content_type or "no content type"
        problem = f'it sent {shown}, neither JSON nor text; set answer to "bytes" or "text"'
        raise self._failed(AnswerInvalid, problem, status=answer.status)

    def _value(self, answer: HttpAnswer) -> Any:
        if not answer.is_json:
            shown = answer.content_type or "no content type"
            raise self._failed(AnswerInvalid, f"it sent {shown} instead of JSON", status=answer.status)
        try:
            value = msgspec.json.decode(answer.body)
            return value if self._result is None else found_by(self._result, value)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            problem = f"it sent JSON that cannot be read ({self._secrets.shown(str(error))})"
            raise self._failed(AnswerInvalid, problem, status=answer.status) from error

    def _failed(self, error: type[ToolError], problem: str, **fields: Any) -> ToolError:
        name = self._endpoint.name
        return error(f"{name}: {problem}", tool=name, **fields)


def _pair(username: str, password: str) -> str:
    """What basic authentication sends."""
    return base64.b64encode(f"{username}:{password}".encode()).decode()


def _derived(endpoint: RestTool, settings: ToolSettings) -> list[str]:
    """What is sent that is made of a secret."""
    auth = endpoint.auth
    if not isinstance(auth, BasicAuth) or name_of(auth.password) not in settings.secrets:
        return []
    return [_pair(auth.username, settings.secrets[name_of(auth.password)])]


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, ToolUnavailable | ToolTimeout) and _asked_s(error) <= MAX_WAIT_S


def _asked_s(error: BaseException | None) -> float:
    """Seconds that the server asks to wait."""
    asked_s = error.fields.get("retry_after_s") if isinstance(error, ToolError) else None
    return 0.0 if asked_s is None else float(asked_s)


def _wait_s(state: RetryCallState) -> float:
    """Seconds until the next attempt."""
    error = state.outcome.exception() if state.outcome else None
    return max(_backoff(state), _asked_s(error))
