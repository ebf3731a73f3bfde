"""The shape of a graph: what can follow what, and where forks join."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from graphs.journal import END, START
from graphs.workflow.edge import Edge


def successors(node_ids: Iterable[str], edges: Iterable[Edge]) -> dict[str, tuple[str, ...]]:
    """Node id (and `START`) -> every node it may lead to, in edge order; unknown targets are left out."""
    known = dict.fromkeys([START, *node_ids, END])
    found: dict[str, dict[str, None]] = {node_id: {} for node_id in known if node_id != END}
    for edge in edges:
        if edge.source in found:
            found[edge.source].update((target, None) for target in edge.targets if target in known)
    return {source: tuple(targets) for source, targets in found.items()}


def reachable(graph: Mapping[str, tuple[str, ...]], start: str, *, stop: str = END) -> set[str]:
    """Nodes on paths from `start` (included) that do not pass through `stop`; `END` is never in it."""
    seen: set[str] = set()
    todo = [start]
    while todo:
        node = todo.pop()
        if node not in seen and node not in (stop, END):
            seen.add(node)
            todo.extend(graph.get(node, ()))
    return seen


def post_dominators(graph: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Node -> its immediate post-dominator: the nearest node that every path from it to `END` passes; else `END`.

    The iterative algorithm of Cooper, Harvey and Kennedy, "A Simple, Fast Dominance Algorithm" (2001), on the
    reversed graph. Nodes from which `END` cannot be reached have `END`.
    """
    predecessors: dict[str, list[str]] = {END: []}
    for source, targets in graph.items():
        predecessors.setdefault(source, [])
        for target in targets:
            predecessors.setdefault(target, []).append(source)
    order = _postorder(predecessors)
    rank = {node: position for position, node in enumerate(order)}
    parent: dict[str, str] = {END: END}
    changed = True
    while changed:
        changed = False
        for node in reversed(order[:-1]):
            joined = _nearest_common([target for target in graph[node] if target in parent], parent, rank)
            if parent.get(node) != joined:
                parent[node] = joined
                changed = True
    return {node: parent.get(node, END) for node in graph}


def fork_joins(node_ids: Iterable[str], edges: Iterable[Edge]) -> dict[str, str]:
    """Node (and `START`) -> where the branches that begin behind it are joined.

    That is its immediate post-dominator. The edge for its own failure starts no branch and does not count for it, but
    those for the failures of the nodes behind it do: a branch may leave the way to the join by them.
    """
    edges = tuple(edges)
    shape = successors(node_ids, edges)
    joins = parent = post_dominators(shape)
    caught = {edge.source for edge in edges if edge.on_error}
    if caught:
        usual = successors(shape, [edge for edge in edges if not edge.on_error])
        joins = parent | {node: _common_way(usual[node], parent) for node in caught if usual.get(node)}
    return joins


def _common_way(nodes: Iterable[str], parent: Mapping[str, str]) -> str:
    """The first node on the way of all `nodes` along `parent`; `END` if there is no other."""
    ways = [list(_way(node, parent)) for node in nodes]
    return next(node for node in ways[0] if all(node in way for way in ways))


def _way(node: str, parent: Mapping[str, str]) -> Iterator[str]:
    while node != END:
        yield node
        node = parent[node]
    yield END


def _nearest_common(nodes: list[str], parent: Mapping[str, str], rank: Mapping[str, int]) -> str:
    """The nearest node that all of `nodes` (at least one) have in common on their way along `parent`."""
    common = nodes[0]
    for node in nodes[1:]:
        other = node
        while common != other:
            if rank[common] < rank[other]:
                common = parent[common]
            else:
                other = parent[other]
    return common


def _postorder(predecessors: Mapping[str, list[str]]) -> list[str]:
    """Nodes that can reach `END`, each after all that are visited from it walking backwards; `END` is last."""
    order: list[str] = []
    seen = {END}
    stack: list[tuple[str, int]] = [(END, 0)]
    while stack:
        node, position = stack.pop()
        if position < len(predecessors[node]):
            stack.append((node, position + 1))
            following = predecessors[node][position]
            if following not in seen:
                seen.add(following)
                stack.append((following, 0))
        else:
            order.append(node)
    return order
