"""Find the row of a key, as somebody outside asks for it: in a fraction of a millisecond.

The key's hash is that of the table's own statement, computed by a DuckDB beside the engine's, which
is the epoch thread's alone. That of one whole number DuckDB needs longer for than a row is looked
for; it is computed here, if that gives what DuckDB says of some numbers.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.delta.delta import UInt64Array
from headwater.errors import DefinitionError
from headwater.operators.feed import KeyHash
from headwater.operators.statement import Engine, plain
from headwater.schema.schema import Schema

# DuckDB's hash of a whole number: MurmurHash's last step (Appleby), with these.
_HASH_FACTOR, _HASH_SHIFT = 0xD6E8FEB86659FD93, 32
_HASH_MASK = (1 << 64) - 1
# Narrower numbers are widened before.
_HASHED_BITS_MIN = 32

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
        self._bits = self._number_bits()

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
        value = columns[0][0].as_py() if self._bits else None
        if value is not None:
            return batch, np.array([_hash_of_number(value, self._bits)], dtype=np.uint64)
        with self._lock:
            return batch, self._hash.of(batch).to_numpy()

    def _number_bits(self) -> int:
        """How wide the key is when it is hashed, if it is one whole number; otherwise 0."""
        kind = self._fields.field(0).type
        if len(self._keys) > 1 or not pa.types.is_integer(kind):
            return 0
        count = 1 << kind.bit_width
        least = -count // 2 if pa.types.is_signed_integer(kind) else 0
        numbers = [0, 1, *range(least, least + count, count // 7), least + count - 1]
        batch = pa.RecordBatch.from_arrays([pa.array(numbers, kind)], schema=self._fields)
        hashes, bits = self._hash.of(batch).to_pylist(), max(kind.bit_width, _HASHED_BITS_MIN)
        return bits if hashes == [_hash_of_number(n, bits) for n in numbers] else 0

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


def _hash_of_number(number: int, bits: int) -> int:
    found = number & ((1 << bits) - 1)
    for _ in range(2):
        found = ((found ^ (found >> _HASH_SHIFT)) * _HASH_FACTOR) & _HASH_MASK
    return found ^ (found >> _HASH_SHIFT)
