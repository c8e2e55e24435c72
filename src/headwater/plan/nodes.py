"""What to compute, as plain data: the nodes of a view's plan.

A plan is a tree. Leaves are scans of topics, tables and other views; the root's columns are the
view's. Nothing here runs: DuckDB (in batch), the incremental engine and Flink each read the same
nodes.

Conventions that every reader relies on:

- Column names are unique within a node, without regard to case.
- An expression is a bound sqlglot tree (DuckDB's dialect) whose `Column`s are unqualified, quoted
  and name columns of the node's input. It holds no subquery, window function or aggregate, unless
  the node says so.
- `append_only` is a claim about the node's output: no row is ever withdrawn.
- `schema` is what DuckDB says of the output's types.
- Hidden columns (`headwater.delta`) are not in plans: the engine adds what its operators need.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from sqlglot import exp

from headwater.plan.patterns import Condition, Neighbour, Pattern, Reading, Skip
from headwater.schema.schema import Schema


class WindowKind(StrEnum):
    """How rows are assigned to windows of time."""

    TUMBLE = "tumble"
    HOP = "hop"
    CUMULATE = "cumulate"
    SESSION = "session"


class JoinKind(StrEnum):
    """Which rows of a join's left side come out."""

    INNER = "inner"
    LEFT = "left"
    SEMI = "semi"
    ANTI = "anti"


@dataclass(frozen=True, slots=True)
class Scan:
    """The rows of a topic, the changelog of a table, or the changes of a view.

    Args:
        relation: Its name, as declared.
        schema: The columns that the plan reads, a subset of the relation's.
        append_only: True for topics and for append-only views.
        ticks: True when rows must carry their place in the log's order (see `Windows`).

    """

    relation: str
    schema: Schema
    append_only: bool
    ticks: bool = False

    @property
    def inputs(self) -> tuple[Node, ...]:
        """No inputs: a leaf."""
        return ()


@dataclass(frozen=True, slots=True)
class Map:
    """Filter, then project: one linear step. Row by row, so it is its own incremental form.

    Args:
        projections: Output name and expression, in order. An `exp.Unnest`/`exp.Explode` may be used
            as DuckDB allows it in a select list.
        condition: Rows for which it is not true are dropped; None keeps all.

    """

    input: Node
    projections: tuple[tuple[str, exp.Expression], ...]
    condition: exp.Expression | None
    schema: Schema

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The one input."""
        return (self.input,)

    @property
    def append_only(self) -> bool:
        """A map withdraws a row only when its input does."""
        return self.input.append_only


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """A kind of window over an event-time column.

    Windows are aligned to 1970-01-01 plus `offset_us`. A time t is in every window [start, start +
    size) with start = k * slide + offset. A row with a null time is in no window and is dropped.

    CUMULATE has windows [start, start + n * slide) with start = k * size + offset and n from 1 to
    size / slide, which is whole: they grow by the slide, and begin anew every size.

    SESSION: rows of equal keys (a null is equal to a null) whose times are less than `size_us`, the
    gap, apart, directly or through others, are one session. It begins with its first row and ends a
    gap after its last. So rows exactly a gap apart are two sessions, as a window does not hold its
    end. Rows may be withdrawn, and sessions fall apart again.

    Args:
        time: The TIMESTAMP or TIMESTAMPTZ column of the input.
        size_us: The window's length; of a SESSION the gap.
        slide_us: The distance between window starts; equal to `size_us` for TUMBLE and SESSION; for
            CUMULATE the step by which windows grow.
        offset_us: Shift of all windows.
        keys: For SESSION the columns whose values tell sessions apart; may be empty.

    """

    kind: WindowKind
    time: str
    size_us: int
    slide_us: int
    offset_us: int = 0
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Windows:
    """Assign rows to windows: add `window_start` and `window_end`.

    A row in k windows comes out k times. Linear, like `Map`, but for sessions, in which a row may
    move others to a larger session, or, withdrawn, to smaller ones.

    With `final` and sessions, the rows of a session come out when the watermark has passed its end,
    and a row is late when, at its place in the log, the watermark had already passed its own time
    plus the gap by `lateness_us` or more. So the sessions are those of all rows in time, whatever
    their order, and may grow after they came out, until the gap and `lateness_us` after their end.

    Args:
        start: Name of the added start column.
        end: Name of the added end column.
        final: When true, a row is held back until the watermark of `sources` has passed its
            window's end, and a row is late when, at its place in the log, the watermark had already
            passed the end by `lateness_us` or more; late rows go to the view's late rows.
        lateness_us: None for no bound (nothing is ever late; only with `final` false).
        sources: Topics whose watermarks (the lowest of them) decide.
        ready: True when some of the sources are ready before they are complete. With `final` a
            window then closes when they are ready, and is corrected until they have been complete
            for `lateness_us`.

    """

    input: Node
    spec: WindowSpec
    start: str
    end: str
    schema: Schema
    final: bool = False
    lateness_us: int | None = None
    sources: tuple[str, ...] = ()
    ready: bool = False

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The one input."""
        return (self.input,)

    @property
    def append_only(self) -> bool:
        """A window assignment withdraws a row only when its input does, or when a session grows."""
        return self.input.append_only and self.spec.kind is not WindowKind.SESSION


