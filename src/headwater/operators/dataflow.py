"""Run a view's plan epoch by epoch.

The plan becomes a list of stages, inputs before what reads them. A stage is a scan or an
operator; the linear stretch between two stages is one DuckDB statement, which also adds the key
hash that the next operator wants, and an operator that is fused takes the stretch below it into
its own statement. A stage whose inputs have not changed is skipped, unless it says that it is due
all the same.

A node that occurs twice in a plan, as the same object, is computed once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.delta.delta import TICK, WEIGHT, Delta
from headwater.errors import StateError
from headwater.operators import render
from headwater.operators.aggregate import AggregateOperator
from headwater.operators.build import (
    Fused,
    Holding,
    HoldingSides,
    Sparing,
    Timed,
    Waiting,
    counted_values,
    feeds_of,
    fused_of,
    operator_of,
    tells,
    wants_ticks,
)
from headwater.operators.distinct_values import values_of
from headwater.operators.feed import Feed
from headwater.operators.operator import Epoch, Loader, Operator, Piecewise, Saver, hidden_of
from headwater.operators.parts import parted
from headwater.operators.statement import Engine, Rows, empty_batch, plain
from headwater.plan.frontier import Frontier
from headwater.plan.nodes import Node, Scan, walk
from headwater.plan.steps import steps_of
from headwater.plan.unique import Keys
from headwater.state.afar import whole


@dataclass(slots=True)
class _Moment:
    """One epoch on its way through the stages: what each of them put out."""

    inputs: Mapping[str, pa.Table]
    epoch: Epoch
    outputs: list[Rows]
    # The stages that put out a relation's rows without their places in the log.
    unplaced: dict[int, str] = field(default_factory=dict)

    def rows(self, stage: int) -> Rows:
        """What a stage put out, gathered."""
        self.outputs[stage] = whole(self.unread(stage))
        return self.outputs[stage]

    def unread(self, stage: int) -> Rows:
        """The same, perhaps not gathered yet: for who may read but a part of it."""
        relation = self.unplaced.pop(stage, None)
        if relation is not None:
            self.outputs[stage] = _placed(relation, self.outputs[stage], self.epoch)
        return self.outputs[stage]


class _Feed:
    """A feed, and the stage that it reads."""

    def __init__(self, feed: Feed, origin: _Stage) -> None:
        self._feed = feed
        self._origin = origin.position
        self.schema = feed.schema

    def changed(self, moment: _Moment) -> Delta:
        """What the operator is given in this epoch."""
        return self._feed.changed(moment.rows(self._origin), moment.epoch.failed)

    def answer(self, moment: _Moment) -> Delta:
        """The same, perhaps in several pieces: what the view is given."""
        return self._feed.answer(moment.rows(self._origin), moment.epoch.failed)

    def unread(self, moment: _Moment) -> Delta:
        """The same, perhaps not gathered yet: for who can do with it."""
        return self._feed.answer(moment.unread(self._origin), moment.epoch.failed)


class _ScanStage:
    """The changes of a relation, with just the columns that the plan reads."""

    def __init__(self, node: Scan, position: int) -> None:
        fields = [*plain(node.schema)]
        if not node.append_only:
            fields.append(pa.field(WEIGHT, pa.int64()))
        if node.ticks:
            fields.append(pa.field(TICK, pa.int64()))
        # A table without columns could not say how many rows it has.
        self._is_blank = not fields
        if self._is_blank:
            fields.append(pa.field(render.NOTHING, pa.bool_()))
        self._relation = node.relation
        self.position: int = position
        self.schema: pa.Schema = pa.schema(fields)
        self.operator: Operator | Fused | None = None

    def run(self, moment: _Moment) -> Rows:
        """The relation's rows of this epoch; chunked as they came."""
        table = moment.inputs.get(self._relation)
        if table is None or not table.num_rows:
            return empty_batch(self.schema)
        names = table.column_names
        if self._is_blank:
            columns = [pa.nulls(table.num_rows, pa.bool_())]
        else:
            columns = [table.column(name) for name in self.schema.names if name in names]
        if TICK in self.schema.names and TICK not in names:
            moment.unplaced[self.position] = self._relation
            return pa.Table.from_arrays(columns, schema=_without_tick(self.schema))
        return pa.Table.from_arrays(columns, schema=self.schema)


