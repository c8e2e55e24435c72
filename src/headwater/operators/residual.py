"""The further condition of a join, tested over pairs of rows before any row is gathered.

Only the columns that it reads are brought together. Comparisons of a column of one side with one of
the other, both whole numbers or both times, are done in numpy; anything else is a DuckDB statement.
Pairs without a key are all pairs: when they are many, DuckDB finds those that meet the condition
(it knows how to sort for an inequality), and never holds them all.

A pair that the condition refuses (a failed cast) does not match, and is one of the failed rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlglot import exp

from headwater.delta.delta import TICK, WEIGHT, Int64Array
from headwater.errors import RecordError
from headwater.operators import render
from headwater.operators.isolate import isolating
from headwater.operators.masks import COMPARED
from headwater.operators.sides import Side, is_stretch, weighed
from headwater.operators.statement import Engine, Statement, plain
from headwater.schema.schema import Schema
from headwater.state.equality import BoolArray, taken
from headwater.state.matching import Accept
from headwater.state.run import Run
from headwater.state.zones import EVERYWHERE, Near, bounds_of, has_zones

# Whether rows on the left of a comparison bound those on its right from below, and from above.
_LIMITED: dict[type[exp.Expr], tuple[bool, bool]] = {
    exp.EQ: (True, True),
    exp.LT: (True, False),
    exp.LTE: (True, False),
    exp.GT: (False, True),
    exp.GTE: (False, True),
}
_LEFT, _RIGHT = "left_rows", "right_rows"


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of a left and a right row.

    Args:
        left: Rows of the left side.
        left_at: The left row of each pair; None for all rows in order.
        right: Rows of the right side.
        right_at: The right row of each pair; None for all rows in order.
        weights: How often each pair came or, below zero, went; asked only of what fails.

    """

    left: pa.RecordBatch
    left_at: Int64Array | None
    right: pa.RecordBatch
    right_at: Int64Array | None
    weights: Callable[[], Int64Array | None]

    def __len__(self) -> int:
        if self.left_at is None:
            return int(self.left.num_rows)
        return len(self.left_at)

    def column(self, name: str) -> pa.Array:
        """A column of either side, pair by pair."""
        return taken(*self._side(name))

    def numbers(self, name: str) -> Any:
        """The same of a column whose values are numbers inside; those of nulls are anything."""
        column, at = self._side(name)
        return _numbers(column) if at is None else _numbers(column).take(at)

    def valid(self, name: str) -> BoolArray | None:
        """In which pairs a column is not null; None: in all."""
        column, at = self._side(name)
        if not column.null_count:
            return None
        valid = np.asarray(pc.is_valid(column).to_numpy(zero_copy_only=False), dtype=np.bool_)
        return valid if at is None else valid.take(at)

    def _side(self, name: str) -> tuple[pa.Array, Int64Array | None]:
        if name in self.left.schema.names:
            return self.left.column(name), self.left_at
        return self.right.column(name), self.right_at