class Merge(StrEnum):
    """An aggregate whose partial results can be merged.

    The planner writes others in terms of these. Nulls are ignored; over no non-null value SUM, MIN
    and MAX are null and COUNT is 0.

    QUANTILE, DISTINCT and HISTOGRAM are read off how often each value occurs in the group. These
    counts merge and take rows back, whatever the value; what is kept is one count for each value of
    a group. QUANTILE and HISTOGRAM are null over no non-null value, DISTINCT is 0.
    """

    COUNT = "count"
    SUM = "sum"
    MIN = "min"
    MAX = "max"
    QUANTILE = "quantile_disc"
    DISTINCT = "count_distinct"
    HISTOGRAM = "histogram"

    @property
    def is_by_value(self) -> bool:
        """Whether it is read off the counts by value."""
        return self in (Merge.QUANTILE, Merge.DISTINCT, Merge.HISTOGRAM)


@dataclass(frozen=True, slots=True)
class Partial:
    """One mergeable aggregate.

    Args:
        name: The output column.
        merge: How values and partial results combine. MIN and MAX, and SUM of a floating column,
            only over append-only input (else the planner uses `Recompute`).
        argument: The input column that is aggregated; None counts rows (COUNT only). For QUANTILE
            an integer of at most 64 bits.
        fraction: For QUANTILE, a decimal number from 0 to 1, as it is written in SQL.

    """

    name: str
    merge: Merge
    argument: str | None
    fraction: str | None = None


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One row per group that has rows: the key columns, then the partials.

    Withdraws what it last said of a group and says the new. With no keys there is one group, and,
    as in SQL, a row for it also before the first input row (COUNT 0, the others null). The planner
    puts a `Map` below (arguments, FILTER) and one above (averages, HAVING, the select list).

    With `window`, `keys` come first, then `window.start` and `window.end` columns: the input is not
    yet windowed, and the engine aggregates per slice (the window's slide) before it combines
    windows. With sessions, `keys` are those of the sessions, in any order, and the input is
    append-only: partial results of sessions that meet are merged, and no row is remembered.

    Args:
        keys: Input columns, in output order.
        partials: What to compute.
        window: None, or the windows of the groups, with the same meaning of `final`, `lateness_us`,
            `sources` and `ready` as `Windows` has; then with `final` a group comes out only once
            its window has closed and is corrected until the lateness has passed.
        append_only: Never, except that of a window that comes out once nothing is withdrawn.

    """

    input: Node
    keys: tuple[str, ...]
    partials: tuple[Partial, ...]
    schema: Schema
    window: GroupWindow | None = None

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The one input."""
        return (self.input,)

    @property
    def append_only(self) -> bool:
        """Only what is final at once, of rows that are never withdrawn, is never withdrawn."""
        return bool(self.window and self.window.is_once and self.input.append_only)


@dataclass(frozen=True, slots=True)
class GroupWindow:
    """The windows of an `Aggregate`. See `Windows` for the meaning of the fields."""

    spec: WindowSpec
    start: str
    end: str
    final: bool = False
    lateness_us: int | None = None
    sources: tuple[str, ...] = ()
    ready: bool = False

    @property
    def is_once(self) -> bool:
        """True when a window comes out once and is never corrected.

        A session never is: a row in time may still reach it.
        """
        is_session = self.spec.kind is WindowKind.SESSION
        return self.final and self.lateness_us == 0 and not self.ready and not is_session


@dataclass(frozen=True, slots=True)
class Within:
    """How far apart in time rows of a join may be: `lower_us <= left - right <= upper_us`.

    A null time matches nothing. With `lateness_us` each side has a watermark: rows that it has
    passed by the lateness are late, and rows that can match no more are forgotten.

    Args:
        left_time: A TIMESTAMP or TIMESTAMPTZ column of the left input.
        right_time: A column of the same type of the right input.
        lower_us: None for no bound.
        upper_us: None for no bound.
        final: When true, a left row without a match comes out only once the watermark of the right
            side has passed all that could match it.
        lateness_us: None for no bound (nothing is ever late, or forgotten; `final` is false).
        left_sources: Topics whose watermarks (the lowest of them) are that of the left time.
        right_sources: The same for the right time.

    """

    left_time: str
    right_time: str
    lower_us: int | None
    upper_us: int | None
    final: bool = False
    lateness_us: int | None = None
    left_sources: tuple[str, ...] = ()
    right_sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Join:
    """Rows of two inputs whose keys are equal. A null key matches nothing.

    Args:
        left_keys: Columns of the left input. May be empty with `within`: then all keys are equal.
        right_keys: Columns of the right input, of the same types, in the same order.
        within: A bound in time that pairs must keep too.

    The output's columns are the left's, then, for INNER and LEFT, the right's (which the planner
    has given names that differ). Further conditions of an inner join are a `Map` above it.

    """

    kind: JoinKind
    left: Node
    right: Node
    left_keys: tuple[str, ...]
    right_keys: tuple[str, ...]
    schema: Schema
    within: Within | None = None

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The left, then the right input."""
        return (self.left, self.right)

    @property
    def append_only(self) -> bool:
        """A left or anti join withdraws what it said when a match arrives, unless it waited."""
        grows = self.kind in (JoinKind.INNER, JoinKind.SEMI)
        waits = self.within is not None and self.within.final and self.within.lateness_us == 0
        return (grows or waits) and self.left.append_only and self.right.append_only


@dataclass(frozen=True, slots=True)
class AsofJoin:
    """Each left row with the newest right row, of equal keys, that is not after it.

    DuckDB's `ASOF JOIN ... AND left.time >= right.time`. A later right row that fits better
    replaces the match of earlier left rows. Among right rows of equal key and time the one that
    came last counts.

    Args:
        left_keys: May be empty, then all rows share one key.
        left_time: A TIMESTAMP, TIMESTAMPTZ, DATE or integer column.
        is_left: True for ASOF LEFT JOIN: a left row without match comes out with nulls.
        is_strict: True for `>`: an equal time does not match.

    """

    left: Node
    right: Node
    left_keys: tuple[str, ...]
    right_keys: tuple[str, ...]
    left_time: str
    right_time: str
    is_left: bool
    is_strict: bool
    schema: Schema

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The left, then the right input."""
        return (self.left, self.right)

    @property
    def append_only(self) -> bool:
        """Never: a right row that comes later may fit better."""
        return False


@dataclass(frozen=True, slots=True)
class Distinct:
    """Each row once, as long as it is there at least once."""

    input: Node
    schema: Schema

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The one input."""
        return (self.input,)

    @property
    def append_only(self) -> bool:
        """A distinct row leaves only when its input's rows do."""
        return self.input.append_only


@dataclass(frozen=True, slots=True)
class Union:
    """The rows of all inputs (UNION ALL). The inputs have the same column names and types."""

    inputs: tuple[Node, ...]
    schema: Schema

    @property
    def append_only(self) -> bool:
        """A union withdraws what one of its inputs does."""
        return all(node.append_only for node in self.inputs)


@dataclass(frozen=True, slots=True)
class Order:
    """One column of an ORDER BY."""

    column: str
    is_descending: bool = False
    nulls_first: bool = False


@dataclass(frozen=True, slots=True)
class TopN:
    """The first `limit` rows, after `offset`, of each partition in the given order.

    Rows that the order does not tell apart are ordered by their whole content (all columns
    ascending, nulls last), so that the answer does not depend on arrival; `replay` renders the same
    for batch.

    Args:
        partition: Columns; empty for one partition of all rows.
        order: At least one column, except for LIMIT without ORDER BY.
        number: Name of an added BIGINT column with the row's number, counted from 1; or None.

    """

    input: Node
    partition: tuple[str, ...]
    order: tuple[Order, ...]
    limit: int
    offset: int
    number: str | None
    schema: Schema

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The one input."""
        return (self.input,)

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
class Over:
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
    def inputs(self) -> tuple[Node, ...]:
        """The one input."""
        return (self.input,)

    @property
    def append_only(self) -> bool:
        """Never: a row that comes between two others changes what was said of these."""
        return False


@dataclass(frozen=True, slots=True)
class Recompute:
    """Any query, computed again for the groups that an epoch touched, and differenced.

    Args:
        sources: The inputs.
        names: What the query calls them, in the same order.
        keys: For each input the columns that tell its groups apart, in the same order: a group of
            the output depends only on the input rows with that key. Empty tuples: one group, all is
            computed again.
        query: A sqlglot query in DuckDB's dialect over `names`. Its column names are the schema's.
        reason: Why this part is not incremental, for `explain`.

    """

    sources: tuple[Node, ...]
    names: tuple[str, ...]
    keys: tuple[tuple[str, ...], ...]
    query: exp.Query
    schema: Schema
    reason: str

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The inputs, in order."""
        return self.sources

    @property
    def append_only(self) -> bool:
        """Never: nothing is known of the query."""
        return False


@dataclass(frozen=True, slots=True)
class Transform:
    """What a function of the author's makes of each row: none, one or several rows.

    Args:
        name: The view whose step it is; who runs the plan finds the function by it.
        code: The fingerprint of the function.
        placed: True when the function says which row it made each of its rows of: these then have
            the places of those.

    """

    input: Node
    name: str
    code: str
    schema: Schema
    placed: bool = False

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The one input."""
        return (self.input,)

    @property
    def append_only(self) -> bool:
        """Made of a row alone, what comes out is withdrawn only with it."""
        return self.input.append_only


@dataclass(frozen=True, slots=True)
class Process:
    """What code of the author's says, key by key, of the rows so far and of the time.

    The rows of a key come one after the other, in the order of the log or of event time; between
    them fire the key's timers, each where the watermark of `sources` passes its time. The input is
    append-only, and its rows carry their places in the log.

    Args:
        name: The view whose step it is; who runs the plan finds the code by it.
        code: The fingerprint of the code.
        keys: Columns of the input.
        time: The event time by which the rows of a key are ordered; None for the log's order.
        sources: Topics whose watermarks (the lowest of them) decide; empty for no time.

    """

    input: Node
    name: str
    code: str
    keys: tuple[str, ...]
    time: str | None
    sources: tuple[str, ...]
    schema: Schema

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The one input."""
        return (self.input,)

    @property
    def append_only(self) -> bool:
        """What it has said stands."""
        return True


@dataclass(frozen=True, slots=True)
class MatchRecognize:
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

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The one input."""
        return (self.input,)

    @property
    def append_only(self) -> bool:
        """Always: a match comes out when nothing can change it."""
        return True

    @property
    def lateness_us(self) -> int:
        """None: a row that the watermark has passed is late."""
        return 0


@dataclass(frozen=True, slots=True)
class TemporalFilter:
    """Rows that are in from one moment on, and out again from another.

    Now is the recorded time of an epoch; it never goes back. A row is in when `valid_from <= now <
    valid_until`. The two columns are not in the output.

    Args:
        valid_from: A BIGINT column of the input without nulls, in microseconds since 1970; None: in
            from the beginning.
        valid_until: The same; None: for ever.

    """

    input: Node
    valid_from: str | None
    valid_until: str | None
    schema: Schema

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The one input."""
        return (self.input,)

    @property
    def append_only(self) -> bool:
        """Rows that only come are never withdrawn."""
        return self.valid_until is None and self.input.append_only


@dataclass(frozen=True, slots=True)
class Pace:
    """The input's rows, published at most once for each stretch of event time.

    Changes are held, and what cancels in them is gone, until the watermark of `sources` passes a
    multiple of `every_us`, or the end of the input; then all that is held comes out. So the output
    is the input as it was some time ago, and, when the input has ended, the input.

    Args:
        every_us: The length of a stretch.
        sources: Topics whose watermarks (the lowest of them) decide; never empty.

    """

    input: Node
    every_us: int
    sources: tuple[str, ...]
    schema: Schema

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The one input."""
        return (self.input,)

    @property
    def append_only(self) -> bool:
        """A row that is only added is only added later."""
        return self.input.append_only


Node = (
    Scan
    | Map
    | Windows
    | Aggregate
    | Join
    | AsofJoin
    | Distinct
    | Union
    | TopN
    | Over
    | Recompute
    | Transform
    | Process
    | MatchRecognize
    | TemporalFilter
    | Pace
)


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it, inputs before the nodes that read them."""
    for child in node.inputs:
        yield from walk(child)
    yield node
