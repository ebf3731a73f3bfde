"""Chat over HTTP, streamed as server-sent events: connections, timeouts, retries, and what each failure means."""

from __future__ import annotations

import asyncio
import contextlib
import http
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import NoReturn, Protocol, cast

import httpx
import httpx_sse
import msgspec
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    stop_before_delay,
    wait_exponential,
    wait_random,
)

from actors.errors import ModelError, ModelUnavailable, RateLimited
from actors.llm.answer import Answer, Refused, Unusable
from actors.llm.client import ChatRequest, ChatResponse, OnToken
from actors.llm.settings import ModelSettings
from actors.retry_after import seconds_of

MAX_CONNECTIONS = 100
"""Chats of one client that are under way at once; more wait, without their timeouts running except `total_s`."""
MAX_EVENT_BYTES = 8 * 2**20
"""Of one event of a stream, or of an answer that is not streamed."""
_SHOWN_CHARACTERS = 500
_READ_BYTES = 4 * _SHOWN_CHARACTERS
_LINGER_S = 1.0
_REMEDIES = {401: "check its api_key", 403: "check its api_key", 404: "check its base_url and model"}
_backoff = wait_exponential(multiplier=0.5, max=8.0) + wait_random(0.0, 0.5)


class Dialect(Protocol):
    """How one kind of server wants to be asked, and answers."""

    @property
    def path(self) -> str:
        """What follows the `base_url`."""

    def headers(self, api_key: str) -> Mapping[str, str]:
        """Headers of every request; `api_key` is empty if there is none."""

    def body(self, request: ChatRequest, model: str) -> bytes:
        """JSON of a streaming request to `model`. Raises `Unusable` if it cannot be put so."""

    def answer(self, request: ChatRequest, on_token: OnToken | None) -> Answer:
        """What takes in the answer to `request`."""


