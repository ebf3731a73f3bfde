"""Which addresses REST tools connect to, whatever the names of servers lead to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from actors.errors import AccessRefused, ToolUnavailable
from actors.tools.http import HttpClient
from actors.tools.settings import ToolSettings
from tests.component.test_rest_tools import Caller, get
from tests.component.web_server import WebServer, web_server

# --- addresses ------------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


async def test_a_name_is_looked_up_once_and_that_address_connected_to(server: WebServer) -> None:
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    call = Caller(ToolSettings(networks=("127.0.0.0/8",)))
    call.http = HttpClient(rebinding)
    tool = get(server, url=f"http://api.test:{server.server_port}/things")

    assert (await call(tool)).success
    assert asked == ["api.test"]
    await call.http.close()
    error = await call.error(tool)  # the connection is gone, so it is looked up again
    assert type(error) is AccessRefused
    assert "is where a cloud keeps secrets" in str(error)
    await call.http.close()


async def test_a_name_of_an_own_endpoint_does_not_lead_inside(server: WebServer) -> None:
    async def resolver(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    call = Caller()
    call.http = HttpClient(resolver)

    error = await call.error(get(server, url=f"http://api.test:{server.server_port}/"))

    await call.http.close()
    assert str(error) == (
        'look: "api.test" leads to an address that is not allowed: 127.0.0.1 is a loopback address; '
        "add it to access.networks to allow it"
    )
    assert server.requests == []


async def test_the_addresses_that_may_be_tried_are_tried_in_order(server: WebServer) -> None:
    async def resolver(host: str, port: int) -> list[str]:
        return ["10.0.0.1", "127.0.0.2", "127.0.0.1"]  # nobody listens at the second one

    call = Caller(ToolSettings(networks=("127.0.0.0/8",)))
    call.http = HttpClient(resolver)

    assert (await call(get(server, url=f"http://api.test:{server.server_port}/"))).success

    await call.http.close()


async def test_a_host_that_is_not_known(server: WebServer) -> None:
    async def resolver(host: str, port: int) -> list[str]:
        raise OSError("no such host")

    call = Caller()
    call.http = HttpClient(resolver)

    error = await call.error(get(server, url="http://api.test/", max_attempts=1))

    assert str(error) == "look: the host api.test is not known; see that the server runs"
    assert type(error) is ToolUnavailable
