"""An epoch in parts, each of which ends at the place in the log where a frontier takes a step.

See `plan.steps` for why. The parts depend on the watermarks' curves alone, so however the log is
cut into epochs, each of its rows is in a part with none but rows of the same step.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa

from headwater.delta.delta import TICK, Int64Array
from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL, WatermarkCurve
from headwater.operators.operator import Epoch
from headwater.plan.frontier import Frontier

Inputs = Mapping[str, pa.Table]


def parted(
    inputs: Inputs, epoch: Epoch, steps: Collection[Frontier]
) -> Iterator[tuple[Inputs, Epoch]]:
    """The parts of an epoch, in order; the epoch itself where no frontier takes a step in it.

    Args:
        inputs: Rows with their places in the log, in any order.
        steps: Frontiers that go in steps.

    """
    places = _ends(epoch, steps) if steps else ()
    if not len(places):
        yield inputs, epoch
        return
    bounds = [BEFORE_ALL, *places, AFTER_ALL]
    cut = {name: _cut(rows, np.array(places)) for name, rows in inputs.items() if rows.num_rows}
    for number, (after, last) in enumerate(itertools.pairwise(bounds)):
        part = {name: rows[number] for name, rows in cut.items() if rows[number].num_rows}
        yield part, _between(epoch, after, last)


def _ends(epoch: Epoch, steps: Collection[Frontier]) -> list[int]:
    """The places before the epoch's last at which a frontier takes a step, ascending."""
    curves = [epoch.passed(frontier) for frontier in steps]
    curves += [
        epoch.closing(f).in_steps(f.step_us, f.phase_us) for f in steps if f.sources in epoch.ready
    ]
    ticks = np.concatenate([curve.ticks for curve in curves])
    return sorted(set(ticks[ticks < epoch.tick_last].tolist()))


def _cut(rows: pa.Table, places: Int64Array) -> list[pa.Table]:
    """The rows up to and with each of the places, and those after the last."""
    part = np.searchsorted(places, rows.column(TICK).to_numpy(), side="left")
    if not (part[1:] >= part[:-1]).all():
        order = np.argsort(part, kind="stable")
        rows, part = rows.take(pa.array(order)), part[order]
    bounds = [0, *np.searchsorted(part, np.arange(len(places)), side="right").tolist(), len(part)]
    return [rows.slice(low, high - low) for low, high in itertools.pairwise(bounds)]


def _between(epoch: Epoch, after: int, last: int) -> Epoch:
    """The facts of the part after one place, up to and with another."""
    return replace(
        epoch,
        tick_last=min(last, epoch.tick_last),
        watermarks=_all_between(epoch.watermarks, after, last),
        ready=_all_between(epoch.ready, after, last),
    )


def _all_between(
    curves: Mapping[tuple[str, ...], WatermarkCurve], after: int, last: int
) -> dict[tuple[str, ...], WatermarkCurve]:
    return {sources: curve.between(after, last) for sources, curve in curves.items()}
