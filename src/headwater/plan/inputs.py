"""What nodes of one and of two inputs have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headwater.plan.nodes import Node


class OneInput:
    """A node that reads one other."""

    __slots__ = ()
    input: Node

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The one input."""
        return (self.input,)


class TwoInputs:
    """A node that reads two others."""

    __slots__ = ()
    left: Node
    right: Node

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The left, then the right input."""
        return (self.left, self.right)