class Residual:
    """A condition over pairs of rows.

    Args:
        condition: Over the columns of both sides.
        left: The left side's columns.
        right: The right side's columns, of other names.

    """

    def __init__(
        self, condition: exp.Expression, left: Schema, right: Schema, engine: Engine
    ) -> None:
        names = dict.fromkeys(c.name for c in condition.find_all(exp.Column))
        self.left = tuple(name for name in names if name in left)
        self.right = tuple(name for name in names if name in right)
        self._sides = left.select(self.left), right.select(self.right)
        self._condition, self._engine = condition, engine
        self._terms = _terms(condition, *self._sides)
        self._tested: Statement | None = None
        self._searched: Statement | None = None

    @property
    def asks_duckdb(self) -> bool:
        """Whether DuckDB tests the pairs, which one thread may ask at a time."""
        return self._terms is None

    def holds(self, pairs: Pairs, failed: list[pa.RecordBatch]) -> BoolArray:
        """Of which pairs the condition is true."""
        if self._terms is None:
            return self._asked(pairs, failed)
        names = dict.fromkeys(c.name for term in self._terms for c in (term.this, term.expression))
        numbers = {name: pairs.numbers(name) for name in names}
        mask = np.ones(len(pairs), dtype=np.bool_)
        for term in self._terms:
            mask &= COMPARED[type(term)](numbers[term.this.name], numbers[term.expression.name])
        for name in names:
            valid = pairs.valid(name)
            mask &= True if valid is None else valid
        return mask

    def near(self, rows: pa.RecordBatch, *, is_left: bool) -> list[Near]:
        """What rows of the other side have in common that match any of these.

        Args:
            rows: Rows of one side.
            is_left: Which.

        """
        limits: dict[str, tuple[int, int]] = {}
        known: dict[str, tuple[int, int]] = {}
        names = self.left if is_left else self.right
        for term in self._terms or ():
            mine, other = term.this.name, term.expression.name
            sides = _LIMITED.get(type(term), (False, False))
            if mine not in names:
                mine, other, sides = other, mine, sides[::-1]
            if (mine in names) is (other in names) or not has_zones(rows.schema.field(mine).type):
                continue
            if mine not in known:
                known[mine] = bounds_of(rows.column(mine))
            low, high = limits.get(other, EVERYWHERE)
            # What is above the least of these, what is below the greatest.
            low = max(low, known[mine][0]) if sides[0] else low
            high = min(high, known[mine][1]) if sides[1] else high
            limits[other] = (low, high)
        return [Near(name, *found) for name, found in limits.items() if found != EVERYWHERE]

    def found(self, left: pa.RecordBatch, right: pa.RecordBatch) -> tuple[Int64Array, Int64Array]:
        """All pairs of rows of which the condition is true, in no order.

        Raises:
            RecordError: It refuses a pair.

        """
        if self._searched is None:
            self._searched = self._search()
        rows = {
            name: side.select(list(schema.names)).append_column(TICK, pa.array(_places(side)))
            for name, side, schema in zip((_LEFT, _RIGHT), (left, right), self._sides, strict=True)
        }
        answer = self._searched.run(**rows)
        return answer.column(0).to_numpy(), answer.column(1).to_numpy()

    def _asked(self, pairs: Pairs, failed: list[pa.RecordBatch]) -> BoolArray:
        if self._tested is None:
            self._tested = self._test()
        names = [*self.left, *self.right]
        columns = [pairs.column(name) for name in names] or [pa.nulls(len(pairs), pa.bool_())]
        names = names or [render.NOTHING]
        rows = pa.RecordBatch.from_arrays(columns, names)
        try:
            return _as_mask(self._tested.run(input=rows))
        except RecordError:
            return self._isolated(rows, pairs.weights(), failed)

    def _isolated(
        self, rows: pa.RecordBatch, weights: Int64Array | None, failed: list[pa.RecordBatch]
    ) -> BoolArray:
        """The same without the pairs that the condition refuses."""
        names = rows.schema.names
        statement = self._tested
        assert statement is not None
        marked = rows.append_column(TICK, pa.array(_places(rows)))
        if weights is not None:
            marked = marked.append_column(WEIGHT, pa.array(weights))
        answer, good = isolating(
            lambda some: statement.run(input=some.select(names)), marked, failed
        )
        mask = np.zeros(rows.num_rows, dtype=np.bool_)
        mask[good.column(TICK).to_numpy()] = _as_mask(answer)
        return mask

    def _test(self) -> Statement:
        schema = Schema((*self._sides[0], *self._sides[1]))
        typed = render.select(render.typed(schema), render.INPUT, None)
        holds = exp.Coalesce(this=self._condition.copy(), expressions=[exp.false()])
        query = render.select([render.named(holds, "holds")], typed, None)
        fields = plain(schema) if schema.names else pa.schema([(render.NOTHING, pa.bool_())])
        return Statement(self._engine, query, {render.INPUT: fields}, is_ordered=False)

    def _search(self) -> Statement:
        sources, inputs, places = [], {}, []
        for name, schema in zip((_LEFT, _RIGHT), self._sides, strict=True):
            place = render.named(render.column(TICK), f"{name}_at")
            rows = render.select([*render.typed(schema), place], name, None)
            sources.append(rows.subquery(f"{name}_typed", copy=False))
            inputs[name] = plain(schema).append(pa.field(TICK, pa.int64()))
            places.append(render.column(f"{name}_at"))
        query = exp.Select(expressions=places).from_(sources[0], copy=False)
        query.append("joins", exp.Join(this=sources[1], on=self._condition.copy()))
        return Statement(self._engine, query, inputs, is_ordered=False)


