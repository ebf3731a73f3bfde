"""Following a journal as it grows: the same in Redis and in memory."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from actors.ports import NodeRunning, Store, TokenChunk
from tests.conformance.test_store import MAIN, append, entry, new_thread, seqs, take


class TestFollow:
    async def test_old_entries_then_new_ones_once_and_in_order(self, store: Store):
        await new_thread(store)
        await append(store, 1, 2, 3)

        async with aclosing(store.journal.follow(MAIN, after=1)) as watched:
            assert seqs(await take(watched, 2)) == [2, 3]
            await append(store, 4)
            await append(store, 5, 6)
            assert await take(watched, 3) == [entry(4), entry(5), entry(6)]

    async def test_one_that_waits_is_woken(self, store: Store):
        await new_thread(store)
        async with aclosing(store.journal.follow(MAIN)) as watched:
            waiting = asyncio.create_task(take(watched, 2))
            for seq in (1, 2):
                await asyncio.sleep(0)
                await append(store, seq)

            assert seqs(await waiting) == [1, 2]

    async def test_a_thread_may_be_created_later(self, store: Store):
        async with aclosing(store.journal.follow(MAIN)) as watched:
            waiting = asyncio.create_task(take(watched, 1))
            await new_thread(store)
            await append(store, 1)

            assert seqs(await waiting) == [1]

    async def test_live_events_of_the_running_step_and_none_older(self, store: Store):
        await new_thread(store)
        running = [NodeRunning(seq=seq, node="n", at=1.0, by="e") for seq in (1, 2)]
        tokens = [TokenChunk(seq=2, node="n", at=1.0 + i, text=f"t{i}") for i in range(3)]
        await store.live.publish(MAIN, running[:1])
        await append(store, 1)
        await store.live.publish(MAIN, [running[1], tokens[0]])

        async with aclosing(store.journal.follow(MAIN)) as watched:
            assert await take(watched, 3) == [entry(1), running[1], tokens[0]]
            await store.live.publish(MAIN, tokens[1:])
            assert await take(watched, 2) == tokens[1:]
            await append(store, 2)
            assert await take(watched, 1) == [entry(2)]
            await store.live.publish(MAIN, tokens)
            await append(store, 3)
            assert await take(watched, 1) == [entry(3)]

    async def test_live_events_are_bounded_and_may_be_none(self, store: Store):
        await store.live.publish(MAIN, [])
        for n in range(1500):
            await store.live.publish(MAIN, [TokenChunk(seq=1, node="n", at=float(n), text="x")])

        async with aclosing(store.journal.follow(MAIN)) as watched:
            first = (await take(watched, 1))[0]

        assert 0 < first.at <= 500

    async def test_two_watchers_from_different_places(self, store: Store):
        await new_thread(store)
        await append(store, 1, 2, 3)

        async with aclosing(store.journal.follow(MAIN)) as one, aclosing(store.journal.follow(MAIN, after=2)) as two:
            assert seqs(await take(two, 1)) == [3]
            await append(store, 4)
            assert seqs(await take(one, 4)) == [1, 2, 3, 4]
            assert seqs(await take(two, 1)) == [4]
            await append(store, 5)
            assert [seqs(await take(each, 1)) for each in (one, two)] == [[5], [5]]

    async def test_a_slow_watcher_loses_nothing_and_holds_nobody_up(self, store: Store):
        await new_thread(store)
        async with aclosing(store.journal.follow(MAIN)) as slow, aclosing(store.journal.follow(MAIN)) as quick:
            waiting = asyncio.create_task(take(slow, 1))
            for start in range(1, 2001, 100):
                await append(store, *range(start, start + 100))
                assert seqs(await take(quick, 100)) == list(range(start, start + 100))

            assert seqs(await waiting + await take(slow, 1999)) == list(range(1, 2001))

    async def test_300_watchers_of_100_threads(self, store: Store):
        ids = [f"s{n}:0" for n in range(100)]
        for thread_id in ids:
            await new_thread(store, thread_id)
        watching = [asyncio.create_task(self.first(store, thread_id, 3)) for thread_id in ids * 3]
        for seq in (1, 2, 3):
            await asyncio.gather(*(append(store, seq, thread_id=thread_id) for thread_id in ids))

        assert [seqs(items) for items in await asyncio.gather(*watching)] == [[1, 2, 3]] * 300

    async def first(self, store: Store, thread_id: str, count: int) -> list:
        async with aclosing(store.journal.follow(thread_id)) as watched:
            return await take(watched, count)

    async def test_a_cancelled_watcher_leaves_the_others_alone(self, store: Store):
        await new_thread(store)
        async with aclosing(store.journal.follow(MAIN)) as stays:
            leaves = asyncio.create_task(self.first(store, MAIN, 1))
            waiting = asyncio.create_task(take(stays, 2))
            await append(store, 1)
            await leaves
            gone = asyncio.create_task(self.first(store, MAIN, 9))
            await asyncio.sleep(0)
            gone.cancel()
            await asyncio.wait([gone])
            await append(store, 2)

            assert seqs(await waiting) == [1, 2]
