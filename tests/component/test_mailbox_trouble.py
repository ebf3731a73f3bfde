"""Channels when things go wrong: handlers that raise, ends that die, ways that lose, streams that break."""

import asyncio
import logging

import pytest

from actors.errors import DestinationDied, ToolError
from actors.mailbox import Channel, LocalTransport, Mailbox
from graphs.errors import Cancelled, NodeError
from tests.component.mailbox_kit import Desk, Wire, connected, until


async def test_errors_of_the_handler_reach_the_caller_typed(caplog):
    class Failing:
        async def handle(self, body):
            match body:
                case b"typed":
                    raise ToolError("no such file; check the path", tool="cat")
                case b"foreign":
                    raise ZeroDivisionError("division by zero")
                case b"cancelled":
                    raise asyncio.CancelledError
                case b"unsendable":
                    raise ToolError("broken", tool=object())
                case b"number":
                    return 7
                case _:
                    return None

    async with connected(Failing()) as (channel, _, mailbox):
        bodies = (b"typed", b"foreign", b"cancelled", b"unsendable", b"number")
        errors = await asyncio.gather(*map(channel.ask, bodies), return_exceptions=True)

        assert [(type(error), error.message, error.fields) for error in errors] == [
            (ToolError, "no such file; check the path", {"tool": "cat"}),
            (NodeError, "division by zero", {"code": "ZeroDivisionError"}),
            (Cancelled, "the message's handler was cancelled", {}),
            (ToolError, "broken", {}),
            (NodeError, "a handler returned int; return bytes or None", {"code": "TypeError"}),
        ]
        assert [record.getMessage() for record in caplog.records if record.name == "actors.mailbox"] == [
            "a message's handler failed: division by zero",
            "the fields of ToolError cannot be sent; they must be JSON-able",
            "a message's handler failed: a handler returned int; return bytes or None",
        ]
        assert await channel.ask(b"nothing") == b""

        caplog.clear()
        channel.tell(b"typed")
        await until(lambda: mailbox.failed_tells_count)

        assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
            (logging.ERROR, "a message that wants no reply failed: no such file; check the path")
        ]


async def test_a_dead_destination_fails_everything_that_is_pending_and_all_that_comes_later(caplog):
    desk = Desk()
    async with connected(desk) as (channel, wire, _):
        pending = [asyncio.create_task(channel.ask(b"hold%d" % number)) for number in range(3)]
        await desk.arrived(3)
        await until(lambda: not channel._calls)
        wire.kill()
        pending.append(asyncio.create_task(channel.ask(b"while dying")))
        errors = await asyncio.gather(*pending, return_exceptions=True)

        assert [(type(error), error.destination) for error in errors] == [(DestinationDied, "desk-1")] * 4
        assert str(errors[0]) == "desk-1 died (killed); look up where it lives now, and ask again"

        carried = len(wire.frames)
        with pytest.raises(DestinationDied):
            await channel.ask(b"later")
        channel.tell(b"later")

        assert channel.lost_tells_count == 1
        assert "1 messages to desk-1 are lost: it died (killed)" in caplog.text
        assert len(wire.frames) == carried


async def test_a_transport_that_breaks_in_an_unknown_way_fails_what_is_pending(caplog):
    class Broken(Wire):
        async def call(self, frame):
            raise ValueError("no idea")

    mailbox = Mailbox(Desk())
    channel = Channel("desk-1", Broken(mailbox))

    with pytest.raises(DestinationDied, match=r"desk-1 cannot be talked to \(ValueError: no idea\)"):
        await channel.ask(b"a")

    assert "the channel to desk-1 failed" in caplog.text

    await mailbox.close()


async def test_closing_the_mailbox_answers_everything():
    desk = Desk()
    async with connected(desk) as (channel, _, mailbox):
        pending = [asyncio.create_task(channel.ask(b"hold%d" % number)) for number in range(3)]
        await desk.arrived(3)
        await mailbox.close()
        errors = await asyncio.gather(*pending, return_exceptions=True)

        assert [str(error) for error in errors] == ["desk-1 was closed; look up where it lives now, and ask again"] * 3
        assert {type(error) for error in errors} == {DestinationDied}
        assert sorted(desk.cancelled) == [b"hold0", b"hold1", b"hold2"]


async def test_a_handler_may_close_its_own_mailbox():
    class Leaving:
        async def handle(self, body):
            await mailbox.close()

    mailbox = Mailbox(Leaving())
    channel = Channel("desk-1", LocalTransport(mailbox))

    with pytest.raises(DestinationDied):
        await channel.ask(b"leave")

    await channel.close()


async def test_closing_the_channel_sends_what_waits_and_cancels_what_is_pending():
    desk = Desk()
    async with connected(desk) as (channel, _, mailbox):
        pending = asyncio.create_task(channel.ask(b"hold"))
        await desk.arrived(1)
        channel.tell(b"last words")
        await channel.close()

        assert desk.started == [b"hold", b"last words"]
        assert desk.cancelled == [b"hold"]
        assert mailbox._boxes == {}
        with pytest.raises(DestinationDied, match="the channel was closed"):
            await pending
        with pytest.raises(DestinationDied, match="the channel was closed"):
            await channel.ask(b"later")


