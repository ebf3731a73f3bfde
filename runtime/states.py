"""States as a turn would begin with them: nothing is run and nothing is stored."""

from __future__ import annotations

from typing import Any

from graphs.state.builders import StateFactory
from graphs.threads import main_thread_id
from runtime.records import Records
from runtime.results import StateDict


class StateBuilderService:
    """Shows what inputs make of states.

    Args:
        records: What is stored.
    """

    def __init__(self, records: Records) -> None:
        self._records = records

    async def build_workflow_state(self, workflow: str, values: Any = None) -> StateDict:
        """The state with which a new session's first turn would begin.

        Args:
            workflow: `id`, `id@version` or `id@version+build`.
            values: The input; None: nothing.

        Raises:
            NotFoundError: No such workflow.
            StateInvalid: The input does not fit; all problems are listed.
        """
        return StateDict(StateFactory(await self._records.schema(workflow)).create_state(values))

    async def build_session_state(self, session_id: str, values: Any = None) -> StateDict:
        """The state with which the next turn of a session would begin, if its main thread is at rest.

        Args:
            session_id: The session.
            values: The input; None: nothing.

        Raises:
            NotFoundError: No such session.
            StateInvalid: The input does not fit; all problems are listed.
        """
        session = await self._records.session(session_id)
        factory = StateFactory(await self._records.schema(session.workflow_id))
        return StateDict(factory.create_state(values, base=await self._records.state(main_thread_id(session_id))))
