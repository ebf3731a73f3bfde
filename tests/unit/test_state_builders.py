"""States made without running anything."""

from typing import Annotated

import pytest
from pydantic import BaseModel

from graphs.errors import StateInvalid
from graphs.state.builders import StateFactory
from graphs.state.reducers import append
from graphs.state.schema import StateSchema


class Notes(BaseModel):
    text: str = "none"
    notes: Annotated[list[str], append] = []


FACTORY = StateFactory(StateSchema.from_type(Notes))


def test_a_state_has_the_defaults_and_what_is_written_through_the_reducers():
    base = {"text": "some", "notes": ["one"]}

    assert FACTORY.create_state() == {"text": "none", "notes": []}
    assert FACTORY.create_state(Notes(text="other")) == {"text": "other", "notes": []}
    assert FACTORY.create_state({"notes": "two"}, base=base) == {"text": "some", "notes": ["one", "two"]}
    assert base == {"text": "some", "notes": ["one"]}


def test_what_does_not_fit_is_refused_with_all_problems():
    with pytest.raises(StateInvalid) as caught:
        FACTORY.create_state({"txt": "x", "text": 1})

    assert len(caught.value.problems) == 2
