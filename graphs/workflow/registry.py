"""The workflows that are registered, by `id@version`, and the templates that come with Greenroom."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

from graphs.errors import BusinessRuleViolation, NotFoundError
from graphs.suggest import did_you_mean
from graphs.workflow.graph import GraphModel, WorkflowMetadata
from graphs.workflow.problems import unknown
from graphs.workflow.spec import load

_TEMPLATES = "graphs.workflow.templates"


def version_key(version: str) -> tuple[int, ...]:
    """What versions are ordered by: `1.10.0` is later than `1.9`, and `1.0` is the same as `1.0.0`."""
    numbers = [int(part) for part in version.split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def split_ref(ref: str) -> tuple[str, str | None]:
    """(id, version) of `id@version`, or (id, None) of `id`."""
    workflow_id, _, version = ref.partition("@")
    return workflow_id, version or None


class WorkflowRegistry:
    """Workflows in memory."""

    def __init__(self) -> None:
        self._graphs: dict[str, GraphModel] = {}
        self._metadata: dict[str, WorkflowMetadata] = {}

    @property
    def workflows(self) -> Mapping[str, GraphModel]:
        """Ref -> graph."""
        return dict(self._graphs)

    @property
    def templates(self) -> tuple[str, ...]:
        """Names of the templates."""
        return template_names()

    def register(self, graph: GraphModel, *, at: float) -> WorkflowMetadata:
        """Add a graph and the graphs that come along with it; adding equal ones again changes only `updated_at`.

        Args:
            graph: A validated graph.
            at: Unix seconds now.

        Raises:
            BusinessRuleViolation: Another graph is registered under one of the refs; nothing is added then.
        """
        family: dict[str, GraphModel] = {}
        for member in graph.family():
            if self._graphs.get(member.ref, member) != member or family.setdefault(member.ref, member) != member:
                raise BusinessRuleViolation(
                    f'another graph is registered as "{member.ref}"; give this one a higher version', ref=member.ref
                )
        for member in family.values():
            known = self._metadata.get(member.ref)
            self._graphs[member.ref] = member
            self._metadata[member.ref] = WorkflowMetadata(
                id=member.id,
                name=member.name,
                version=member.version,
                description=member.description,
                created_at=known.created_at if known else at,
                updated_at=at,
            )
        return self._metadata[graph.ref]

    def get(self, ref: str) -> GraphModel:
        """The graph called `id@version`, or the latest version of `id`.

        Raises:
            NotFoundError: There is none; the message has the nearest name, or the versions there are.
        """
        return self._graphs[self._find(ref)]

    def metadata(self, ref: str) -> WorkflowMetadata:
        """The metadata of the graph that `get` gives; raises NotFoundError."""
        return self._metadata[self._find(ref)]

    def list(self, workflow_id: str | None = None) -> list[WorkflowMetadata]:
        """All workflows, or all versions of one, by id and version; an unknown id has none."""
        found = [each for each in self._metadata.values() if workflow_id in (None, each.id)]
        return sorted(found, key=lambda each: (each.id, version_key(each.version)))

    def _find(self, ref: str) -> str:
        if ref in self._graphs:
            return ref
        workflow_id, version = split_ref(ref)
        versions = [each.version for each in self.list(workflow_id)]
        if versions and version is None:
            return f"{workflow_id}@{versions[-1]}"
        if versions:
            there = ", ".join(versions)
            message = f'workflow "{workflow_id}" has no version {version}; there is {there}'
        else:
            ids = {each.id for each in self._metadata.values()}
            message = unknown("workflow", workflow_id, ids)
        raise NotFoundError(message, kind="workflow", key=ref)


def template_names() -> tuple[str, ...]:
    """Names of the workflows that come with Greenroom."""
    files = (entry.name for entry in resources.files(_TEMPLATES).iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml")))


def template(name: str) -> GraphModel:
    """The graph of a template; raises NotFoundError."""
    if name not in template_names():
        raise NotFoundError(f'no template "{name}"{did_you_mean(name, template_names())}', kind="template", key=name)
    return load(resources.files(_TEMPLATES).joinpath(f"{name}.yaml").read_text(encoding="utf-8"), "yaml")