def accepting(
    residual: Residual,
    side: Side,
    failed: list[pa.RecordBatch],
    *,
    is_left: bool,
    is_weighted: bool,
) -> Accept:
    """Test the pairs of a side's rows with those of a run.

    Args:
        failed: Gets the pairs that the condition refuses.
        is_weighted: Whether what is withdrawn may be among them.

    """

    def accept(probes: Int64Array, run: Run, places: Int64Array) -> BoolArray:
        def weights() -> Int64Array | None:
            if not is_weighted:
                return None
            return weighed(side.weights, probes, run.weights_at(places))

        own, rows = probes, side.rows
        at: Int64Array | None = own
        if is_stretch(own):
            at, rows = None, rows.slice(own[0], len(own))
        if is_left:
            pairs = Pairs(rows, at, run.rows, places, weights)
        else:
            pairs = Pairs(run.rows, places, rows, at, weights)
        return residual.holds(pairs, failed)

    return accept


def _terms(condition: exp.Expr, left: Schema, right: Schema) -> list[exp.Binary] | None:
    """The condition as comparisons that numpy does; None where it is something else."""
    condition = condition.unnest()
    if isinstance(condition, exp.And):
        parts = [_terms(part, left, right) for part in (condition.this, condition.expression)]
        return None if None in parts else [term for part in parts for term in part or ()]
    if isinstance(condition, exp.Between) and not condition.args.get("symmetric"):
        low, high = condition.args["low"], condition.args["high"]
        bounds = exp.and_(
            exp.GTE(this=condition.this.copy(), expression=low.copy()),
            exp.LTE(this=condition.this.copy(), expression=high.copy()),
        )
        return _terms(bounds, left, right)
    if type(condition) not in COMPARED:
        return None
    assert isinstance(condition, exp.Binary)
    kinds = [_kind(side, left, right) for side in (condition.this, condition.expression)]
    return [condition] if kinds[0] is not None and kinds[0] == kinds[1] else None


def _kind(side: exp.Expr, left: Schema, right: Schema) -> pa.DataType | None:
    """The type of a column whose values are numbers inside, in the order of their own."""
    if not isinstance(side, exp.Column):
        return None
    kind = (left if side.name in left else right)[side.name].type.arrow
    is_number = pa.types.is_integer(kind) or pa.types.is_timestamp(kind)
    return kind if is_number or pa.types.is_date32(kind) else None


def _numbers(column: pa.Array) -> Any:
    """The values as numbers; those of nulls are anything."""
    kind = column.type
    if not pa.types.is_integer(kind):
        column = column.view(pa.int32() if pa.types.is_date32(kind) else pa.int64())
    return (pc.fill_null(column, 0) if column.null_count else column).to_numpy()


def _as_mask(answer: pa.RecordBatch) -> BoolArray:
    return np.asarray(answer.column(0).to_numpy(zero_copy_only=False), dtype=np.bool_)


def _places(rows: pa.RecordBatch) -> Int64Array:
    return np.arange(rows.num_rows, dtype=np.int64)


def read_by(condition: exp.Expression | None, side: Schema) -> Sequence[str]:
    """The columns of a side that a condition reads."""
    if condition is None:
        return ()
    return tuple(dict.fromkeys(c.name for c in condition.find_all(exp.Column) if c.name in side))
