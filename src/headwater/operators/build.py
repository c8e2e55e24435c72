"""Which operator keeps which plan node up to date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from headwater.delta.delta import TICK, WEIGHT, Delta
from headwater.operators.aggregate import AggregateOperator
from headwater.operators.asof import AsofOperator
from headwater.operators.completeness import CompletenessOperator
from headwater.operators.distinct import DistinctOperator
from headwater.operators.distinct_counts import DistinctCountsOperator
from headwater.operators.distinct_values import Values, values_of
from headwater.operators.extremes import ExtremesOperator
from headwater.operators.feed import Keys
from headwater.operators.gate import GateOperator
from headwater.operators.hold import HoldOperator
from headwater.operators.interval import IntervalJoinOperator
from headwater.operators.join import JoinOperator, is_coded
from headwater.operators.match import MatchOperator
from headwater.operators.operator import Epoch, Loader, Operator, Saver
from headwater.operators.over import OverOperator
from headwater.operators.pace import PaceOperator
from headwater.operators.panes import PanesOperator
from headwater.operators.process import ProcessOperator
from headwater.operators.recompute import RecomputeOperator
from headwater.operators.session_panes import SessionPanesOperator
from headwater.operators.session_totals import SessionTotalsOperator
from headwater.operators.sessions import SessionsOperator
from headwater.operators.setops import SetOperator
from headwater.operators.statement import Engine, Rows
from headwater.operators.temporal import TemporalOperator
from headwater.operators.topn import TopNOperator
from headwater.operators.transform import TransformOperator
from headwater.operators.union import UnionOperator
from headwater.operators.windowed import WindowedOperator
from headwater.plan.nodes import (
    Aggregate,
    AsofJoin,
    Completeness,
    Distinct,
    Hold,
    Join,
    MatchRecognize,
    Node,
    Over,
    Pace,
    Panes,
    Process,
    Recompute,
    SessionPanes,
    SetOperation,
    TemporalFilter,
    TopN,
    Transform,
    Union,
    WindowKind,
    Windows,
)
from headwater.plan.unique import Keys as OwnKeys


class Fused(Protocol):
    """An operator that takes the linear stretch below it into its own statement.

    It is an `Operator` but for its input: the rows of the stage below the stretch, which may be an
    Arrow table in chunks.
    """

    schema: pa.Schema

    def is_due(self, epoch: Epoch) -> bool:
        """Whether it must be stepped in this epoch also without input."""
        ...

    def step(self, rows: Rows, epoch: Epoch) -> Delta:
        """Take the rows of an epoch; return what changed in the output."""
        ...

    def save(self, saver: Saver) -> Any:
        """Hand the state over; return a JSON value from which `load` finds it again."""
        ...

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take back what `save` handed over."""
        ...

    def state_size(self) -> tuple[int, int]:
        """Rows and bytes that the operator remembers."""
        ...


@runtime_checkable
class Sparing(Protocol):
    """A fused operator that may do without the places of rows in the log, if none is late."""

    def time_column(self) -> str | None:
        """The column of its input rows by which it decides lateness; None: it does not spare."""
        ...

    def step_in_time(self, rows: Rows, epoch: Epoch) -> Delta | None:
        """As `step`, with rows without places of which none is late; None: it wants the places."""
        ...


@runtime_checkable
class Waiting(Protocol):
    """An operator that may have something to say when no input has changed."""

    def is_due(self, epoch: Epoch) -> bool:
        """Whether it must be stepped in this epoch also without input."""
        ...


@runtime_checkable
class Holding(Protocol):
    """An operator that holds rows until the watermark has passed a time."""

    def waits_until(self) -> int | None:
        """The first time that the watermark must pass for rows to come out; None: none wait."""
        ...


@runtime_checkable
class HoldingSides(Protocol):
    """An operator that holds rows of two inputs, each until the watermark of the other passes."""

    def sides_wait(self) -> list[tuple[tuple[str, ...], int]]:
        """Topics, and the first time that their watermark must pass for rows to come out."""
        ...


@runtime_checkable
class Timed(Protocol):
    """An operator that has something to say when its time has come, whatever was sent."""

    def wakes_at(self) -> int | None:
        """The next recorded time at which it must be stepped, in microseconds; None: none."""
        ...


def wants_ticks(node: Node) -> bool:
    """True for a node that decides which of its rows are late."""
    window = node.window if isinstance(node, Aggregate | SessionPanes) else node
    lateness = getattr(window, "lateness_us", None)
    return lateness is not None


def tells(node: Node) -> bool:
    """False for a node whose late rows another one tells of."""
    window = node.window if isinstance(node, Aggregate | SessionPanes) else node
    return bool(getattr(window, "tells", True))


