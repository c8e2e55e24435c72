"""A checkpoint in memory, for tests of what is saved and loaded."""

from __future__ import annotations

import pyarrow as pa


class MemoryCheckpoint:
    """Keeps batches as bytes, as a checkpoint on a disk does. A saver and a loader."""

    def __init__(self) -> None:
        self._bytes: dict[str, pa.Buffer] = {}
        self.kept: list[str] = []

    def put(self, batch: pa.RecordBatch) -> str:
        """Store a batch; return its name."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)
        name = f"state/{len(self._bytes)}"
        self._bytes[name] = sink.getvalue()
        return name

    def keep(self, name: str) -> None:
        """Note that a batch is still needed."""
        assert name in self._bytes, f"{name} was never put"
        self.kept.append(name)

    def stored(self, name: str) -> pa.RecordBatch:
        """The batch called `name`, in read-only memory."""
        return self.get(name)

    def get(self, name: str) -> pa.RecordBatch:
        """The batch called `name`, in read-only memory."""
        return pa.ipc.open_file(self._bytes[name]).get_batch(0)
