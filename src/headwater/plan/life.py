"""How long the rows of a topic live, as plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Life:
    """What becomes of a topic's older rows; by default they are kept for ever.

    Args:
        retention_us: Rows that arrived longer ago may go; None: none go by age.
        retention_bytes: The oldest rows go where the topic takes more; None: none go by size.
        archive: The folder, or the address of a bucket, to which older files are moved; None: they
            stay.

    """

    retention_us: int | None = None
    retention_bytes: int | None = None
    archive: str | None = None

    @property
    def is_endless(self) -> bool:
        """Whether no row ever goes."""
        return self.retention_us is None and self.retention_bytes is None
