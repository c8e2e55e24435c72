"""The demo's answers, as somebody would ask DuckDB for them over the files.

Written by hand, without windows or anything else of Headwater's, to be a second opinion.
"""

from __future__ import annotations

from functools import cache

import duckdb
import numpy as np
import pyarrow as pa

from headwater.demo.year import FOLDER

LEFT = "flights WHERE dep IS NOT NULL"

ANSWERS = {
    "departures": f"""
        SELECT id, carrier, flight, tailnum, origin, dest, sched_dep, dep, dep_delay FROM {LEFT}
    """,
    "carrier_hours": f"""
        SELECT name, date_trunc('hour', sched_dep) AS window_start, count(*) AS departures,
               sum(dep_delay) / count(*) AS mean_delay
        FROM (FROM {LEFT}) JOIN carriers USING (carrier) GROUP BY ALL
    """,
    "weather_delays": f"""
        SELECT f.origin,
               CASE WHEN wind_speed IS NULL THEN 'unknown' WHEN wind_speed >= 30 THEN 'gale'
                    WHEN wind_speed >= 20 THEN 'wind' WHEN wind_speed >= 10 THEN 'breeze'
                    ELSE 'calm' END AS wind,
               CASE WHEN visib >= 5 THEN 'clear' WHEN visib >= 1 THEN 'haze'
                    ELSE 'fog' END AS sight,
               count(*) AS departures, sum(dep_delay) / count(*) AS mean_delay
        FROM (FROM {LEFT}) AS f
        ASOF JOIN weather AS w ON f.origin = w.origin AND f.sched_dep >= w.ts
        GROUP BY ALL
    """,
    "route_hours": f"""
        SELECT origin, dest, date_trunc('hour', sched_dep) - to_hours(back) AS window_start,
               window_start + INTERVAL '3 hours' AS window_end, count(*) AS departures
        FROM (FROM {LEFT}), range(3) AS _(back) GROUP BY ALL
    """,
    "worst_flights": f"""
        SELECT id, carrier, flight, origin, dest, sched_dep, dep_delay
        FROM {LEFT} ORDER BY dep_delay DESC, id LIMIT 20
    """,
    "plane_state": f"""
        SELECT f.tailnum, id, carrier, flight, origin, dest, dep, dep_delay FROM flights AS f
        JOIN (SELECT tailnum, max((dep, id)) AS newest FROM {LEFT} GROUP BY tailnum) AS n
          ON f.tailnum = n.tailnum AND f.id = n.newest[2]
    """,
}
ANSWERS["carrier_hours_live"] = ANSWERS["carrier_hours"]
ANSWERS["busiest_routes"] = f"""
    SELECT window_start, r.origin, r.dest, departures
    FROM (SELECT *, rank() OVER (PARTITION BY window_start
                                 ORDER BY departures DESC, origin ASC, dest ASC) AS place
          FROM ({ANSWERS["route_hours"]})) AS r WHERE place <= 3
"""


@cache
def answer(view: str) -> pa.Table:
    """DuckDB's own answer."""
    connection = duckdb.connect()
    for file in FOLDER.glob("*.parquet"):
        connection.execute(f"CREATE VIEW {file.stem} AS FROM '{file}'")
    return connection.sql(ANSWERS[view]).to_arrow_table()


def assert_same(found: pa.Table, expected: pa.Table) -> None:
    """The same rows in any order; floats within a relative 1e-9, all else exactly."""
    assert found.schema.names == expected.schema.names
    expected = expected.cast(pa.schema(found.schema, metadata=None))
    is_float = [pa.types.is_floating(t) for t in found.schema.types]
    names = found.schema.names
    exact = [name for name, fuzzy in zip(names, is_float, strict=True) if not fuzzy]
    order = [(name, "ascending") for name in exact]
    found, expected = found.sort_by(order), expected.sort_by(order)
    assert found.select(exact).equals(expected.select(exact))
    for name in set(names) - set(exact):
        np.testing.assert_allclose(found[name].to_numpy(), expected[name].to_numpy(), rtol=1e-9)
