"""What every transport must do: within one event loop, and between processes over Ray."""

import asyncio
import tempfile
from pathlib import Path

import pytest

from actors.errors import DestinationDied, ToolError
from actors.mailbox import Channel, LocalTransport
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


@pytest.fixture(params=["local", pytest.param("ray", marks=pytest.mark.integration)])
async def transport(request, monkeypatch):
    if request.param == "local":
        monkeypatch.syspath_prepend(_HERE)
        from transport_process import build

        desk = build(b"")
        yield LocalTransport(desk.mailbox)
        await desk.close()
    else:
        import ray

        from actors.remote import RayTransport, ray_actor, start

        request.getfixturevalue("ray_cluster")
        actor = ray_actor("transport_process:build", b"")
        await start(actor)
        yield RayTransport(actor)
        ray.kill(actor)


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
@pytest.mark.parametrize("transport", ["ray"], indirect=True)
async def test_a_killed_process_fails_what_is_pending_and_what_comes_later(channel):
    pending = [asyncio.create_task(channel.ask(b"hold %d" % number)) for number in range(5)]
    await log_has(channel, b"held 4")
    pending.append(asyncio.create_task(channel.ask(b"die")))
    errors = await asyncio.gather(*pending, return_exceptions=True)

    assert [(type(error), error.destination) for error in errors] == [(DestinationDied, "desk-1")] * 6
    with pytest.raises(DestinationDied, match="desk-1 died"):
        await channel.ask(b"echo 1")


@pytest.mark.integration
@pytest.mark.parametrize("transport", ["ray"], indirect=True)
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
async def test_an_actor_tells_where_it_is_before_it_has_started(ray_cluster):
    import os

    import ray

    from actors.remote import ray_actor, whereabouts

    actor = ray_actor("transport_process:build", b"")
    node_id, process_id = await whereabouts(actor)

    assert node_id == ray.get_runtime_context().get_node_id()
    assert process_id != os.getpid()

    ray.kill(actor)
