"""What a process remembers: each once, not too much, and not for long; and who knows which state of a thread."""

from __future__ import annotations

import asyncio

from actors.course import Course
from actors.remembered import Remembered
from graphs.state.schema import StateSchema

SCHEMA = StateSchema.from_spec(
    {"channels": {"text": "string", "notes": {"type": {"list": "string"}, "reducer": "append"}}}
)


async def test_what_is_taken_is_not_remembered_any_more():
    remembered: Remembered[str] = Remembered()
    remembered.keep("a", "first", 10)
    remembered.keep("a", "second", 10)

    assert [remembered.take("a"), remembered.take("a"), remembered.take("b")] == ["second", None, None]

    await remembered.close()


async def test_the_least_recently_kept_goes_when_there_is_too_much():
    remembered: Remembered[int] = Remembered(limit_bytes=100)
    for number in range(4):
        remembered.keep(str(number % 3), number, 40)

    assert [remembered.take(key) for key in "012"] == [3, None, 2]

    remembered.keep("large", 4, 101)
    assert (remembered.take("large"), len(remembered)) == (None, 0)

    await remembered.close()


async def test_what_nobody_has_used_for_a_while_goes_by_itself():
    remembered: Remembered[int] = Remembered(idle_s=0.0)
    remembered.keep("a", 1, 10)
    async with asyncio.timeout(5):
        while len(remembered):  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0)

    remembered.keep("b", 2, 10)
    assert remembered.take("b") == 2

    await remembered.close()


def delta(**write: object) -> bytes:
    return SCHEMA.encode_delta(write)


class TestCourse:
    def test_a_driver_that_knows_the_state_before_the_turn_needs_its_input_and_what_it_wrote(self):
        course = Course()
        course.begin(4, (delta(text="in"),))
        course.wrote([{"notes": ["a"]}], (delta(notes=["a"]),))
        course.wrote([{"notes": ["b"]}, {"text": "x"}], (delta(notes=["b"]), delta(text="x")))

        assert course.since(4, SCHEMA) == (delta(text="in"), delta(notes=["a", "b"], text="x"))
        assert course.since(3, SCHEMA) is None

    def test_a_state_that_has_come_from_somewhere_else_is_told_whole(self):
        course = Course()
        course.begin(4, ())
        course.executor_at("function", "executor-1/7")
        course.replaced([{"text": "x"}])

        assert (course.since(4, SCHEMA), course.held("function"), course.written) == (None, None, [{"text": "x"}])

    def test_an_executor_needs_what_others_have_written_since(self):
        course = Course()
        course.begin(4, ())
        course.wrote([{"text": "a"}], (delta(text="a"),))
        course.executor_at("llm", "llm-1.1/3")
        course.wrote([{"text": "b"}], (delta(text="b"),))
        course.executor_at("tool", "tool-1.1/5")
        course.wrote([{"text": "c"}], (delta(text="c"),))
        llm, tool = course.held("llm"), course.held("tool")

        assert llm is not None
        assert tool is not None
        assert (llm.address, llm.state_id, llm.deltas) == ("llm-1.1", "llm-1.1/3", [delta(text="b"), delta(text="c")])
        assert (tool.address, tool.deltas) == ("tool-1.1", [delta(text="c")])

        course.executor_at("llm", "")
        assert course.held("llm") is None

    def test_an_executor_far_behind_is_sent_the_whole_state(self):
        course = Course()
        course.executor_at("llm", "llm-1.1/3")
        for _ in range(65):
            course.wrote([{"text": "b"}], (delta(text="b"),))

        assert course.held("llm") is None
