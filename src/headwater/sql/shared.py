"""Parts of a plan that several nodes read: rewritten once, so that they are computed once.

A rewrite makes new nodes, and what was one node below two others would become two. So the plan is
taken apart first: every part that several nodes read, and that remembers something, becomes a tree
of its own, and where it was read stands a scan of it. Afterwards the scans become the parts again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from headwater.plan.nodes import Map, Node, Scan, WindowKind, Windows, walk
from headwater.sql.build import column
from headwater.sql.tree import with_inputs

# What no author can call a relation.
_NAME = "\x00part "


@dataclass(frozen=True, slots=True)
class Parts:
    """A plan, taken apart.

    Args:
        whole: The plan above its shared parts.
        shared: These by name; a part that reads another stands before it.

    """

    whole: Node
    shared: dict[str, Node]


def apart(root: Node) -> Parts:
    """Take a plan apart."""
    names: dict[int, str] = {}
    readers = Counter(id(child) for node in _once(root) for child in node.inputs)
    for node in _once(root):
        if readers[id(node)] > 1 and not _is_light(node):
            names[id(node)] = f"{_NAME}{len(names)}"
    if not names:
        return Parts(root, {})
    cut: dict[int, Node] = {}

    def inside(node: Node) -> Node:
        """The node, with scans where it reads parts."""
        if id(node) not in cut:
            cut[id(node)] = with_inputs(node, [_scanned(child) for child in node.inputs])
        return cut[id(node)]

    def _scanned(node: Node) -> Node:
        name = names.get(id(node))
        return inside(node) if name is None else Scan(name, node.schema, node.append_only)

    # Inputs stand before what reads them, and here it is to be the other way round.
    shared = {names[id(n)]: inside(n) for n in reversed(list(_once(root))) if id(n) in names}
    return Parts(inside(root), shared)


def together(parts: Parts) -> Node:
    """Put a plan together again. A part may have more columns than a scan of it."""
    done: dict[str, Node] = {}

    def filled(node: Node) -> Node:
        if isinstance(node, Scan) and node.relation in parts.shared:
            if node.relation not in done:
                done[node.relation] = filled(parts.shared[node.relation])
            return _picked(done[node.relation], node)
        return with_inputs(node, [filled(child) for child in node.inputs])

    return filled(parts.whole)


def each_part(root: Node, rule: Callable[[Node], Node]) -> Node:
    """Apply a rewrite to a plan above its shared parts, and to each of these."""
    parts = apart(root)
    shared = {name: rule(part) for name, part in parts.shared.items()}
    return together(Parts(rule(parts.whole), shared))


def read_of(node: Node, parts: Mapping[str, Node]) -> dict[str, frozenset[str]]:
    """The columns that a tree reads of the parts."""
    found: dict[str, frozenset[str]] = {}
    for scan in walk(node):
        if isinstance(scan, Scan) and scan.relation in parts:
            names = frozenset(scan.schema.names)
            found[scan.relation] = found.get(scan.relation, frozenset()) | names
    return found


def _picked(part: Node, scan: Scan) -> Node:
    if part.schema.names == scan.schema.names:
        return part
    projections = tuple((name, column(name)) for name in scan.schema.names)
    return Map(part, projections, None, scan.schema)


def _is_light(node: Node) -> bool:
    """Whether a tree only reads rows, and computes each by itself."""
    return all(
        isinstance(n, Scan | Map)
        or (isinstance(n, Windows) and n.spec.kind is not WindowKind.SESSION)
        for n in walk(node)
    )


def _once(root: Node) -> Iterator[Node]:
    """Every node once, inputs before the nodes that read them."""
    seen: set[int] = set()

    def visit(node: Node) -> Iterator[Node]:
        if id(node) not in seen:
            seen.add(id(node))
            for child in node.inputs:
                yield from visit(child)
            yield node

    yield from visit(root)
