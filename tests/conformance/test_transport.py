"""What every transport must do: within one event loop, over a socket, and between processes over Ray."""

import asyncio
import os
import signal
import tempfile
from pathlib import Path

import pytest
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_fixed

from actors.errors import DestinationDied, ToolError
from actors.mailbox import Channel, LocalTransport
from actors.sockets import SocketListener, SocketTransport
from actors.watch import is_unavailable
from graphs.errors import NodeError

_HERE = Path(__file__).parent
_ROOT = _HERE.parent.parent


@pytest.fixture(scope="module")
def ray_cluster():
    import ray

    with pytest.MonkeyPatch.context() as environment, tempfile.TemporaryDirectory(prefix="gr-", dir="/tmp") as home:
        environment.setenv("RAY_AUTH_MODE", "disabled")
        environment.setenv("PYTHONPATH", f"{_ROOT}:{_HERE}")
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            object_store_memory=200_000_000,
            _temp_dir=home,
        )
        yield
        ray.shutdown()


@pytest.fixture
async def desk(monkeypatch):
    monkeypatch.syspath_prepend(_HERE)
    from transport_process import build

    desk = build(b"")
    yield desk
    await desk.close()


@pytest.fixture
async def listener(desk):
    listener = SocketListener(desk.mailbox)
    await listener.open()
    yield listener
    await listener.close()


BETWEEN_PROCESSES = [pytest.param(name, marks=pytest.mark.integration) for name in ("ray", "process")]


@pytest.fixture(params=["local", "socket", *BETWEEN_PROCESSES])
async def transport(request, desk, listener):
    match request.param:
        case "local":
            yield LocalTransport(desk.mailbox)
        case "socket":
            yield SocketTransport(endpoint_of(listener), Nowhere())
        case _:
            import ray

            from actors import remote

            request.getfixturevalue("ray_cluster")
            actor = remote.ray_actor("transport_process:build", b"")
            await remote.start(actor)
            yield remote.RayTransport(actor) if request.param == "ray" else remote.transport(actor)
            ray.kill(actor)


def endpoint_of(listener):
    async def endpoint():
        return listener.name

    return endpoint


class Nowhere:
    """The way to a process that is dead."""

    async def call(self, frame):
        raise DestinationDied("is not there")

    async def replies(self, channel_id, *, known):
        raise DestinationDied("is not there")
        yield b""

    async def close(self):
        pass


@pytest.fixture
async def channel(transport):
    channel = Channel("desk-1", transport)
    yield channel
    await channel.close()


async def log_has(channel, entry):
    """Wait until the other end has logged `entry`; the whole log is returned."""
    async with asyncio.timeout(20):
        while entry not in (log := (await channel.ask(b"show")).split(b",")):
            pass
    return log


async def test_asks_are_answered_one_at_a_time_and_many_at_once(channel):
    assert await channel.ask(b"echo 1") == b"1"

    answers = await asyncio.gather(*(channel.ask(b"echo %d" % number) for number in range(500)))

    assert answers == [b"%d" % number for number in range(500)]


async def test_messages_are_handled_in_the_order_sent(channel):
    for number in range(300):
        channel.tell(b"log %d" % number)
        if number % 50 == 0:
            await asyncio.sleep(0)

    assert await log_has(channel, b"299") == [b"%d" % number for number in range(300)]


async def test_errors_are_typed(channel):
    errors = await asyncio.gather(channel.ask(b"typed"), channel.ask(b"foreign"), return_exceptions=True)

    assert [(type(error), error.message, error.fields) for error in errors] == [
        (ToolError, "no such file; check the path", {"tool": "cat"}),
        (NodeError, "division by zero", {"code": "ZeroDivisionError"}),
    ]


async def test_a_late_reply_comes_after_others(channel):
    long = asyncio.create_task(channel.ask(b"hold long"))
    await log_has(channel, b"held long")

    assert not long.done()

    await channel.ask(b"release")

    assert await long == b"long"


async def test_cancelling_the_caller_cancels_the_handler(channel):
    ask = asyncio.create_task(channel.ask(b"hold it"))
    await log_has(channel, b"held it")
    ask.cancel()

    assert await log_has(channel, b"cancelled it") == [b"held it", b"cancelled it"]


async def test_big_bodies_travel_both_ways(channel):
    body = bytes(range(256)) * 40_000

    answers = await asyncio.gather(*(channel.ask(b"echo " + body) for _ in range(3)))

    assert [answer == body for answer in answers] == [True] * 3


async def test_two_channels_do_not_mix(channel, transport):
    other = Channel("desk-1", transport)
    both = [ask for number in range(50) for ask in (channel.ask(b"echo a%d" % number), other.ask(b"echo b%d" % number))]
    answers = await asyncio.gather(*both)
    await other.close()

    assert answers == [b"%b%d" % (name, number) for number in range(50) for name in (b"a", b"b")]


async def test_a_process_that_closes_fails_what_is_pending_and_what_comes_later(channel):
    pending = asyncio.create_task(channel.ask(b"hold it"))
    await log_has(channel, b"held it")
    errors = await asyncio.gather(pending, channel.ask(b"close"), return_exceptions=True)

    assert [(type(error), error.destination) for error in errors] == [(DestinationDied, "desk-1")] * 2
    with pytest.raises(DestinationDied, match="desk-1 was closed"):
        await channel.ask(b"echo 1")


@pytest.mark.integration
@pytest.mark.parametrize("transport", ["ray", "process"], indirect=True)
async def test_a_killed_process_fails_what_is_pending_and_what_comes_later(channel):
    pending = [asyncio.create_task(channel.ask(b"hold %d" % number)) for number in range(5)]
    await log_has(channel, b"held 4")
    pending.append(asyncio.create_task(channel.ask(b"die")))
    errors = await asyncio.gather(*pending, return_exceptions=True)

    assert [(type(error), error.destination) for error in errors] == [(DestinationDied, "desk-1")] * 6
    with pytest.raises(DestinationDied, match="desk-1 died"):
        await channel.ask(b"echo 1")


