"""REST tools on Ray: an imported API is called by executors of other processes, whose secrets stay out of the store."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
import redis
from fastapi import FastAPI, Header
from pydantic import BaseModel

from actors.errors import AccessRefused, ToolRefused
from graphs.errors import GreenroomError
from runtime import END, START, Graph, NodeFinished, RestTool, Runtime, append
from runtime.servers import ValkeyService, ray_directory
from runtime.services import LocalServices
from tests.component.leaks import files, leaks, stored
from tests.component.shop import served, shop
from tests.conftest import Drivers

pytestmark = pytest.mark.integration

SECRET = "sk-int3gration-s3cret"
AUTH = {"HTTPBearer": "secret:shop_key", "APIKeyHeader": "secret:shop_key"}


class Basket(BaseModel):
    name: str = ""
    added: dict[str, Any] = {}
    echoes: Annotated[list[Any], append] = []
    failed: str = ""


@pytest.fixture
def app() -> FastAPI:
    app = shop()

    @app.post("/echo")
    def echo(said: dict[str, Any]) -> dict[str, Any]:
        return said

    return app


class Counter:
    """An endpoint that keeps its first caller waiting, and acts once for each idempotency key."""

    def __init__(self, app: FastAPI) -> None:
        self.keys: list[str] = []
        self.arrived = threading.Event()
        self.released = threading.Event()

        @app.post("/count")
        def count(idempotency_key: Annotated[str, Header()]) -> int:
            self.keys.append(idempotency_key)
            self.arrived.set()
            self.released.wait(60)
            return len(set(self.keys))


@pytest.fixture
def counter(app: FastAPI) -> Iterator[Counter]:
    counter = Counter(app)
    yield counter
    counter.released.set()


@pytest.fixture
def url(app: FastAPI) -> Iterator[str]:
    with served(app) as url:
        yield url


def buying(url: str) -> Graph:
    g = Graph("integration-buying", state=Basket)
    g.tool("add", tool="add_item", arguments={"name": "{name}", "price": 1.5}, into="added")
    g.tool("order", tool="order", arguments={"item_id": "{added.id}", "count": 1}, into="echoes")

    @g.node
    def tell(state: Basket, ctx: Any) -> dict[str, Any]:
        return {"failed": str(ctx.error)}

    g.edge(START, "add")
    g.edge("add", "order")
    g.edge("order", END)
    g.edge("order", "tell", on_error=True)
    g.edge("tell", END)
    return g


def test_an_api_is_called_from_executors_and_its_secret_stays_with_them(
    drivers: Drivers, app: FastAPI, url: str
) -> None:
    with Runtime(home=drivers.home, secrets={"shop_key": SECRET}, log_level="DEBUG") as rt:
        rt.tools.import_openapi(app.openapi(), base_url=url, auth=AUTH)
        rt.deploy(buying(url))

        session = rt.session("integration-buying")
        result = session.run({"name": "hat"}, timeout_s=60)
        outside = rt.tools.execute("remove_item", {"item_id": 1})
        inside = RestTool(name="inside", url="http://169.254.169.254/latest/meta-data")
        rt.tools.register(inside)
        refused = rt.tools.execute("inside", {})

        assert result.error is None
        assert result.state.added["id"] == 1
        assert result.state["failed"] == ('order: it answered 401: {"detail":"Bearer *** is wrong"}; check its auth')
        assert outside.error is not None
        assert type(GreenroomError.from_info(outside.error)) is ToolRefused
        assert refused.error is not None
        assert type(GreenroomError.from_info(refused.error)) is AccessRefused
        assert SECRET not in repr((result, outside))

        with LocalServices(drivers.home) as services:
            services.start(ValkeyService())
            store = redis.Redis.from_url(ValkeyService.url(services.wait(ValkeyService.name)))
            kept = list(stored(store))
            store.close()
    assert leaks("Bearer *** is wrong", iter(kept)) != [], "what was answered is found where it is stored"
    assert leaks(SECRET, iter(kept)) == []
    assert leaks(SECRET, files(drivers.home)) == []
    logs = list(files(ray_directory(drivers.home) / "session_latest" / "logs"))
    assert leaks(SECRET, iter(logs)) == []
    assert logs


def test_a_call_whose_executor_is_killed_is_made_again_with_the_same_key(
    drivers: Drivers, counter: Counter, url: str
) -> None:
    g = Graph("integration-count", state=Basket)
    g.tool("count", tool=RestTool(name="count", method="POST", url=f"{url}/count", timeout_s=60), into="echoes")
    g.edge(START, "count")
    g.edge("count", END)
    with Runtime(home=drivers.home) as rt:
        rt.deploy(g)
        session = rt.session("integration-count")
        thread = session.submit({})
        assert counter.arrived.wait(60)
        pids = [process.pid for process in rt.cluster().processes if process.kind == "tool"]

        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        counter.released.set()
        result = thread.result(timeout_s=60)

        assert (result.error, result.state["echoes"]) == (None, [1])
        assert counter.keys == [f"{thread.id}:2"] * 2
        steps = [event for event in thread.events() if isinstance(event, NodeFinished)]
        assert [(event.node, event.attempt) for event in steps] == [("count", 2)]
        ran = rt.history.query(session=session.id, record_type="tool_execution")
        assert len(ran) == 1
