"""Pages and data of the web, from the hosts that are allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from actors.errors import AccessRefused, AnswerInvalid, ToolTimeout, ToolUnavailable
from actors.tools.guard import AccessDenied
from actors.tools.http import BadAnswer, HttpClient, HttpFailed
from actors.tools.native import tool
from actors.tools.settings import ToolSettings
from graphs.access import Access
from graphs.workflow.requests import HttpRequest

MAX_SIZE_BYTES = 1_000_000
"""Of one answer."""
TIMEOUT_S = 20.0
MAX_URL_LENGTH = 2_000
"""Characters of a URL."""
_ACCEPT = "application/json, text/html;q=0.9, text/*;q=0.8, */*;q=0.1"


def http_get_tool(settings: ToolSettings, http: HttpClient) -> Callable[..., Any]:
    """The tool `http_get`, which reaches what `settings` allow."""
    access = Access(hosts=settings.hosts, networks=settings.networks)

    @tool(tags=("web",))
    async def http_get(url: str) -> dict[str, Any]:
        """Get what is at a URL of an allowed host: the value of JSON, or text.

        Args:
            url: The URL, beginning with https:// or http://.

        Raises:
            AccessRefused: The host, or where it leads, is not allowed.
            ToolUnavailable: It cannot be reached.
            ToolTimeout: It did not answer in time.
            AnswerInvalid: The answer is too large, or neither JSON nor text.
        """
        if len(url) > MAX_URL_LENGTH:
            raise _failed(AccessRefused, f"url: has {len(url)} characters; {MAX_URL_LENGTH} are allowed")
        request = HttpRequest(method="GET", url=url, headers=(("Accept", _ACCEPT),), body=None)
        try:
            answer = await http.send(request, access, timeout_s=TIMEOUT_S, max_size_bytes=MAX_SIZE_BYTES)
        except AccessDenied as error:
            raise _failed(AccessRefused, f"url: {error}") from error
        except TimeoutError as error:
            raise _failed(ToolTimeout, f"no whole answer within {TIMEOUT_S:g} s", timeout_s=TIMEOUT_S) from error
        except HttpFailed as error:
            raise _failed(ToolUnavailable, str(error)) from error
        except BadAnswer as error:
            raise _failed(AnswerInvalid, str(error), status=error.status) from error
        found: dict[str, Any] = {"url": answer.url, "status": answer.status, "content_type": answer.content_type}
        if answer.is_json:
            try:
                return found | {"body": msgspec.json.decode(answer.body)}
            except (msgspec.MsgspecError, RecursionError):
                return found | {"body": answer.text()}
        if answer.body and not answer.is_text:
            problem = f"it sent {answer.content_type or 'no content type'}, neither JSON nor text"
            raise _failed(AnswerInvalid, problem, status=answer.status)
        return found | {"body": answer.text()}

    return http_get


def _failed(error: type[Any], problem: str, **fields: Any) -> Any:
    return error(f"http_get: {problem}", tool="http_get", **fields)