@pytest.mark.integration
@pytest.mark.parametrize("transport", ["ray", "process"], indirect=True)
async def test_a_channel_that_is_idle_learns_that_its_process_was_killed(channel):
    pending = asyncio.create_task(channel.ask(b"hold it"))
    await log_has(channel, b"held it")
    channel.tell(b"die")

    with pytest.raises(DestinationDied, match="desk-1 died"):
        await pending


@pytest.mark.integration
async def test_a_process_that_cannot_start_says_why(ray_cluster):
    from actors.remote import RayTransport, ray_actor, start

    actor = ray_actor("transport_process:build", b"no settings; give some")

    with pytest.raises(ToolError, match="no settings; give some"):
        await start(actor)

    channel = Channel("desk-1", RayTransport(actor))
    with pytest.raises(DestinationDied, match="desk-1 could not start: no settings; give some"):
        await channel.ask(b"echo 1")


@pytest.mark.integration
async def test_a_process_that_ray_started_anew_is_not_taken_for_the_old_one(ray_cluster):
    import ray

    from actors.remote import RayTransport, ray_actor, start

    actor = ray_actor("transport_process:build", b"", max_restarts=1)
    await start(actor)
    channel = Channel("desk-1", RayTransport(actor))
    pending = asyncio.create_task(channel.ask(b"hold it"))
    await log_has(channel, b"held it")
    ray.kill(actor, no_restart=False)

    with pytest.raises(DestinationDied):
        await pending

    again = Channel("desk-1", RayTransport(actor))
    assert await again.ask(b"echo 1") == b"1"

    await again.close()
    ray.kill(actor)


@pytest.mark.integration
async def test_a_suspended_process_is_ended_by_its_node_and_started_anew(ray_cluster):
    import ray

    from actors import machine
    from actors.remote import ray_actor, restart, whereabouts

    actor = ray_actor("transport_process:build", b"", max_restarts=1)
    _, old = await whereabouts(actor)
    os.kill(old, signal.SIGSTOP)
    pending = asyncio.create_task(whereabouts(actor))
    await asyncio.to_thread(restart, actor)

    with pytest.raises(DestinationDied) as failure:
        await pending

    assert is_unavailable(failure.value), "it comes back"
    assert machine.born(old) == "", "the suspended one does not"
    async for attempt in AsyncRetrying(
        retry=retry_if_exception(is_unavailable), stop=stop_after_delay(30), wait=wait_fixed(0.05), reraise=True
    ):
        with attempt:
            assert (await whereabouts(actor))[1] != old

    ray.kill(actor)


@pytest.mark.integration
async def test_an_actor_tells_where_it_is_before_it_has_started(ray_cluster):
    import ray

    from actors.remote import ray_actor, whereabouts

    actor = ray_actor("transport_process:build", b"")
    node_id, process_id = await whereabouts(actor)

    assert node_id == ray.get_runtime_context().get_node_id()
    assert process_id != os.getpid()

    ray.kill(actor)


@pytest.mark.integration
async def test_an_event_loop_that_is_held_up_is_absent_though_its_process_is_there(ray_cluster):
    import ray

    from actors.remote import RayTransport, presence, ray_actor, start, whereabouts

    actor = ray_actor("transport_process:build", b"")
    await start(actor)
    channel = Channel("desk-1", RayTransport(actor))
    await channel.ask(b"echo 1")
    blocked = asyncio.create_task(channel.ask(b"block 3"))
    absent = None
    while absent is None or absent.done():
        await asyncio.wait([absent := asyncio.create_task(presence(actor))], timeout=0.5)

    there = await whereabouts(actor)
    assert not absent.done()
    assert await absent == there
    assert await blocked == b"3"

    await channel.close()
    ray.kill(actor)


async def test_what_was_under_way_when_a_connection_was_lost_goes_the_other_way(desk, listener):
    channel = Channel("desk-1", SocketTransport(endpoint_of(listener), LocalTransport(desk.mailbox)))
    held = asyncio.create_task(channel.ask(b"hold it"))
    await log_has(channel, b"held it")
    await listener.close()
    answers = await asyncio.gather(*(channel.ask(b"echo %d" % number) for number in range(50)), channel.ask(b"release"))

    assert answers == [*(b"%d" % number for number in range(50)), b""]
    assert await held == b"it"
    assert await channel.ask(b"show") == b"held it"

    await channel.close()


async def test_a_socket_that_is_not_there_is_done_without(desk):
    channel = Channel(
        "desk-1", SocketTransport(endpoint_of(SocketListener(desk.mailbox)), LocalTransport(desk.mailbox))
    )

    assert await channel.ask(b"echo 1") == b"1"

    await channel.close()


async def test_a_process_of_another_user_is_refused(desk, listener, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 12_345)
    channel = Channel("desk-1", SocketTransport(endpoint_of(listener), Nowhere()))

    with pytest.raises(DestinationDied, match="is not there"):
        await channel.ask(b"log refused")

    assert desk.log == []

    await channel.close()


@pytest.mark.integration
async def test_a_process_of_this_machine_is_reached_without_ray(ray_cluster):
    import ray

    from actors.remote import ray_actor, start

    actor = ray_actor("transport_process:build", b"")
    await start(actor)

    async def endpoint():
        return await actor.endpoint.remote()

    channel = Channel("desk-1", SocketTransport(endpoint, Nowhere()))

    assert await channel.ask(b"echo 1") == b"1"

    await channel.close()
    ray.kill(actor)