class _FusedStage:
    """An operator that reads the rows of another stage through its own statement."""

    def __init__(self, node: Node, origin: _Stage, position: int, engine: Engine) -> None:
        self._origin = origin.position
        self._adds_ticks = wants_ticks(node) and TICK not in origin.schema.names
        self._tells = tells(node)
        schema = origin.schema
        if self._adds_ticks:
            schema = _with_tick(schema)
        self._nothing = empty_batch(schema)
        self.operator = fused_of(node, schema, engine)
        self._reads_part = isinstance(self.operator, AggregateOperator) and not self._adds_ticks
        self.schema: pa.Schema = self.operator.schema
        self.position: int = position

    def run(self, moment: _Moment) -> Rows:
        """What changed in the operator's output."""
        spared = self._spared(moment)
        if spared is not None:
            return spared.rows
        rows = moment.unread(self._origin) if self._reads_part else moment.rows(self._origin)
        if rows.num_rows:
            if self._adds_ticks:
                rows = _at_tick(rows, moment.epoch.tick_last)
        elif self.operator.is_due(moment.epoch):
            rows = self._nothing
        else:
            return empty_batch(self.schema)
        epoch = moment.epoch if self._tells else replace(moment.epoch, late=[])
        return self.operator.step(rows, epoch).rows

    def _spared(self, moment: _Moment) -> Delta | None:
        """The same without the rows' places in the log, where it can be had."""
        relation, operator = moment.unplaced.get(self._origin), self.operator
        if relation is None or not isinstance(operator, Sparing):
            return None
        if operator.time_column() != moment.epoch.in_time[relation]:
            return None
        return operator.step_in_time(moment.outputs[self._origin], moment.epoch)


class _OperatorStage:
    """An operator with a feed for each of its inputs."""

    def __init__(
        self,
        node: Node,
        feeds: Sequence[_Feed],
        position: int,
        engine: Engine,
        relations: Mapping[str, Keys],
    ) -> None:
        self._feeds = feeds
        self.operator = operator_of(node, [feed.schema for feed in feeds], engine, relations)
        self._takes_pieces = isinstance(self.operator, Piecewise) and self.operator.takes_pieces
        self.schema: pa.Schema = self.operator.schema
        self.position: int = position

    def run(self, moment: _Moment) -> Rows:
        """What changed in the operator's output."""
        if self._takes_pieces:
            changes = [feed.unread(moment) for feed in self._feeds]
        else:
            changes = [feed.changed(moment) for feed in self._feeds]
        if not any(len(change) for change in changes):
            operator = self.operator
            if not (isinstance(operator, Waiting) and operator.is_due(moment.epoch)):
                return empty_batch(self.schema)
        return self.operator.step(changes, moment.epoch).rows


_Stage = _ScanStage | _FusedStage | _OperatorStage


