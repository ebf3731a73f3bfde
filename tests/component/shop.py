"""An API written with FastAPI, served by uvicorn, with the OpenAPI document that FastAPI makes of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import Body, Depends, FastAPI, Header, HTTPException, Query
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic import BaseModel, Field
from werkzeug.serving import make_server

KEY = "k3y-of-the-shop"


class Item(BaseModel):
    name: str = Field(min_length=2, description="What it is called.")
    price: float = Field(gt=0)
    tags: list[str] = []
    color: Literal["red", "green"] | None = None
    parts: list[Item] = []


def shop() -> FastAPI:
    """A shop whose items are kept in memory; `app.state.orders` notes what was ordered, by idempotency key."""
    app = FastAPI(title="Shop", version="2.1.0")
    app.state.items = {}
    app.state.orders = {}

    @app.post("/items", operation_id="add_item", tags=["items"], status_code=201)
    def add_item(item: Item) -> dict[str, Any]:
        """Add an item to the shop."""
        number = len(app.state.items) + 1
        app.state.items[number] = item
        return {"id": number, **item.model_dump()}

    @app.get("/items/{item_id}", operation_id="get_item", tags=["items"])
    def get_item(item_id: int) -> Item:
        if item_id not in app.state.items:
            raise HTTPException(404, "no such item")
        return app.state.items[item_id]

    @app.get("/items", operation_id="find items", tags=["items"])
    def find_items(
        q: Annotated[str, Query(description="Part of the name.")] = "",
        colors: Annotated[list[str], Query(alias="color[]")] = [],  # noqa: B006 - FastAPI copies it
        x_currency: Annotated[str, Header()] = "EUR",
    ) -> dict[str, Any]:
        names = [item.name for item in app.state.items.values() if q in item.name]
        return {"names": names, "colors": colors, "currency": x_currency}

    @app.post("/orders", operation_id="order", tags=["orders"], dependencies=[Depends(HTTPBearer())])
    def order(
        item_id: Annotated[int, Body()],
        count: Annotated[int, Body(ge=1)],
        idempotency_key: Annotated[str, Header()],
        authorization: Annotated[str, Header()],
    ) -> dict[str, Any]:
        if authorization != f"Bearer {KEY}":
            raise HTTPException(401, f"{authorization} is wrong")
        app.state.orders.setdefault(idempotency_key, (item_id, count))
        return {"orders": len(app.state.orders)}

    @app.delete("/items/{item_id}", operation_id="remove_item", dependencies=[Depends(APIKeyHeader(name="X-Key"))])
    def remove_item(item_id: int, x_key: Annotated[str, Header()]) -> None:
        if x_key != KEY:
            raise HTTPException(403, "wrong key")
        del app.state.items[item_id]

    return app


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The URL of an ASGI application that a thread serves."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run)
    started = threading.Event()
    begin = server.startup

    async def startup(sockets: Any = None) -> None:
        await begin(sockets)
        started.set()

    server.startup = startup
    thread.start()
    try:
        assert started.wait(30)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def served_wsgi(app: Any) -> Iterator[str]:
    """The URL of a WSGI application that a thread serves."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
