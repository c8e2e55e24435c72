"""Find the row of a key, as somebody outside asks for it: in a fraction of a millisecond.

The key's hash is that of the table's own statement, computed by a DuckDB beside the engine's, which
is the epoch thread's alone.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from headwater.delta.delta import UInt64Array
from headwater.errors import DefinitionError
from headwater.operators.feed import KeyHash
from headwater.operators.statement import Engine, plain
from headwater.schema.schema import Schema

# A key: the value of its column, those of several in their order, or all by name.
Key = Any


class Lookup:
    """Makes keys of one table ready to be looked up. Safe to use from many threads.

    Args:
        name: The table's, for messages.
        schema: Its columns.
        keys: Its primary key.

    """

    def __init__(self, name: str, schema: Schema, keys: Sequence[str]) -> None:
        self.schema = schema
        self._name = name
        self._keys = tuple(keys)
        self._fields = plain(schema.select(self._keys))
        self._engine = Engine()
        self._hash = KeyHash(list(keys), schema, self._engine)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Let go of the DuckDB."""
        with self._lock:
            self._engine.close()

    def key(self, key: Key) -> tuple[pa.RecordBatch, UInt64Array]:
        """One key as a batch, and its hash.

        Args:
            key: As the column has it, or as text.

        Raises:
            DefinitionError: It is not a key of this table.

        """
        values = self._values(key)
        columns = [self._column(field, values[field.name.lower()]) for field in self._fields]
        batch = pa.RecordBatch.from_arrays(columns, schema=self._fields)
        with self._lock:
            return batch, self._hash.of(batch).to_numpy()

    def _values(self, key: Key) -> dict[str, Any]:
        """The key's values by name in lower case."""
        names = [name.lower() for name in self._keys]
        if isinstance(key, Mapping):
            given = {str(name).lower(): value for name, value in key.items()}
        elif isinstance(key, tuple | list):
            given = dict(zip(names, key, strict=False)) if len(key) == len(names) else {}
        else:
            given = {names[0]: key} if len(names) == 1 else {}
        if set(given) != set(names):
            raise DefinitionError(
                f"the key of {self._name} is {', '.join(self._keys)}",
                hint="give a value for each of these, and for nothing else",
            )
        return given

    def _column(self, field: pa.Field, value: Any) -> pa.Array:
        try:
            if isinstance(value, str) and not pa.types.is_string(field.type):
                return pa.array([value]).cast(field.type)
            return pa.array([value], field.type)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
            raise DefinitionError(
                f"{value!r} is no {field.name} of {self._name}, which is {field.type}",
                hint="give the key as it stands in the table",
            ) from None
