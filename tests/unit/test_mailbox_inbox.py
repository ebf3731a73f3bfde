"""Which frames the receiving end takes, and which replies it keeps."""

import pytest

from actors.errors import Overloaded
from actors.frames import Frame, Inbox, Replies, Reply, decode_replies, encode


def frame(seq, received=()):
    return Frame("c", seq, False, list(received), [])


def ids(replies):
    return [reply.id for reply in replies]


def test_frames_are_taken_in_order_however_they_come():
    inbox = Inbox()

    assert inbox.accept(frame(1)) == []
    assert inbox.accept(frame(2)) == []
    assert inbox.accept(frame(0)) == [frame(0), frame(1), frame(2)]
    assert inbox.accept(frame(3)) == [frame(3)]


@pytest.mark.parametrize("again", [0, 2])
def test_a_frame_is_taken_once(again):
    inbox = Inbox()
    inbox.accept(frame(0))
    inbox.accept(frame(2))

    assert inbox.accept(frame(again)) is None


def test_replies_are_kept_until_a_frame_says_they_were_received():
    inbox = Inbox()
    inbox.keep([Reply(1, b""), Reply(2, b"")])
    inbox.queue(Reply(3, b""))

    assert ids(inbox.take()) == [3]
    assert inbox.take() == []

    inbox.accept(frame(0, received=[2]))
    inbox.replay()

    assert ids(inbox.take()) == [1, 3]


def test_a_batch_is_cut_at_its_size_and_a_larger_reply_goes_alone():
    inbox = Inbox()
    for number, body in enumerate((b"12345", b"12345", b"x" * 50, b"1")):
        inbox.queue(Reply(number, body))

    assert [ids(inbox.take(10)) for _ in range(4)] == [[0, 1], [2], [3], []]


def test_bodies_and_errors_come_out_as_they_went_in():
    error = Overloaded("full; wait", destination="host-1", retry_after_s=0.1).info()
    replies = Replies([Reply(1, b"\x00\xff"), Reply(2, error)], "closed")

    decoded = decode_replies(encode(replies))

    assert decoded == replies
