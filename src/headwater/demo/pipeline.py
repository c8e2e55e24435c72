"""A year of departures from New York: the pipeline of `headwater demo`.

A flight enters when it departs, or, cancelled, when it should have; its event time is its
*scheduled* departure. So rows come as late as flights do: hours, and 21 of them for the worst.
All times are UTC; New York is five hours behind, four in summer.
"""

import headwater as hw

app = hw.App("flights")

app.topic(
    "flights",
    """
    id BIGINT NOT NULL, carrier VARCHAR NOT NULL, flight INTEGER, tailnum VARCHAR,
    origin VARCHAR NOT NULL, dest VARCHAR NOT NULL, sched_dep TIMESTAMP NOT NULL, dep TIMESTAMP,
    dep_delay INTEGER, arr_delay INTEGER, air_time INTEGER, distance INTEGER
    """,
    event_time="sched_dep",
    delay="1 hour",
)
app.topic(
    "weather",
    """
    origin VARCHAR NOT NULL, ts TIMESTAMP NOT NULL, temp DOUBLE, dewp DOUBLE, humid DOUBLE,
    wind_dir INTEGER, wind_speed DOUBLE, wind_gust DOUBLE, precip DOUBLE, pressure DOUBLE,
    visib DOUBLE
    """,
    event_time="ts",
)
app.table("carriers", "carrier VARCHAR, name VARCHAR", key="carrier")
app.table(
    "planes",
    """
    tailnum VARCHAR, built INTEGER, type VARCHAR, manufacturer VARCHAR, model VARCHAR,
    engines INTEGER, seats INTEGER, engine VARCHAR
    """,
    key="tailnum",
)
app.table(
    "airports",
    "faa VARCHAR, name VARCHAR, lat DOUBLE, lon DOUBLE, alt INTEGER, tzone VARCHAR",
    key="faa",
)

# What really left the ground. A cancelled flight has no departure.
app.view(
    "departures",
    """
    SELECT id, carrier, flight, tailnum, origin, dest, sched_dep, dep, dep_delay
    FROM flights
    WHERE dep IS NOT NULL
    """,
)

# Each hour is published once, when it is over; a flight up to a day late still corrects it.
app.view(
    "carrier_hours",
    """
    SELECT name, window_start, count(*) AS departures, avg(dep_delay) AS mean_delay
    FROM TUMBLE(departures, sched_dep, INTERVAL '1 hour') JOIN carriers USING (carrier)
    GROUP BY name, window_start, window_end
    """,
    emit="final",
    lateness="1 day",
)

# The same, while it happens: every departure changes its hour at once.
app.view(
    "carrier_hours_live",
    """
    SELECT name, window_start, count(*) AS departures, avg(dep_delay) AS mean_delay
    FROM TUMBLE(departures, sched_dep, INTERVAL '1 hour') JOIN carriers USING (carrier)
    GROUP BY name, window_start, window_end
    """,
)

# What the weather does: each departure with the last observation at its airport before it.
app.view(
    "weather_delays",
    """
    SELECT d.origin,
           CASE WHEN w.wind_speed < 10 THEN 'calm' WHEN w.wind_speed < 20 THEN 'breeze'
                WHEN w.wind_speed < 30 THEN 'wind' WHEN w.wind_speed >= 30 THEN 'gale'
                ELSE 'unknown' END AS wind,
           CASE WHEN w.visib < 1 THEN 'fog' WHEN w.visib < 5 THEN 'haze' ELSE 'clear' END AS sight,
           count(*) AS departures, avg(d.dep_delay) AS mean_delay
    FROM departures AS d
    ASOF JOIN weather AS w ON d.origin = w.origin AND d.sched_dep >= w.ts
    GROUP BY ALL
    """,
)

# Departures per route in the three hours before each full hour ...
app.view(
    "route_hours",
    """
    SELECT origin, dest, window_start, window_end, count(*) AS departures
    FROM HOP(departures, sched_dep, INTERVAL '1 hour', INTERVAL '3 hours')
    GROUP BY origin, dest, window_start, window_end
    """,
    emit="final",
    lateness="1 day",
)

# ... and the three busiest of each.
app.view(
    "busiest_routes",
    """
    SELECT window_start, origin, dest, departures
    FROM route_hours
    QUALIFY row_number() OVER (
        PARTITION BY window_start ORDER BY departures DESC, origin, dest
    ) <= 3
    """,
)

# The worst departures so far. The id breaks ties, so that the answer is one.
app.view(
    "worst_flights",
    """
    SELECT id, carrier, flight, origin, dest, sched_dep, dep_delay
    FROM departures
    ORDER BY dep_delay DESC, id
    LIMIT 20
    """,
)

# Where every plane was last seen: one row per plane, replaced as it flies.
app.view(
    "plane_state",
    """
    SELECT tailnum, id, carrier, flight, origin, dest, dep, dep_delay
    FROM departures
    WHERE tailnum IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY tailnum ORDER BY dep DESC, id DESC) = 1
    """,
)

if __name__ == "__main__":
    app.run()
