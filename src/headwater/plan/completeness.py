"""How complete the windows are that rows tell of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headwater.plan.inputs import OneInput
from headwater.schema.schema import Schema

if TYPE_CHECKING:
    from headwater.plan.nodes import Node


@dataclass(frozen=True, slots=True)
class Completeness(OneInput):
    """The input's rows, with a share in place of a window's end.

    The share, from 0 to 1, is that of the partitions or senders, of those that are not idle, that
    have passed the end; of several topics the lowest. A row whose share changes is withdrawn and
    added again. It is 1, and stays so, once the topics are complete up to the end; null for null.

    Args:
        end: The column with the window's end, a TIMESTAMP or TIMESTAMPTZ; in `schema` a DOUBLE.
        sources: The topics whose partitions or senders count.

    """

    input: Node
    end: str
    sources: tuple[str, ...]
    schema: Schema

    @property
    def append_only(self) -> bool:
        """Never: the share of a row changes."""
        return False
