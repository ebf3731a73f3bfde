"""What a route function is: a name, parameters, possible answers, and a call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import pydantic

from graphs.journal import Usage
from graphs.workflow.problems import Problem, from_pydantic, unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteContext:
    """What a route function may know besides the state."""

    steps: int = 0
    """Steps of this turn so far."""
    turn: int = 0
    """Number of the turn, from 1."""
    usage: Usage = field(default_factory=Usage)
    """Tokens used so far, as far as whoever asks knows them."""
    is_spent: bool = False
    """Whether nothing is left of the budget of the turn."""


class Sees(StrEnum):
    """What a route function looks at: nothing else is loaded for it."""

    ANYTHING = "anything"
    CONVERSATIONS = "conversations"
    NOTHING = "nothing"


Answer = str | Iterable[str]
"""One key of a path map, or several: then each of their targets starts a branch."""


class NoParameters(pydantic.BaseModel):
    """A route function that takes none."""

    model_config = pydantic.ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteFunction:
    """A registered route function."""

    name: str
    description: str
    call: Callable[..., Answer]
    """`call(state, context, **parameters)`: the plain state, a `RouteContext`, and the checked parameters."""
    parameters: type[pydantic.BaseModel] = NoParameters
    """What it can be told by a workflow. Unknown parameters should be errors (`extra="forbid"`)."""
    answers: tuple[str, ...] | None = None
    """Every key it may answer; None if that depends on the state."""
    channels: tuple[str, ...] = ()
    """Parameters that name a channel of the state."""
    sees: Sees = Sees.ANYTHING
    """What it looks at if no parameter names a channel."""

    @property
    def parameter_schema(self) -> dict[str, Any]:
        """JSON schema of the parameters."""
        return self.parameters.model_json_schema()

    def named_channels(self, parameters: Mapping[str, Any]) -> frozenset[str] | None:
        """The channels that these parameters name, which are then all it looks at; None if they name none."""
        named = [parameters[name] for name in self.channels]
        return frozenset(named) if named and None not in named else None

    def check(self, parameters: Mapping[str, Any]) -> list[Problem]:
        """What is wrong with `parameters`; paths begin with the name of the parameter."""
        known = self.parameters.model_fields
        try:
            self.parameters.model_validate(dict(parameters))
        except pydantic.ValidationError as error:
            return [
                Problem(problem.path, unknown("parameter", problem.path, known))
                if problem.path in parameters and problem.path not in known
                else problem
                for problem in from_pydantic(error)
            ]
        return []
