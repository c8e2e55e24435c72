"""What an author wrote in Python, as part of a pipeline: functions for SQL, and whole steps.

A definition holds the author's own function. Plans name it and carry the fingerprint of its code,
so that they stay plain data; who runs a plan looks the function up by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