async def test_a_closed_channel_stops_listening_even_if_its_streams_never_wait():
    desk = Desk()
    mailbox = Mailbox(desk)
    channel = Channel("desk-1", LocalTransport(mailbox))
    ask = asyncio.create_task(channel.ask(b"hold"))
    await desk.arrived(1)
    await mailbox.close()
    await asyncio.wait([ask])
    await channel.close()

    assert channel._listener.done()
    assert isinstance(ask.exception(), DestinationDied)


async def test_closing_a_channel_nobody_used_sends_nothing():
    async with connected(Desk()) as (channel, wire, _):
        await channel.close()

        assert (wire.frames, wire.streams) == ([], 0)


@pytest.mark.parametrize("lost", ["lose_requests", "lose_responses"])
async def test_a_frame_that_may_be_lost_is_sent_again_and_handled_once(lost):
    desk = Desk()
    async with connected(desk) as (channel, wire, _):
        await channel.ask(b"first")
        setattr(wire, lost, 2)
        answers = await asyncio.gather(*(channel.ask(b"%d" % number) for number in range(5)))

        assert answers == [b"%d" % number for number in range(5)]
        assert desk.started == [b"first", *answers]
        await until(lambda: not channel._calls)
        assert [frame.seq for frame in wire.frames] == [0, 1, 1, 1]


async def test_a_destination_out_of_reach_for_long_counts_as_dead():
    async with connected(Desk()) as (channel, wire, _):
        wire.lose_requests = 1000

        with pytest.raises(DestinationDied, match=r"desk-1 died \(lost on the way there\)"):
            await channel.ask(b"a")


async def test_a_broken_stream_is_opened_again_and_nothing_is_lost_or_answered_twice():
    desk = Desk()
    async with connected(desk) as (channel, wire, _), asyncio.TaskGroup() as tasks:
        asks = [tasks.create_task(channel.ask(b"hold%d" % number)) for number in range(6)]
        await desk.arrived(6)
        await until(lambda: not channel._calls)
        for number in range(6):
            wire.cut.set()
            desk.release(b"hold%d" % number)
            await until(lambda number=number: wire.streams > number + 1)

        assert [await ask for ask in asks] == [b"HOLD%d" % number for number in range(6)]
        assert desk.started == [b"hold%d" % number for number in range(6)]


async def test_a_stream_that_ends_is_opened_again():
    desk = Desk()
    async with connected(desk, stream_s=0.01, stream_count=3) as (channel, wire, _), asyncio.TaskGroup() as tasks:
        asks = [tasks.create_task(channel.ask(b"hold%d" % number)) for number in range(10)]
        await desk.arrived(10)
        await until(lambda: not channel._calls)
        for number, ask in enumerate(asks):
            desk.release(b"hold%d" % number)

            assert await ask == b"HOLD%d" % number

        streams = wire.streams

        assert streams >= 4

        await until(lambda: wire.streams >= streams + 3)

        assert await channel.ask(b"still here") == b"STILL HERE"


async def test_the_channel_of_a_dead_sender_is_dropped_and_its_asks_are_cancelled():
    desk = Desk()
    async with connected(desk, stream_s=0.01) as (channel, _, mailbox):
        ask = asyncio.create_task(channel.ask(b"hold"))
        await desk.arrived(1)
        channel._listener.cancel()
        await until(lambda: desk.cancelled)

        assert mailbox._boxes == {}

        ask.cancel()
        await asyncio.gather(ask, return_exceptions=True)


async def test_a_destination_that_was_started_anew_is_not_taken_for_the_old_one():
    desk = Desk()
    async with connected(desk) as (channel, wire, _):
        ask = asyncio.create_task(channel.ask(b"hold"))
        await desk.arrived(1)
        await until(lambda: not channel._calls)
        wire._mailbox = anew = Mailbox(Desk())
        wire.cut.set()

        with pytest.raises(DestinationDied, match="it was started anew"):
            await ask

        await anew.close()


async def test_big_bodies_travel_both_ways():
    class Echo:
        async def handle(self, body):
            return body

    async with connected(Echo()) as (channel, wire, _):
        bodies = [bytes([number]) * 10_000_000 for number in range(3)]
        answers = await asyncio.gather(*map(channel.ask, bodies))

        assert answers == bodies
        assert [count for count in wire.counts if count] == [1, 1, 1]


async def test_replies_are_forgotten_by_the_mailbox_once_they_are_acknowledged():
    class Echo:
        async def handle(self, body):
            return body

    async with connected(Echo()) as (channel, wire, mailbox):
        await channel.ask(b"x" * 2_000_000)
        await until(lambda: len(wire.frames) == 2 and not channel._calls)

        [box] = mailbox._boxes.values()

        assert wire.counts == [1, 0]
        assert box.inbox._kept == {}
