"""Route functions: they answer with keys, and each workflow says in its `path_map` where a key leads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from graphs.errors import BusinessRuleViolation, GraphInvalid, GreenroomError, NotFoundError, RoutingError
from graphs.functions import Function, is_reference, resolve
from graphs.state.schema import StateSchema
from graphs.suggest import did_you_mean
from graphs.workflow.edge import Route
from graphs.workflow.problems import unknown
from graphs.workflow.route_function import Answer, RouteContext, RouteFunction, Sees
from graphs.workflow.routes import SHIPPED

__all__ = ["SHIPPED_ROUTES", "Answer", "BoundRoute", "RouteContext", "RouteFunction", "RouteRegistry"]


@dataclass(frozen=True, slots=True)
class BoundRoute:
    """A route ready to be asked. Call it with the state it is to see: a plain one, unless it is `python`."""

    route: Route
    answer: Callable[[Any, RouteContext], Answer]
    python: bool
    """Whether it is a Python function of the graph, and no registered route function."""
    channels: frozenset[str] | None = None
    """Channels it looks at; None if that is not said."""
    sees: Sees = Sees.ANYTHING
    """What it looks at then."""

    def seen(self, schema: StateSchema) -> Collection[str] | None:
        """Channels of a state that it looks at; None: all."""
        match self.sees:
            case _ if self.channels is not None:
                return self.channels
            case Sees.NOTHING:
                return ()
            case Sees.CONVERSATIONS:
                return schema.conversations
            case Sees.ANYTHING:
                return None

    def __call__(self, state: Any, context: RouteContext) -> tuple[str, ...]:
        """The distinct targets, in the order of the answers.

        Raises:
            RoutingError: The function raised, gave no answer, or one that is not in the path map.
        """
        name = self.route.function
        try:
            answer = self.answer(state, context)
        except GreenroomError:
            raise
        except Exception as error:
            raise RoutingError(
                f"route function {name} raised {type(error).__name__}: {error}", function=name, reason=str(error)
            ) from error
        keys: list[Any] = list(answer) if isinstance(answer, Collection) and not isinstance(answer, str) else [answer]
        if not keys:
            raise RoutingError(f"route function {name} gave no answer; it must give at least one", function=name)
        return tuple(dict.fromkeys(self._target(key) for key in keys))

    def _target(self, key: Any) -> str:
        path_map = self.route.path_map
        if isinstance(key, str) and key in path_map:
            return path_map[key]
        name, known = self.route.function, ", ".join(path_map)
        hint = did_you_mean(key, path_map) if isinstance(key, str) else "; an answer is a text"
        raise RoutingError(
            f"route function {name} answered {key!r}, which is not in its path map ({known}){hint}",
            function=name,
            answer=str(key),
            path_map=dict(path_map),
        )


@dataclass(frozen=True, slots=True)
class RouteRegistry:
    """The route functions that graphs may name."""

    _functions: dict[str, RouteFunction] = field(default_factory=dict)

    @classmethod
    def of(cls, functions: Iterable[RouteFunction]) -> RouteRegistry:
        """A registry of these functions."""
        registry = cls()
        for function in functions:
            registry.register(function)
        return registry

    def register(self, function: RouteFunction) -> None:
        """Add a route function.

        Raises:
            BusinessRuleViolation: Another one has this name, or the name has a colon, which marks Python references.
        """
        if is_reference(function.name):
            raise BusinessRuleViolation(f'route function "{function.name}" must not have a colon in its name')
        if self._functions.setdefault(function.name, function) is not function:
            raise BusinessRuleViolation(f'a route function "{function.name}" exists already; choose another name')

    def get(self, name: str) -> RouteFunction:
        """The route function with this name; raises NotFoundError with the nearest name."""
        try:
            return self._functions[name]
        except KeyError:
            raise NotFoundError(unknown("route function", name, self._functions), kind="route", key=name) from None

    def list(self) -> list[RouteFunction]:
        """All of them, by name."""
        return [self._functions[name] for name in sorted(self._functions)]

    def copy(self) -> RouteRegistry:
        """A registry that can be added to without changing this one."""
        return RouteRegistry(dict(self._functions))

    def bind(self, route: Route, functions: Mapping[str, Function]) -> BoundRoute:
        """The decision that `route` describes, ready to be asked.

        Args:
            route: Name of a registered route function, or reference of a Python one, which is called with the state and
                the route's parameters.
            functions: Python callables by `module:qualname`; what is not in it is imported.

        Raises:
            NotFoundError: There is no such function.
            GraphInvalid: Its parameters are wrong.
        """
        if is_reference(route.function):
            function = resolve(route.function, functions)
            return BoundRoute(route, lambda state, _: function(state, **route.parameters), python=True)
        registered = self.get(route.function)
        problems = [str(problem) for problem in registered.check(route.parameters)]
        if problems:
            raise GraphInvalid(f"route function {route.function}: {'; '.join(problems)}", problems=problems)
        parameters = dict(registered.parameters.model_validate(dict(route.parameters)))
        return BoundRoute(
            route,
            lambda state, context: registered.call(state, context, **parameters),
            python=False,
            channels=registered.named_channels(parameters),
            sees=registered.sees,
        )


SHIPPED_ROUTES = RouteRegistry.of(SHIPPED)
"""The route functions that are always there. Add to a `copy()` of it."""
