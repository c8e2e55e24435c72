"""What an author wrote in Python, as part of a pipeline: functions for SQL, and whole steps.

A definition holds the author's own function. Plans name it and carry the fingerprint of its code,
so that they stay plain data; who runs a plan looks the function up by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from headwater.schema.schema import Schema
from headwater.schema.types import DataType


@dataclass(frozen=True, slots=True)
class FunctionDefinition:
    """A scalar function that the SQL of views can call.

    Args:
        name: As SQL spells it; compared without regard to case.
        parameters: Their names and types; at least one.
        call: Takes an Arrow array for each parameter, all of one length, and returns an array of
            that length. Row by row: a row's result depends on that row alone.

    """

    name: str
    parameters: Schema
    returns: DataType
    call: Callable[..., Any]


class StepKind(StrEnum):
    """What a step of the author's does."""

    TRANSFORM = "transform"
    PROCESS = "process"


class RowOrder(StrEnum):
    """In which order a process is given the rows of a key."""

    LOG = "log"
    TIME = "time"


@dataclass(frozen=True, slots=True)
class PythonStep:
    """A view that Python computes from the rows of the view's query.

    Args:
        call: Of a transform a function from batch to batch; of a process what is called with each
            row (see `operators.keyed`).
        schema: The columns of the view.
        keys: Of a process the query's columns that tell its keys apart.
        order: Of a process the order of its rows.
        event_time: The column of the view that carries an event time, or None.
        code: The fingerprint of the code; empty until the pipeline is compiled.

    """

    kind: StepKind
    call: Any
    schema: Schema
    keys: tuple[str, ...] = ()
    order: RowOrder = RowOrder.LOG
    event_time: str | None = None
    code: str = ""

    @property
    def tells_rows(self) -> bool:
        """Whether a transform says, in a column `_row`, which row it made each of its rows of."""
        return self.kind is StepKind.TRANSFORM and self.event_time is not None

    @property
    def has_timers(self) -> bool:
        """Whether it can be called at a time."""
        return hasattr(self.call, "timer")
