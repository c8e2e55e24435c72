"""Change the columns of a topic, between two epochs, in all that holds its rows.

The log's rows are read with the new columns from then on and stay as they are; views that do not
read a column that changed do not notice. What a table holds is put into a table of the new columns,
row by row: that costs its content.

A change stands at a place in the journal, behind the epochs of all rows before it and in front of
those after it, and recovery makes it at the same place: so what comes out is the same again.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow as pa

from headwater.delta.delta import TICK
from headwater.operators.statement import Engine
from headwater.plan.pipeline import TopicDefinition
from headwater.runtime.stepper import Stepper
from headwater.runtime.table import TableRunner


def evolve(
    stepper: Stepper, definition: TopicDefinition, engine: Engine, stepwise: Collection[str]
) -> None:
    """Give a topic the newest columns of `definition`. Nobody may append or step meanwhile.

    Args:
        stepwise: The tables over whose rows some view decides lateness.

    """
    topic = stepper.topics[definition.name].evolved(definition)
    table = stepper.tables.get(definition.name)
    if table is not None:
        table = evolved_table(table, definition, engine, is_stepwise=definition.name in stepwise)
    stepper.evolve(topic, table)


def evolved_table(
    table: TableRunner, definition: TopicDefinition, engine: Engine, *, is_stepwise: bool
) -> TableRunner:
    """A table of the new columns that holds the same rows."""
    assert definition.versions is not None
    reading = definition.versions.reading(table.definition.version)
    assert reading is not None
    is_read = table.is_read
    fresh = TableRunner(definition, engine, is_read=is_read, is_stepwise=is_stepwise)
    for batch in table.known():
        rows = reading.read(batch)
        ticks = pa.array(np.zeros(rows.num_rows, dtype=np.int64))
        names = [*rows.schema.names, TICK]
        placed = pa.Table.from_arrays([*rows.columns, ticks], names=names)
        if is_read:
            fresh.step(placed)
        else:
            fresh.put(placed)
    return fresh
