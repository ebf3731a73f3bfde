"""Channels and mailboxes in one event loop, over transports that fail where the test says."""

import asyncio

import pytest

from actors.errors import Overloaded
from actors.frames import decode_frame
from actors.mailbox import Channel, Mailbox
from tests.component.mailbox_kit import Desk, Wire, connected, until


async def test_a_lone_message_goes_in_one_call_and_its_reply_comes_back_in_it():
    async with connected(Desk()) as (channel, wire, _):
        answers = [await channel.ask(body) for body in (b"a", b"b", b"c")]

        assert answers == [b"A", b"B", b"C"]
        assert wire.counts == [1, 1, 1]


async def test_messages_of_one_turn_of_the_loop_go_in_one_call():
    desk = Desk()
    async with connected(desk) as (channel, wire, _):

        async def tell():
            channel.tell(b"t")

        asks = [channel.ask(b"%d" % number) for number in range(10)]
        answers = await asyncio.gather(tell(), *asks)

        assert answers == [None, *(b"%d" % number for number in range(10))]
        assert desk.started == [b"t", *answers[1:]]
        assert wire.counts == [11]


async def test_messages_that_come_while_calls_are_under_way_go_together_in_the_next():
    async with connected(Desk()) as (channel, wire, _), asyncio.TaskGroup() as tasks:
        wire.gate.clear()
        for carried in (1, 2):
            tasks.create_task(channel.ask(b"first"))
            await until(lambda carried=carried: len(wire.frames) == carried)
        for _ in range(20):
            tasks.create_task(channel.ask(b"later"))
            await asyncio.sleep(0)

        assert wire.counts == [1, 1]

        wire.gate.set()
        await until(lambda: len(wire.frames) == 3)

        assert wire.counts == [1, 1, 20]


async def test_many_messages_are_shared_out_among_the_calls():
    async with connected(Desk()) as (channel, wire, _):
        answers = await asyncio.gather(*(channel.ask(b"%d" % number) for number in range(100)))

        assert answers == [b"%d" % number for number in range(100)]
        assert wire.counts == [50, 50]


async def test_handlers_start_in_the_order_sent_even_if_calls_overtake_each_other():
    desk = Desk()

    class Slow(Wire):
        async def call(self, frame):
            if decode_frame(frame).seq == 0:
                await until(lambda: self.frames)
            return await super().call(frame)

    mailbox = Mailbox(desk)
    wire = Slow(mailbox)
    channel = Channel("desk-1", wire)
    numbers = [b"%d" % number for number in range(100)]
    await asyncio.gather(*(channel.ask(number) for number in numbers))
    await channel.close()

    assert [frame.seq for frame in wire.frames][:2] == [1, 0]
    assert desk.started == numbers


async def test_a_long_ask_holds_up_nothing_and_leaves_later_messages_their_own_call():
    desk = Desk()
    async with connected(desk) as (channel, wire, _), asyncio.TaskGroup() as tasks:
        long = tasks.create_task(channel.ask(b"hold"))
        await desk.arrived(1)
        others = [await channel.ask(b"%d" % number) for number in range(5)]

        assert others == [b"%d" % number for number in range(5)]
        assert wire.counts == [1] * 6
        assert not long.done()

        desk.release(b"hold")

        assert await long == b"HOLD"
        assert wire.streams == 1


async def test_late_replies_come_on_one_stream():
    desk = Desk()
    async with connected(desk) as (channel, wire, _), asyncio.TaskGroup() as tasks:
        asks = [tasks.create_task(channel.ask(b"hold%d" % number)) for number in range(20)]
        await desk.arrived(20)
        await until(lambda: not channel._calls)
        for number in reversed(range(20)):
            desk.release(b"hold%d" % number)

        assert [await ask for ask in asks] == [b"HOLD%d" % number for number in range(20)]
        assert (wire.counts, wire.streams) == ([20], 1)


async def test_a_full_channel_refuses_and_takes_messages_again_when_there_is_room():
    desk = Desk()
    async with connected(desk, capacity=3) as (channel, _, _), asyncio.TaskGroup() as tasks:
        asks = [tasks.create_task(channel.ask(b"hold%d" % number)) for number in range(3)]
        await desk.arrived(3)

        with pytest.raises(Overloaded) as refused:
            await channel.ask(b"one too many")

        assert refused.value.info().fields == {"destination": "desk-1", "retry_after_s": 0.1}

        desk.release(b"hold0")
        await asks[0]

        assert await channel.ask(b"now") == b"NOW"

        for number in range(3):
            desk.release(b"hold%d" % number)


async def test_tells_that_are_not_sent_are_bounded():
    async with connected(Desk(), capacity=3) as (channel, _, _):
        for _ in range(3):
            channel.tell(b"t")
        with pytest.raises(Overloaded, match=r"3 messages to desk-1 are pending; try again in 0\.1 s"):
            channel.tell(b"one too many")


async def test_a_full_mailbox_refuses_asks_and_counts_lost_tells():
    desk = Desk()
    async with connected(desk, capacity=100) as (channel, _, mailbox), asyncio.TaskGroup() as tasks:
        mailbox._capacity = 2
        asks = [tasks.create_task(channel.ask(b"hold%d" % number)) for number in range(2)]
        await desk.arrived(2)
        channel.tell(b"lost")

        with pytest.raises(Overloaded) as refused:
            await channel.ask(b"one too many")

        assert refused.value.info().fields == {"destination": "desk-1", "retry_after_s": 0.1}
        assert mailbox.failed_tells_count == 1
        assert desk.started == [b"hold0", b"hold1"]

        for number in range(2):
            desk.release(b"hold%d" % number)
        await asyncio.gather(*asks)


async def test_cancelling_the_caller_cancels_the_handler():
    desk = Desk()
    async with connected(desk) as (channel, _, _):
        ask = asyncio.create_task(channel.ask(b"hold"))
        await desk.arrived(1)
        ask.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ask
        await until(lambda: desk.cancelled)

        assert desk.cancelled == [b"hold"]
        assert await channel.ask(b"next") == b"NEXT"


async def test_a_message_whose_caller_was_cancelled_before_it_was_sent_is_not_sent():
    desk = Desk()
    async with connected(desk) as (channel, wire, _), asyncio.TaskGroup() as tasks:
        wire.gate.clear()
        for carried in (1, 2):
            tasks.create_task(channel.ask(b"first"))
            await until(lambda carried=carried: len(wire.frames) == carried)
        ask = tasks.create_task(channel.ask(b"never"))
        await until(lambda: len(channel._pending) == 3)
        ask.cancel()
        await asyncio.wait([ask])
        wire.gate.set()

        assert await channel.ask(b"next") == b"NEXT"
        assert desk.started == [b"first", b"first", b"next"]


async def test_a_timeout_cancels_the_handler():
    desk = Desk()
    async with connected(desk) as (channel, _, _):
        with pytest.raises(TimeoutError):
            await channel.ask(b"hold", timeout_s=0.02)
        await until(lambda: desk.cancelled)

        assert desk.cancelled == [b"hold"]
