"""How long the rows of a topic live, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

# As in Kafka (delete.retention.ms).
TOMBSTONES_US = 24 * 3_600_000_000


@dataclass(frozen=True, slots=True)
class Life:
    """What becomes of a topic's older rows; by default they are kept for ever.

    Args:
        retention_us: Rows that arrived longer ago may go; None: none go by age.
        retention_bytes: The oldest rows go where the topic takes more; None: none go by size.
        archive: The folder, or the address of a bucket, to which older files are moved; None: they
            stay.
        is_compact: Of a table: rows may go that newer ones of their key have replaced.
        tombstones_us: How long a row that deletes its key is kept; None: `TOMBSTONES_US`.

    """

    retention_us: int | None = None
    retention_bytes: int | None = None
    archive: str | None = None
    is_compact: bool = False
    tombstones_us: int | None = None

    @property
    def is_endless(self) -> bool:
        """Whether no row ever goes."""
        return self.retention_us is None and self.retention_bytes is None
