"""Devices that fall silent, and come back. Run it: headwater run examples/silent_devices.py.

    headwater send beats '{"device": "pump", "celsius": 71.5, "ts": "2026-01-01T12:00:00"}'

A device is expected to be heard of every minute. After five minutes without a beat there is an
alarm; with the next beat there is an end of it, which says how long the silence was. Beats are
judged in the order of their own times, so one that was held up on its way raises no alarm.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

import headwater as hw

SILENCE = timedelta(minutes=5)

app = hw.App("devices")

app.topic(
    "beats", "device VARCHAR, celsius DOUBLE, ts TIMESTAMP", event_time="ts", delay="30 seconds"
)


@app.function("(celsius DOUBLE) -> DOUBLE")
def fahrenheit(celsius: pa.Array) -> pa.Array:
    return pc.add(pc.multiply(celsius, 1.8), 32.0)


@app.process(
    "alarms",
    reads="SELECT device, ts FROM beats",
    key="device",
    order="time",
    columns="device VARCHAR, event VARCHAR, ts TIMESTAMP, silent_for INTERVAL",
    event_time="ts",
)
class Alarms:
    """Says when a device falls silent, and when it is back."""

    def row(self, row: dict[str, Any], key: hw.Key) -> Iterator[dict[str, Any]]:
        seen = key.state.get("seen")
        if key.state.pop("is_silent", False):
            yield {"event": "back", "ts": row["ts"], "silent_for": row["ts"] - seen}
        key.state["seen"] = row["ts"]
        key.timers.set(row["ts"] + SILENCE)

    def timer(self, name: str, at: datetime, key: hw.Key) -> Iterator[dict[str, Any]]:
        key.state["is_silent"] = True
        yield {"event": "silent", "ts": at, "silent_for": at - key.state["seen"]}


app.view(
    "latest",
    """
    SELECT device, max(ts) AS seen, arg_max(fahrenheit(celsius), ts) AS fahrenheit
    FROM beats GROUP BY device
""",
)
app.view(
    "alarms_per_hour",
    """
    SELECT window_start, count(*) AS alarms
    FROM TUMBLE(alarms, ts, INTERVAL '1 hour') WHERE event = 'silent'
    GROUP BY window_start EMIT FINAL
""",
)

if __name__ == "__main__":
    app.run()
