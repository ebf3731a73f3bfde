"""How long a process may take to answer, and what is done about a supervisor that does not."""

from __future__ import annotations

import pytest

from actors.guard import Remedy, remedy
from actors.network import SUPERVISOR
from actors.watch import Silence, patience_s


@pytest.mark.parametrize(
    ("kind", "runs", "is_cut_off", "seconds"),
    [
        ("host", True, False, 15.0),
        ("host", False, False, 1.5),
        ("host", None, False, 4.0),
        ("host", True, True, 1.5),
        ("host", None, True, 1.5),
        ("function", True, False, 15.0),
        ("function", False, False, 1.5),
        ("function", None, False, 15.0),
        ("function", None, True, 1.5),
        (SUPERVISOR, True, False, 15.0),
        (SUPERVISOR, False, False, 1.5),
        (SUPERVISOR, None, False, 15.0),
        (SUPERVISOR, True, True, 1.5),
    ],
)
def test_who_is_suspended_or_cut_off_has_little_time_and_who_may_be_busy_has_more(
    kind: str, runs: bool | None, is_cut_off: bool, seconds: float
) -> None:
    assert patience_s(kind, runs=runs, is_cut_off=is_cut_off) == seconds


@pytest.mark.parametrize(
    ("silence", "is_here", "what"),
    [
        (Silence.MUTE, True, Remedy.END),
        (Silence.CUT_OFF, True, Remedy.END),
        (Silence.DEAD, True, Remedy.END),
        (Silence.MUTE, False, Remedy.RESTART),
        (Silence.CUT_OFF, False, Remedy.NOTHING),
        (Silence.DEAD, False, Remedy.NOTHING),
    ],
)
def test_only_a_process_that_is_known_or_that_is_there_is_ended(silence: Silence, is_here: bool, what: Remedy) -> None:
    assert remedy(silence, is_here=is_here) is what
