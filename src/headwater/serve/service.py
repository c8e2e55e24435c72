"""What the HTTP API needs of a running pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import pyarrow as pa

from headwater.runtime.consumers import Consumers
from headwater.runtime.evolution import Evolution, VersionStatus
from headwater.runtime.status import ProducerStatus, Receipt, Resent, Status


class Service(Protocol):
    """A running pipeline. Safe to call from many threads. Raises only `HeadwaterError`s.

    An unknown name is a `DefinitionError` whose hint lists the names that are near.
    """

    def send_bytes(  # noqa: PLR0913 - what is sent, where to, and by whom
        self,
        topic: str,
        body: bytes,
        form: str,
        partition: int,
        *,
        producer: str | None = None,
        sequence: int | None = None,
    ) -> Receipt:
        """Validate and append; return when it is durable. Blocks.

        Args:
            form: `json` (an object or an array of objects), `ndjson`, `csv` (with a header line) or
                `arrow` (an IPC stream).
            producer, sequence: Who sends, and its number for this batch: both or neither. A batch
                that the producer sent before is not appended again.

        """
        ...

    def producers(self, topic: str, producer: str | None) -> list[ProducerStatus]:
        """Who has sent to a topic under a name (or this one), and up to which number."""
        ...

    def rejected(self, topic: str, offset_from: int, rows_max: int) -> pa.Table:
        """Rejected rows from an offset on, with `_offset` and `_sent_again`; maybe none."""
        ...

    def send_rejected(
        self,
        topic: str,
        rows: bytes | None,
        *,
        offsets: tuple[int, int] | None,
        form: str | None,
        partition: int,
    ) -> Resent:
        """Send rejected rows again, each once; return when they are durable. Blocks.

        Args:
            rows: Repaired ones that take the place of those at `offsets`; None for all that wait.

        """
        ...

    def rows(self, topic: str, offset_from: int, rows_max: int, partition: int) -> pa.Table:
        """Accepted rows from an offset on, with `_partition`, `_offset`, `_arrived`; maybe none.

        The metadata `offset_first` of the schema says which is the first offset there is.
        """
        ...

    def content(self, name: str, rows_max: int | None) -> pa.Table:
        """What a view or table holds after the last committed epoch, in its order if it has one."""
        ...

    def row(self, table: str, key: Mapping[str, str]) -> pa.Table | None:
        """The row of a key, its values by column and as text; None where there is none."""
        ...

    def delete(self, table: str, key: Mapping[str, str]) -> Receipt:
        """Delete the row of a key; return when it is durable. Blocks.

        Args:
            key: Its values by column and as text, and where there are versions the deletion's.

        """
        ...

    def changes(self, view: str, offset_from: int, rows_max: int, wait_seconds: float) -> pa.Table:
        """Changes from an offset on, with `_weight`, `_epoch` and `_offset`, in order.

        Waits up to `wait_seconds` for the first; may be empty. Whole epochs, so it may exceed
        `rows_max`.
        """
        ...

    def query(self, sql: str) -> pa.Table:
        """Answer one read-only SELECT over topics, tables, views and what they left out.

        That is `name$rejected`, `name$late` and `name$failed`.

        Without access to files or the network, whatever the query says.
        """
        ...

    @property
    def consumers(self) -> Consumers:
        """The consumer groups. What waits in a `read` blocks."""
        ...

    def schemas(self, topic: str) -> tuple[VersionStatus, ...]:
        """All versions of a topic's columns, oldest first."""
        ...

    def evolve(  # noqa: PLR0913 - what is to be changed, by keyword
        self,
        topic: str,
        *,
        add: Sequence[str],
        widen: Mapping[str, str],
        rename: Mapping[str, str],
        drop: Sequence[str],
        dry_run: bool,
    ) -> Evolution:
        """Change the columns of a topic, or say what that would do. Blocks."""
        ...

    def status(self) -> Status:
        """Everything there is to know, at one moment."""
        ...