class Dataflow:
    """A plan, running.

    Order of calls: `load` at most once and first; then `step` once per epoch; `save` between steps.

    Args:
        root: The plan. Its columns are the view's.
        engine: The DuckDB instances; several dataflows may share them, on one thread.
        has_ticks: True when what reads the view needs its rows' places in the log.
        has_hash: False when nobody needs the hash over all columns of the view.
        steps: By which frontiers what reads the view decides in steps.
        relations: The keys of the relations that are read, by name (`plan.unique`).

    """

    def __init__(  # noqa: PLR0913 - what is known of the view, by keyword
        self,
        root: Node,
        engine: Engine,
        *,
        has_ticks: bool = False,
        has_hash: bool = True,
        steps: Collection[Frontier] = (),
        relations: Mapping[str, Keys] = MappingProxyType({}),
    ) -> None:
        self._engine = engine
        self._relations = dict(relations)
        self._steps = steps_of(root) | frozenset(steps)
        self._reads = frozenset(node.relation for node in walk(root) if isinstance(node, Scan))
        self._stages: list[_Stage] = []
        self._by_node: dict[int, _Stage] = {}
        self._nodes: list[tuple[Node, _Stage]] = []
        origin = self._stage(render.bottom(root))
        hidden = [] if root.append_only else [WEIGHT]
        if has_ticks and TICK in origin.schema.names:
            hidden.append(TICK)
        self._adds_ticks = has_ticks and TICK not in hidden
        keys = root.schema.names if has_hash else None
        self._answer = _Feed(Feed(root, origin.schema, keys, hidden, engine), origin)

    @property
    def schema(self) -> pa.Schema:
        """The columns of the deltas: the view's and the hidden ones that `step` returns."""
        return _with_tick(self._answer.schema) if self._adds_ticks else self._answer.schema

    def step(self, inputs: Mapping[str, pa.Table], epoch: Epoch) -> Delta:
        """Take what changed in the relations; return what changed in the view.

        Args:
            inputs: Per relation its new rows: its columns and, as its `Scan` says, `__tick` (unless
                the epoch tells the places) and `__weight`. A relation that is not there, or empty,
                has not changed.
            epoch: The recorded facts of the epoch.

        Returns:
            The view's change, perhaps a table: its columns, `__weight` unless the plan is
            append-only, `__tick` if it was asked for, and `__hash` over all columns of the view if
            it was.

        """
        read = {name: rows for name, rows in inputs.items() if name in self._reads}
        if self._steps:
            # A part of an epoch is told by its rows' places.
            read = {name: _placed(name, rows, epoch) for name, rows in read.items()}
        changes = [self._part(*part) for part in parted(read, epoch, self._steps)]
        if len(changes) == 1:
            return changes[0]
        return Delta(pa.concat_tables([change.table() for change in changes]))

    def save(self, saver: Saver) -> Any:
        """Hand over the state of all operators; return a JSON value from which `load` finds it."""
        return [stage.operator.save(saver) for stage in self._stages if stage.operator is not None]

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take back what `save` handed over.

        Raises:
            StateError: It was handed over by another plan.

        """
        operators = [stage.operator for stage in self._stages if stage.operator is not None]
        if len(manifest) != len(operators):
            raise StateError(
                f"the checkpoint holds the state of {len(manifest)} operators, "
                f"the plan has {len(operators)}",
                hint="rebuild the view from its topics",
            )
        for operator, part in zip(operators, manifest, strict=True):
            operator.load(part, loader)

    def state_size(self) -> tuple[int, int]:
        """Rows and bytes that the operators remember."""
        sizes = [s.operator.state_size() for s in self._stages if s.operator is not None]
        return sum(rows for rows, _ in sizes), sum(size for _, size in sizes)

    def waits(self) -> list[tuple[Node, int, tuple[str, ...] | None]]:
        """The nodes that hold rows, and the first time that a watermark must reach for each.

        Returns:
            With each the topics of this watermark, where a node waits for more than one.

        """
        found: list[tuple[Node, int, tuple[str, ...] | None]] = []
        for node, stage in self._nodes:
            operator: Any = stage.operator
            if isinstance(operator, HoldingSides):
                found += [(node, time_us, topics) for topics, time_us in operator.sides_wait()]
            elif isinstance(operator, Holding):
                time_us = operator.waits_until()
                found += [] if time_us is None else [(node, time_us, None)]
        return found

    def wakes_at(self) -> int | None:
        """The next recorded time at which there is something to say; None: there is none."""
        found: list[int] = []
        for stage in self._stages:
            operator: Any = stage.operator
            time_us = operator.wakes_at() if isinstance(operator, Timed) else None
            found += [] if time_us is None else [time_us]
        return min(found, default=None)

    def _part(self, inputs: Mapping[str, pa.Table], epoch: Epoch) -> Delta:
        """What changed in an epoch, or in a part of one."""
        moment = _Moment(inputs, epoch, [])
        for stage in self._stages:
            moment.outputs.append(stage.run(moment))
        change = self._answer.answer(moment)
        return Delta(_at_tick(change.rows, epoch.tick_last)) if self._adds_ticks else change

    def _stage(self, node: Node) -> _Stage:
        """The stage of a node that is not linear, built on its inputs' stages."""
        known = self._by_node.get(id(node))
        if known is not None:
            return known
        stage = self._built(node)
        self._stages.append(stage)
        self._nodes.append((node, stage))
        self._by_node[id(node)] = stage
        return stage

    def _built(self, node: Node) -> _Stage:
        if isinstance(node, Scan):
            return _ScanStage(node, len(self._stages))
        values = values_of(node)
        if values is not None:
            # What would remember the values is part of the operator.
            origin = self._stage(render.bottom(values.rows))
            if counted_values(node, origin.schema) is not None:
                return _FusedStage(node, origin, len(self._stages), self._engine)
        origins = [self._stage(render.bottom(child)) for child in node.inputs]
        position = len(self._stages)
        keys = feeds_of(node)
        if keys is None:
            return _FusedStage(node, origins[0], position, self._engine)
        feeds = [
            _Feed(
                Feed(child, origin.schema, columns, hidden_of(origin.schema), self._engine), origin
            )
            for child, origin, columns in zip(node.inputs, origins, keys, strict=True)
        ]
        return _OperatorStage(node, feeds, position, self._engine, self._relations)


def _placed(relation: str, rows: Rows, epoch: Epoch) -> Rows:
    """Rows of a relation with their places in the log, which the epoch may have to tell."""
    if TICK in rows.schema.names or relation not in epoch.places:
        return rows
    return rows.append_column(pa.field(TICK, pa.int64()), epoch.places[relation]())


def _without_tick(schema: pa.Schema) -> pa.Schema:
    return schema.remove(schema.get_field_index(TICK))


def _with_tick(schema: pa.Schema) -> pa.Schema:
    return schema.append(pa.field(TICK, pa.int64()))


def _at_tick(rows: Rows, tick: int) -> Rows:
    """Rows that an operator made, and gave no place, stand at the end of their epoch."""
    ticks = pa.array(np.full(rows.num_rows, tick, dtype=np.int64))
    return rows.append_column(pa.field(TICK, pa.int64()), ticks)
