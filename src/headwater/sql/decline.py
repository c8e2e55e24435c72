"""How a rewrite says that a part of a query is beyond it.

The planner decomposes only what it fully understands. Where a rewrite meets anything else it raises
`Decline`; the smallest enclosing query block is then recomputed as DuckDB reads it. It never leaves
the planner.
"""

from __future__ import annotations


class Decline(Exception):  # noqa: N818 - it is not an error, the query is still answered
    """This part is recomputed; the reason is what `explain` prints."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
