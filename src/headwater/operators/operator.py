"""What an operator is: deltas in, a delta out.

An operator has no clock, no I/O and no randomness. What it puts out depends on the deltas it was
given, on how they were cut into epochs, and on the epoch's recorded facts; so recovery, which steps
through the recorded epochs again, gets the same rows with the same bits. Its output, summed over
all epochs, does not depend on the cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from headwater.delta.delta import TICK, WEIGHT, Delta
from headwater.delta.watermark import Shares, WatermarkCurve
from headwater.plan.frontier import Frontier
from headwater.state.checkpoint import Loader, Saver

__all__ = ["Epoch", "Loader", "Operator", "Saver", "hidden_of"]


@dataclass(slots=True)
class Epoch:
    """The recorded facts of the epoch that is being computed.

    Args:
        number: Its number.
        time_us: Its processing time, as the journal has it.
        tick_last: The last place in the log's order that the epoch takes in.
        watermarks: The curve of each set of topics that the plan decides lateness by: no event
            before it is expected.
        ready: The same for the sets that are ready earlier than they are complete: windows close by
            it, and are corrected until `watermarks` has passed them.
        shares: For the sets that somebody asks how complete they are: for each topic how far its
            partitions or senders are at the end of the epoch.
        in_time: The topics of which no row came after its time had passed, by the lowest watermark
            of any set that the topic is in; and the column that has their rows' times.
        places: Of topics whose rows come without their places in the log: what tells them, where
            they are needed.
        late: Where operators put the rows that came too late, in the order they found them.
        failed: The same for the rows that an expression refused (`isolate`).

    """

    number: int
    time_us: int
    tick_last: int
    watermarks: Mapping[tuple[str, ...], WatermarkCurve]
    late: list[pa.RecordBatch] = field(default_factory=list)
    failed: list[pa.RecordBatch] = field(default_factory=list)
    ready: Mapping[tuple[str, ...], WatermarkCurve] = field(default_factory=dict)
    shares: Mapping[tuple[str, ...], Sequence[Shares]] = field(default_factory=dict)
    in_time: Mapping[str, str] = field(default_factory=dict)
    places: dict[str, Callable[[], pa.ChunkedArray]] = field(default_factory=dict)

    def passed(self, frontier: Frontier) -> WatermarkCurve:
        """How a frontier ran along the epoch."""
        curve = self.watermarks[frontier.sources].behind(frontier.behind_us)
        return curve.in_steps(frontier.step_us, frontier.phase_us)

    def closing(self, frontier: Frontier) -> WatermarkCurve:
        """The curve by which windows with this frontier close: it does not go in steps."""
        sources = frontier.sources
        return (self.ready.get(sources) or self.watermarks[sources]).behind(frontier.behind_us)


class Operator(Protocol):
    """Keeps one plan node's answer up to date.

    Order of calls: `load` at most once and first; then `step` once per epoch; `save` between steps.

    Attributes:
        schema: The columns of what `step` returns, hidden ones included.

    """

    schema: pa.Schema

    def step(self, inputs: Sequence[Delta], epoch: Epoch) -> Delta:
        """Take what changed in the inputs; return what changed in the output.

        Called also when all inputs are empty if the watermark moved. Added to all that was returned
        before, the result is what the node's query answers over the whole input so far.
        """
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
class Piecewise(Protocol):
    """An operator that knows whether its inputs may be tables of several batches."""

    takes_pieces: bool


def hidden_of(schema: pa.Schema) -> list[str]:
    """The hidden columns of a stage's output that its readers pass on."""
    return [name for name in (WEIGHT, TICK) if name in schema.names]
