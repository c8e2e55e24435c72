"""What depends on the order of rows: the first of them, those around a row, patterns of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sqlglot import exp

from headwater.plan.frontier import Frontier
from headwater.plan.inputs import OneInput
from headwater.plan.patterns import Condition, Neighbour, Pattern, Reading, Skip
from headwater.schema.schema import Schema

if TYPE_CHECKING:
    from headwater.plan.nodes import Node


@dataclass(frozen=True, slots=True)
class Order:
    """One column of an ORDER BY."""

    column: str
    is_descending: bool = False
    nulls_first: bool = False


class Place(StrEnum):
    """How the rows of a partition are counted, in SQL's names."""

    ROW_NUMBER = "row_number"
    RANK = "rank"
    DENSE_RANK = "dense_rank"


@dataclass(frozen=True, slots=True)
class TopN(OneInput):
    """The first `limit` rows, after `offset`, of each partition in the given order.

    Rows that the order does not tell apart are ordered by their whole content (all columns
    ascending, nulls last), so that the answer does not depend on arrival; `replay` renders the same
    for batch. With a `place` of RANK or DENSE_RANK they share a rank, and all rows of the first
    `limit` ranks come out; `offset` is then 0.

    Args:
        partition: Columns; empty for one partition of all rows.
        order: At least one column, except for LIMIT without ORDER BY.
        number: Name of an added BIGINT column with the row's number, or rank, counted from 1; or
            None.
        place: What is counted.

    """

    input: Node
    partition: tuple[str, ...]
    order: tuple[Order, ...]
    limit: int
    offset: int
    number: str | None
    schema: Schema
    place: Place = Place.ROW_NUMBER

    @property
    def append_only(self) -> bool:
        """Never: a better row pushes out a worse one."""
        return False


@dataclass(frozen=True, slots=True)
class Reach:
    """How far from a row the rows stand that its result depends on.

    Args:
        rows_before: So many rows before it in the order.
        rows_after: So many rows after it.
        values_before: All rows before it whose first order column differs by at most so much, in
            the column's own unit (microseconds, days, ones); its peers always count.
        values_after: The same for rows after it.

    """

    rows_before: int = 0
    rows_after: int = 0
    values_before: int = 0
    values_after: int = 0


@dataclass(frozen=True, slots=True)
class OverCall:
    """One window function.

    Args:
        name: The output column.
        function: The call, over columns of the input and constants, without its OVER.
        spec: The frame, as the author wrote it; None where the function's own default holds.
        is_total: True when rows that the order does not tell apart must be ordered all the same.
        reach: What the result depends on; None for all rows from the start of the partition to the
            row, or its last peer. Then the function is one that can go on from the result of the
            row before: ROW_NUMBER, RANK, DENSE_RANK, COUNT, SUM, MIN, MAX, BOOL_AND, BOOL_OR,
            FIRST_VALUE, and LAST_VALUE IGNORE NULLS.

    """

    name: str
    function: exp.Expression
    spec: exp.WindowSpec | None
    is_total: bool
    reach: Reach | None


@dataclass(frozen=True, slots=True)
class Over(OneInput):
    """Each row with the results of window functions over the rows around it.

    All functions share one PARTITION BY and ORDER BY. Rows that the order does not tell apart are
    ordered by `ties` (ascending, nulls last) and then by all columns.

    Args:
        partition: Columns; empty for one partition of all rows.
        order: What the author ordered by.
        ties: Further columns to order by. There is at least one in `order` or `ties`.
        calls: The functions.
        schema: The input's columns, then those of the functions.

    """

    input: Node
    partition: tuple[str, ...]
    order: tuple[Order, ...]
    ties: tuple[str, ...]
    calls: tuple[OverCall, ...]
    schema: Schema

    @property
    def append_only(self) -> bool:
        """Never: a row that comes between two others changes what was said of these."""
        return False


@dataclass(frozen=True, slots=True)
class MatchRecognize(OneInput):
    """The matches of a row pattern in each partition, its rows in the order of their event time.

    Rows count once the watermark has passed them, in the order of `time`, then of `order`, then of
    their whole content; so matches do not depend on arrival. A row is late when the watermark had
    passed it before its place in the log. A match comes out when no row that may still come could
    change it, and is never withdrawn.

    Args:
        input: Append-only; its scans carry ticks.
        partition: Columns; empty for one partition of all rows.
        time: The event time.
        order: Further columns by which rows of one time are ordered.
        content: The columns of the author's relation, in order; others are computed of them.
        neighbours: Values of rows before and after, which conditions and measures read as columns.
        conditions: One for each symbol that has any.
        readings: What the rests of the conditions read.
        measured: What the measures read.
        measures: Output name and expression over the names of `measured`.
        all_rows: A row for each row of a match, of `content` and the measures as they stand at that
            row; else one row for each match, of `partition` and the measures.
        skip: Where the search goes on, with `skip_symbol` for FIRST and LAST.
        within_us: Rows of a match are less than this after its first one; None for no bound.
        sources: Topics whose watermarks (the lowest of them) decide.
        behind_us: How long after the watermarks a row in time may come; where "the watermark" is
            said above it is less this.

    """

    input: Node
    partition: tuple[str, ...]
    time: str
    order: tuple[Order, ...]
    content: tuple[str, ...]
    neighbours: tuple[Neighbour, ...]
    pattern: Pattern
    conditions: tuple[Condition, ...]
    readings: tuple[Reading, ...]
    measured: tuple[Reading, ...]
    measures: tuple[tuple[str, exp.Expr], ...]
    all_rows: bool
    skip: Skip
    skip_symbol: str | None
    within_us: int | None
    sources: tuple[str, ...]
    schema: Schema
    behind_us: int = 0

    @property
    def frontier(self) -> Frontier:
        """What decides."""
        return Frontier(self.sources, self.behind_us)

    @property
    def append_only(self) -> bool:
        """Always: a match comes out when nothing can change it."""
        return True

    @property
    def lateness_us(self) -> int:
        """None: a row that the watermark has passed is late."""
        return 0
