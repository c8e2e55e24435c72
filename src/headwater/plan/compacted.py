"""Which views need all rows of a table, so that it may not be compacted.

The content of a table, and what is joined with it as it changes, is the same without the rows that
newer ones have replaced. What each row said at its time, which an ASOF JOIN asks, is not.
"""

from __future__ import annotations

from collections.abc import Sequence

from headwater.errors import DefinitionError
from headwater.plan.nodes import Scan, walk
from headwater.plan.pipeline import Pipeline, ViewPlan
from headwater.plan.versions import versions_of


def check_compaction(pipeline: Pipeline, plans: Sequence[ViewPlan]) -> None:
    """Refuse views that need all rows of a table which is to be compacted.

    Raises:
        DefinitionError: There is one.

    """
    compacted = [topic.name for topic in pipeline.topics if topic.life.is_compact]
    for plan in plans if compacted else ():
        scanned = {node.relation for node in walk(plan.root) if isinstance(node, Scan)}
        for table in compacted:
            if versions_of(table) in scanned:
                raise DefinitionError(
                    f"view {plan.name} finds the row of a key that held at another row's time, in "
                    f"all rows that were sent to {table}; and {table} is compacted",
                    place=plan.definition.origin,
                    hint=f"declare {table} without compact, or join it as it is now: JOIN {table}",
                )
