"""What a reader sees: a view at one moment is the sum of its changes up to that moment."""

from __future__ import annotations

from collections import Counter
from random import Random

from headwater.runtime.runtime import Runtime
from simulation.world import ALL, Wrong

# Of so many looks one reads all views.
_SHARE = 0.3


def look(runtime: Runtime, random: Random) -> None:
    """Read now and then what is visible, while epochs go on."""
    if random.random() > _SHARE:
        return
    visible = runtime.loop.visible
    for view in runtime.loop.stepper.views:
        content = visible.contents[view.name]
        rows = [row for batch in content.batches() for row in batch.to_pylist()]
        if content.count() != len(rows):
            raise Wrong(f"{view.name} counts {content.count()} rows, and has {len(rows)}")
        wanted: Counter = Counter()
        for change in view.changes.read(0, ALL).to_pylist():
            if change.pop("_epoch") <= visible.epoch:
                del change["_offset"]
                weight = change.pop("_weight")
                wanted[tuple(change.values())] += weight
        if Counter(tuple(row.values()) for row in rows) != +wanted:
            raise Wrong(f"{view.name} is not the sum of its changes up to epoch {visible.epoch}")