class _Transient(Exception):
    """An attempt failed before any part of the answer came; another one may not."""

    def __init__(self, reason: str, *, status: int | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.retry_after_s = retry_after_s


class HttpClient:
    """A model behind an HTTP endpoint.

    Refused connections and the statuses 408, 429 and 5xx are retried with growing, jittered waits, or after what
    `Retry-After` says; once there is text, the request is not repeated.

    Args:
        settings: The model's settings.
        dialect: What its server speaks.
        sleep: Waits for so many seconds between attempts.

    Raises:
        ModelError: `base_url` is no HTTP URL, or `api_key` cannot stand in a header.
    """

    def __init__(
        self,
        settings: ModelSettings,
        dialect: Dialect,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._dialect = dialect
        self._sleep = sleep
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)
        self._url, auth = self._endpoint()
        key = settings.api_key or ""
        if not (key.isascii() and key.isprintable() and " " not in key):
            raise self._error("its api_key has characters no key has; set it again")
        self._client = httpx.AsyncClient(
            headers={
                "Accept": "text/event-stream, application/json",
                "Content-Type": "application/json",
                **dialect.headers(key),
            },
            auth=auth,
            timeout=httpx.Timeout(None, connect=settings.timeouts.connect_s),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
            # The environment is read in one place, and that is not here.
            trust_env=False,
        )

    async def chat(self, request: ChatRequest, on_token: OnToken | None = None) -> ChatResponse:
        """Ask the server; see `ChatClient.chat`."""
        settings = self._settings
        model = request.model or settings.model
        retrying = AsyncRetrying(
            stop=stop_after_attempt(settings.max_retries + 1) | stop_before_delay(settings.timeouts.total_s),
            wait=_wait_s,
            retry=retry_if_exception_type(_Transient),
            sleep=self._sleep,
            reraise=True,
        )
        deadline = asyncio.timeout(settings.timeouts.total_s)
        try:
            body = self._dialect.body(request, model)
            async with deadline, self._slots:
                answer: Answer = await retrying(self._attempt, body, request, on_token)
            return answer.response(model)
        except Unusable as error:
            raise self._error(str(error)) from error
        except _Transient as error:
            attempts = retrying.statistics["attempt_number"]
            raise self._unavailable(
                f"{error.reason} ({attempts} attempts); see that the server runs and is not overloaded",
                status=error.status,
                retry_after_s=error.retry_after_s,
            ) from error
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise self._unavailable(
                f"no whole answer within {settings.timeouts.total_s:g} s; raise timeouts.total_s or ask for less"
            ) from error

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _attempt(self, body: bytes, request: ChatRequest, on_token: OnToken | None) -> Answer:
        timeouts = self._settings.timeouts
        answer = self._dialect.answer(request, on_token)
        patience = asyncio.timeout(timeouts.first_token_s)
        try:
            async with patience, self._client.stream("POST", self._url, content=body) as response:
                await self._receive(response, answer, patience)
        except TimeoutError as error:
            if not patience.expired():
                raise
            if not answer.ended:
                waited = f"within {timeouts.first_token_s:g} s; raise timeouts.first_token_s"
                if answer.begun:
                    waited = f"for {timeouts.idle_s:g} s after {answer.length} characters; raise timeouts.idle_s"
                raise self._unavailable(f"nothing came {waited} or use a faster model") from error
        except httpx.TransportError as error:
            if not answer.ended:
                self._lost(answer, f"{type(error).__name__}: {error}", error)
        except httpx.DecodingError as error:
            raise self._error(f"its answer cannot be decoded: {error}") from error
        if not answer.complete:
            self._lost(answer, "the stream ended", None)
        return answer

    async def _receive(self, response: httpx.Response, answer: Answer, patience: asyncio.Timeout) -> None:
        if response.status_code != http.HTTPStatus.OK:
            await self._refuse(response)
        content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        bounded = _Bounded(response)
        if content_type == "text/event-stream":
            await self._receive_events(bounded, answer, patience)
        elif content_type == "application/json":
            self._take(answer, "".join([text async for text in bounded.aiter_text()]))
            if not answer.begun:
                raise self._error("there is no answer in what it sent; check its base_url")
            answer.ended = True
        else:
            raise self._error(f"it sent {content_type or 'no content type'} instead of an answer; check its base_url")

    async def _receive_events(self, response: _Bounded, answer: Answer, patience: asyncio.Timeout) -> None:
        now = asyncio.get_running_loop().time
        source = httpx_sse.EventSource(cast("httpx.Response", response))
        async with contextlib.aclosing(source.aiter_sse()) as events:
            async for event in events:
                response.taken = 0
                if answer.ended or not event.data:
                    continue
                self._take(answer, event.data)
                # After its end the end of the body follows; reading it lets the connection be used again.
                patience.reschedule(now() + (_LINGER_S if answer.ended else self._settings.timeouts.idle_s))

    def _take(self, answer: Answer, text: str) -> None:
        try:
            answer.take(text)
        except msgspec.MsgspecError as error:
            raise self._error(f"it sent something that is no answer ({error}): {self._shown(text)}") from error
        except Refused as error:
            reason = f"it failed: {self._shown(error.reason)}"
            if error.status is not None and _may_pass(error.status) and not answer.length:
                raise _Transient(reason, status=error.status) from error
            raise self._error(reason, status=error.status) from error

    async def _refuse(self, response: httpx.Response) -> NoReturn:
        """Raise what a response other than 200 means."""
        status = response.status_code
        read = b""
        async for chunk in response.aiter_bytes():
            read += chunk
            if len(read) >= _READ_BYTES:
                break
        text = self._shown(read[:_READ_BYTES].decode(errors="replace"))
        if _may_pass(status):
            retry_after_s = seconds_of(response.headers.get("retry-after"))
            raise _Transient(f"it answered {status} {text}".rstrip(), status=status, retry_after_s=retry_after_s)
        remedy = _REMEDIES.get(status) or ("correct its base_url" if response.is_redirect else "correct the request")
        raise self._error(f"it answered {status}: {text}; {remedy}", status=status, text=text)

    def _lost(self, answer: Answer, reason: str, cause: BaseException | None) -> NoReturn:
        """Raise what the loss of the connection means: another attempt, unless there was text already."""
        shown = self._shown(reason)
        if not answer.length:
            raise _Transient(f"no answer: {shown}") from cause
        raise self._unavailable(f"it broke off after {answer.length} characters: {shown}; ask again") from cause

    def _error(self, problem: str, *, status: int | None = None, text: str = "") -> ModelError:
        return ModelError(f"{self._who()}: {problem}", model=self._settings.name, status=status, text=text)

    def _unavailable(
        self, problem: str, *, status: int | None = None, retry_after_s: float | None = None
    ) -> ModelUnavailable:
        kind = RateLimited if status == http.HTTPStatus.TOO_MANY_REQUESTS else ModelUnavailable
        return kind(
            f"{self._who()}: {problem}",
            model=self._settings.name,
            url=self._settings.shown_url,
            status=status,
            retry_after_s=retry_after_s,
        )

    def _who(self) -> str:
        return f'model "{self._settings.name}" at {self._settings.shown_url}'

    def _shown(self, text: str) -> str:
        """`text` from outside, on one line, cut, and without the key (servers like to repeat it)."""
        text = text[:_READ_BYTES]
        if self._settings.api_key:
            text = text.replace(self._settings.api_key, "***")
        line = " ".join(text.split())
        return line if len(line) <= _SHOWN_CHARACTERS else line[:_SHOWN_CHARACTERS] + "..."

    def _endpoint(self) -> tuple[httpx.URL, httpx.BasicAuth | None]:
        """URL of the chats without credentials, which requests would write to the log, and these."""
        try:
            url = httpx.URL(self._settings.base_url)
        except httpx.InvalidURL as error:
            raise ModelError(
                f'model "{self._settings.name}": base_url is no URL; write one such as http://127.0.0.1:8080/v1',
                model=self._settings.name,
                status=None,
            ) from error
        if url.scheme not in ("http", "https") or not url.host:
            raise self._error("base_url must begin with http:// or https:// and a host")
        auth = httpx.BasicAuth(url.username, url.password) if url.userinfo and not self._settings.api_key else None
        path = url.path.rstrip("/") + self._dialect.path
        return url.copy_with(path=path, username=None, password=None), auth


class _Bounded:
    """A response as readers of events see it, up to the point where an event gets too long."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.headers = response.headers
        self.taken = 0
        """Characters since the last event."""

    async def aiter_text(self) -> AsyncIterator[str]:
        """The text as it comes. Raises `Unusable`."""
        async for text in self._response.aiter_text():
            self.taken += len(text)
            if self.taken > MAX_EVENT_BYTES:
                raise Unusable(f"it sent more than {MAX_EVENT_BYTES:,} bytes in one piece; check its base_url")
            yield text


def _may_pass(status: int) -> bool:
    return status in (408, 429) or status >= 500


def _wait_s(state: RetryCallState) -> float:
    """Seconds until the next attempt."""
    error = state.outcome.exception() if state.outcome else None
    asked_s = error.retry_after_s if isinstance(error, _Transient) else None
    return _backoff(state) if asked_s is None else asked_s
