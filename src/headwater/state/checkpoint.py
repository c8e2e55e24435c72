"""How remembered rows get into a checkpoint and back.

What is handed over are immutable batches, so that a batch which did not change since the last
checkpoint is not written again: the new checkpoint just names it.
Where memory is short a large one is from then on mapped from its file, so that state may exceed
memory: the system takes pages of files back when it needs them, and reads them again.
"""

from __future__ import annotations

from typing import Protocol

import pyarrow as pa

# Smaller batches stay where they are: a mapping costs more than their memory.
MAPPED_BYTES_MIN = 1 << 20


class Saver(Protocol):
    """Takes operator state into a checkpoint."""

    def put(self, batch: pa.RecordBatch) -> str:
        """Store an immutable batch; return the name by which a later checkpoint can `keep` it."""
        ...

    def keep(self, name: str) -> None:
        """Say that a batch stored for an earlier checkpoint still belongs to this one."""
        ...

    def stored(self, name: str) -> pa.RecordBatch | None:
        """Such a batch, mapped, to be held in place of what was put; None: that may stay."""
        ...


class Loader(Protocol):
    """Gives operator state back from a checkpoint."""

    def get(self, name: str) -> pa.RecordBatch:
        """The batch that was put under `name`, mapped and not copied."""
        ...
