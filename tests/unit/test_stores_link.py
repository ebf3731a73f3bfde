"""Store URLs: what is shown of them, and which are refused."""

from __future__ import annotations

import pytest

from actors.stores.link import server_name
from graphs.errors import ValidationError


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h", "redis://h:6379/0"),
        ("redis://user:secret@h:7000/3", "redis://h:7000/3"),
        ("redis://:s%2Fcret@[::1]:7000", "redis://[::1]:7000/0"),
        ("rediss://:secret@h:7000/3?ssl_cert_reqs=none", "rediss://h:7000/3"),
        ("unix:///run/valkey.sock?db=2", "unix:///run/valkey.sock"),
    ],
)
def test_the_name_of_a_server_has_no_secrets(url: str, shown: str):
    assert server_name(url) == shown


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://h", "cannot be read"),
        ("localhost:6379", "cannot be read"),
        ("redis://:se/cret@h:6379/0", "cannot be read"),
        ("redis://:12/cret@h:6379/0", "before its host"),
        ("redis://:12#cret@h:6379/0", "before its host"),
        ("redis://h/cache", "write the number of a database"),
        ("redis://h?decode_responses=1&db=2", "unknown options: decode_responses; remove them"),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused(url: str, problem: str):
    with pytest.raises(ValidationError, match=problem) as caught:
        server_name(url)
    assert "cret" not in caught.value.message
