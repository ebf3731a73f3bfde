"""What the sending end puts into which frame."""

from actors.frames import ASK, CANCEL, TELL, Message, Outbox, Reply, decode_frame


def frames(outbox, free_calls=1):
    return [decode_frame(frame) for frame in outbox.frames(free_calls)]


def bodies(outbox, free_calls=1):
    return [[message.body for message in frame.messages] for frame in frames(outbox, free_calls)]


def test_everything_that_waits_goes_in_one_frame_in_order():
    outbox = Outbox("c")
    outbox.put(ASK, b"a")
    outbox.put(TELL, b"b")

    [frame] = frames(outbox)

    assert (frame.channel_id, frame.seq, frame.known, frame.received) == ("c", 0, False, [])
    assert frame.messages == [Message(0, ASK, b"a"), Message(1, TELL, b"b")]
    assert len(outbox) == 0


def test_nothing_goes_when_no_call_is_free_or_nothing_waits():
    outbox = Outbox("c")

    assert frames(outbox) == []

    outbox.put(ASK, b"a")

    assert frames(outbox, free_calls=0) == []
    assert len(outbox) == 1


def test_few_messages_share_a_frame_and_many_are_shared_out():
    outbox = Outbox("c")
    for _ in range(31):
        outbox.put(ASK, b"")

    assert [len(frame) for frame in bodies(outbox, free_calls=2)] == [31]

    for _ in range(33):
        outbox.put(ASK, b"")

    assert [len(frame) for frame in bodies(outbox, free_calls=2)] == [17, 16]


def test_a_frame_is_cut_at_its_size_and_a_larger_body_goes_alone():
    outbox = Outbox("c", frame_bytes=10)
    for body in (b"12345", b"12345", b"x" * 50, b"1"):
        outbox.put(ASK, body)

    assert bodies(outbox, free_calls=9) == [[b"12345", b"12345"], [b"x" * 50], [b"1"]]


def test_a_cancelled_ask_that_waits_is_never_sent():
    outbox = Outbox("c")
    first = outbox.put(ASK, b"a")
    outbox.put(ASK, b"b")
    outbox.cancel(first)

    assert bodies(outbox) == [[b"b"]]


def test_a_cancel_goes_before_everything_that_waits():
    outbox = Outbox("c")
    first = outbox.put(ASK, b"a")
    frames(outbox)
    outbox.put(ASK, b"b")
    outbox.cancel(first)

    [frame] = frames(outbox)

    assert frame.messages == [Message(0, CANCEL, b""), Message(1, ASK, b"b")]


def test_received_replies_are_acknowledged_once_with_the_next_frame():
    outbox = Outbox("c")
    outbox.known = True
    outbox.received([Reply(3, b""), Reply(5, b"")], 2)

    assert frames(outbox) == []

    outbox.put(ASK, b"")
    [second] = frames(outbox)
    outbox.put(ASK, b"")
    [third] = frames(outbox)

    assert (second.seq, second.known, second.received) == (0, True, [3, 5])
    assert (third.seq, third.received) == (1, [])


def test_many_received_bytes_are_acknowledged_at_once():
    outbox = Outbox("c")
    outbox.received([Reply(3, b"")], 2 * 1024 * 1024)

    [frame] = frames(outbox)

    assert (frame.received, frame.messages) == ([3], [])
    assert not outbox.must_acknowledge


def test_clear_counts_the_tells_it_drops():
    outbox = Outbox("c")
    outbox.put(ASK, b"")
    outbox.put(TELL, b"")
    outbox.put(TELL, b"")
    outbox.cancel(99)
    outbox.received([Reply(1, b"")], 2 * 1024 * 1024)

    assert outbox.clear() == 2
    assert frames(outbox) == []
