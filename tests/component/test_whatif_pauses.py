"""What-if branches of threads that are paused, of branches of forks and of failures."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel

from graphs.journal import EntryKind, Pause, PauseKind
from runtime import END, START, Graph, append
from tests.component.actors_kit import COMPLETED, failed_step, history, runtime, step

BRANCHED = (EntryKind.BRANCHED, None, "running")


class Letter(BaseModel):
    text: str = ""
    ok: bool = False
    notes: Annotated[list[str], append] = []


def note(text: str) -> Any:
    return lambda state: {"notes": [text]}


def letter() -> Graph:
    """Asks whether to send the text, and sends it, which fails without a text; else it is kept."""
    g = Graph("letter", state=Letter)
    g.human("ask", question="Send {text}?", into="ok")

    @g.node
    def send(state: Letter) -> dict[str, Any]:
        if not state.text:
            raise ValueError("empty")
        return {"notes": [f"sent {state.text}"]}

    g.node(note("kept"), name="keep")
    g.node(note("mended"), name="mend")
    g.edge(START, "ask")
    g.edge("ask", "send", when="state.ok")
    g.edge("ask", "keep", default=True)
    g.edge("send", END)
    g.edge("send", "mend", on_error=True)
    for last in ("keep", "mend"):
        g.edge(last, END)
    return g


async def test_a_branch_of_a_paused_thread_asks_what_its_own_state_says() -> None:
    async with runtime() as rt:
        await rt.deploy(letter())
        paused = await (await rt.session("letter")).run({"text": "a"})
        thread = await rt.thread(paused.thread_id)

        same, other = await thread.branch(), await thread.branch(update={"text": "b"})
        pauses = [(await alt.result(timeout_s=10)).pause for alt in (same, other)]
        await other.answer(True)
        sent = await other.result(timeout_s=10)
        await same.answer(False)
        kept = await same.result(timeout_s=10)

        assert paused.pause == Pause(kind=PauseKind.HUMAN, node="ask", question="Send a?")
        assert pauses == [paused.pause, Pause(kind=PauseKind.HUMAN, node="ask", question="Send b?")]
        assert (sent.state["notes"], kept.state["notes"]) == (["sent b"], ["kept"])
        assert await thread.status() == "paused"
        await thread.cancel()


async def test_an_answer_is_taken_back_in_a_branch() -> None:
    async with runtime() as rt:
        await rt.deploy(letter())
        paused = await (await rt.session("letter")).run({"text": "a"})
        thread = await rt.thread(paused.thread_id)
        await thread.answer(True)
        assert (await thread.result(timeout_s=10)).state["notes"] == ["sent a"]

        alt = await thread.branch(at=3, update={"ok": False})

        assert (await alt.result(timeout_s=10)).state["notes"] == ["kept"]
        assert await history(rt, alt.id) == [BRANCHED, step("keep"), COMPLETED]


async def test_a_branch_goes_on_behind_a_failure() -> None:
    async with runtime() as rt:
        await rt.deploy(letter())
        paused = await (await rt.session("letter")).run({})
        thread = await rt.thread(paused.thread_id)
        await thread.answer(True)
        await thread.result(timeout_s=10)
        assert (await history(rt, thread.id))[3:] == [failed_step("send"), step("mend"), COMPLETED]

        alt = await thread.branch(at=4, update={"notes": ["tried"]})

        assert (await alt.result(timeout_s=10)).state["notes"] == ["tried", "mended"]
        assert await history(rt, alt.id) == [BRANCHED, step("mend"), COMPLETED]


async def test_a_branch_of_a_branch_of_a_fork_begins_where_that_one_did() -> None:
    """Also where both end at the end of the graph, and the fork is its first node."""
    g = Graph("g", state=Letter)
    g.node(note("left"), name="left")
    g.node(note("right"), name="right")
    for node in ("left", "right"):
        g.edge(START, node)
        g.edge(node, END)

    async with runtime() as rt:
        await rt.deploy(g)
        result = await (await rt.session("g")).run({})
        assert result.state["notes"] == ["left", "right"]

        alt = await (await rt.thread(f"{result.thread_id}.1.1")).branch(at=1, update={"notes": ["before"]})

        assert (await alt.result(timeout_s=10)).state["notes"] == ["before", "right"]
        assert await history(rt, alt.id) == [BRANCHED, step("right"), COMPLETED]