def feeds_of(node: Node) -> tuple[Keys, ...] | None:  # noqa: PLR0911 - one for each node
    """For each input the columns whose hash the operator wants; None for a fused operator."""
    if isinstance(node, Join) and node.within is None and not node.left_keys:
        # All rows meet; that of a whole row tells apart those that are remembered.
        return (node.left.schema.names, node.right.schema.names)
    if isinstance(node, Join) and is_coded(node):
        return (None, None)
    if isinstance(node, Join | AsofJoin):
        return (node.left_keys, node.right_keys)
    if isinstance(node, Aggregate) and node.is_in_order:
        return (node.keys,)
    if isinstance(node, Distinct):
        return (node.input.schema.names,)
    if isinstance(node, SetOperation):
        return (node.left.schema.names, node.right.schema.names)
    if isinstance(node, TemporalFilter):
        return (None if node.input.append_only else node.input.schema.names,)
    if isinstance(node, Union):
        return tuple(() for _ in node.inputs)
    if isinstance(node, TopN | Over):
        return (node.partition,)
    if isinstance(node, Recompute | Process):
        return node.keys if isinstance(node, Recompute) else (node.keys,)
    if isinstance(node, Transform | Pace | Hold | Completeness):
        return (None,)
    assert isinstance(node, Aggregate | Panes | SessionPanes | Windows | MatchRecognize), (
        f"{type(node).__name__} has no operator"
    )
    return None


def counted_values(node: Node, schema: pa.Schema) -> Values | None:
    """The distinct values that a node counts by number, if it does.

    Args:
        schema: The columns of the stage below those.

    """
    # Places in the log would have to be those of the values that counted.
    return None if WEIGHT in schema.names or TICK in schema.names else values_of(node)


def fused_of(node: Node, schema: pa.Schema, engine: Engine) -> Fused:
    """The operator of an aggregate, a pattern, sessions, or of a window that decides lateness."""
    if isinstance(node, Windows):
        is_session = node.spec.kind is WindowKind.SESSION
        return (SessionsOperator if is_session else GateOperator)(node, schema, engine)
    if isinstance(node, MatchRecognize):
        return MatchOperator(node, schema, engine)
    if isinstance(node, Panes):
        return PanesOperator(node, schema, engine)
    if isinstance(node, SessionPanes):
        return SessionPanesOperator(node, schema, engine)
    assert isinstance(node, Aggregate)
    return _groups_of(node, schema, engine)


def _groups_of(node: Aggregate, schema: pa.Schema, engine: Engine) -> Fused:
    values = counted_values(node, schema)
    if values is not None:
        return DistinctCountsOperator(node, values, schema, engine)
    if node.window is None:
        return AggregateOperator(node, schema, engine)
    if node.window.spec.kind is WindowKind.SESSION:
        return SessionTotalsOperator(node, schema, engine)
    return WindowedOperator(node, schema, engine)


def operator_of(  # noqa: PLR0911, PLR0912 - one for each node
    node: Node, schemas: Sequence[pa.Schema], engine: Engine, relations: Mapping[str, OwnKeys]
) -> Operator:
    """The operator of any other node that is not linear.

    Args:
        relations: The keys of the relations that are read, by name.

    """
    if isinstance(node, Join) and node.within is not None:
        return IntervalJoinOperator(node, schemas[0], schemas[1], engine)
    if isinstance(node, Join):
        return JoinOperator(node, schemas[0], schemas[1], engine, relations)
    if isinstance(node, AsofJoin):
        return AsofOperator(node, *schemas)
    if isinstance(node, Distinct):
        return DistinctOperator(node, *schemas)
    if isinstance(node, Union):
        return UnionOperator(node, schemas)
    if isinstance(node, SetOperation):
        return SetOperator(node, schemas)
    if isinstance(node, TemporalFilter):
        return TemporalOperator(node, *schemas)
    if isinstance(node, TopN):
        return TopNOperator(node, schemas[0], engine)
    if isinstance(node, Aggregate):
        return ExtremesOperator(node, schemas[0], engine)
    if isinstance(node, Transform):
        return TransformOperator(node, schemas[0], engine)
    if isinstance(node, Process):
        return ProcessOperator(node, schemas[0], engine)
    if isinstance(node, Over):
        return OverOperator(node, engine)
    if isinstance(node, Pace):
        return PaceOperator(node, schemas[0], engine)
    if isinstance(node, Hold):
        return HoldOperator(node, schemas[0])
    if isinstance(node, Completeness):
        return CompletenessOperator(node, engine)
    assert isinstance(node, Recompute), f"{type(node).__name__} has no operator"
    return RecomputeOperator(node, schemas, engine)
