"""The demo's data: a year of departures from New York, and what is known of their surroundings.

Two streams enter as time goes by, flights when they depart and weather when it is observed; three
tables are known from the start. `tools/make_flights.py` says where the files come from.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import compute, parquet

FOLDER = Path(__file__).parent / "flights"
TABLES = ("carriers", "planes", "airports")


@dataclass(frozen=True, slots=True)
class Stream:
    """A topic's rows in the order in which they enter.

    Args:
        entries_us: When each row enters, in microseconds since 1970; never goes back.

    """

    topic: str
    rows: pa.Table
    entries_us: npt.NDArray[np.int64]

    def count_until(self, time_us: int) -> int:
        """How many rows have entered before `time_us`."""
        return int(np.searchsorted(self.entries_us, time_us))


@dataclass(frozen=True, slots=True)
class Year:
    """All of it.

    Args:
        streams: In the order in which they are sent within a moment: the weather first, so that a
            departure finds the observation of its hour.

    """

    streams: tuple[Stream, ...]
    tables: tuple[tuple[str, pa.Table], ...]

    @property
    def start_us(self) -> int:
        """When the first row enters."""
        return min(int(stream.entries_us[0]) for stream in self.streams)

    @property
    def end_us(self) -> int:
        """When the last row has entered."""
        return max(int(stream.entries_us[-1]) for stream in self.streams) + 1


def read(name: str) -> pa.Table:
    """The rows of one of the demo's files."""
    return parquet.read_table(FOLDER / f"{name}.parquet")


def year() -> Year:
    """The demo's data, read from the package."""
    flights, weather = read("flights"), read("weather")
    # A cancelled flight never departs: it is known when it should have.
    entered = compute.coalesce(flights["dep"], flights["sched_dep"])
    streams = (
        Stream("weather", weather, _microseconds(weather["ts"])),
        Stream("flights", flights, _microseconds(entered)),
    )
    return Year(streams, tuple((name, read(name)) for name in TABLES))


def _microseconds(times: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    moments: npt.NDArray[np.int64] = times.cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
    return moments
