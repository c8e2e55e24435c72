"""How long a killed pipeline takes to answer again, whatever the log's length.

    python -m bench.recovery [--events 1000000,5000000,20000000] [--kills 6] [--bound 3]

A pipeline with a filter, a windowed count, a join and a keyed table stands over a log of so many
events. First these are a backlog: it is computed at full speed, and the process is killed (`kill
-9`) after a random time, again and again. Then the log is computed, rows are sent over HTTP as fast
as they are taken, and it is killed again. Each time the same process is started anew, and timed
from its first instruction: until it answers a question; until it has committed an epoch that is
new; or, where it is not killed before, until all that was acknowledged is computed. A line says how
long the process had run that was killed before, how old its newest checkpoint was, and how many
epochs were computed again in what time. In the end what a view counts is compared with what
was sent. Ends with 1 if an answer took longer than the bound.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import headwater as hw  # isort: skip - before numpy, whose sort it chooses
import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from headwater.clock import SystemClock
from headwater.runtime.ingest import Ingest
from headwater.runtime.runtime import Runtime, Settings
from headwater.storage.folder import DataFolder

CLICKS = "ad BIGINT NOT NULL, visitor BIGINT NOT NULL, cost BIGINT NOT NULL, ts TIMESTAMP NOT NULL"
VISITORS, ADS, BATCH_ROWS = 100_000, 1_000, 50_000
START_US, EVENTS_PER_SECOND = 1_767_225_600_000_000, 10_000
# So many rows of the keyed table are sent again with each batch while it runs.
UPDATES = 50
SECONDS_RUN = (0.2, 3.0)


def app() -> hw.App:
    found = hw.App("recovery")
    found.topic("clicks", CLICKS, event_time="ts", delay="2 seconds")
    found.table("visitors", "visitor BIGINT, name VARCHAR NOT NULL, seen BIGINT", key="visitor")
    found.view("dear", "SELECT visitor, cost * 2 AS doubled, ts FROM clicks WHERE ad < 100")
    found.view(
        "minutes",
        "SELECT ad, window_start, count(*) AS n, sum(cost) AS cost "
        "FROM TUMBLE(clicks, ts, INTERVAL '1 minute') GROUP BY ad, window_start, window_end",
        emit="final",
        lateness="1 minute",
    )
    found.view("named", "SELECT ad, name, cost FROM clicks JOIN visitors USING (visitor)")
    found.view("totals", "SELECT visitor, count(*) AS n FROM clicks GROUP BY visitor")
    return found


def clicks(first: int, rows: int) -> pa.Table:
    """Rows from a number on: the same at each call."""
    rng = np.random.default_rng(first)
    at = (np.arange(first, first + rows) * (1_000_000 // EVENTS_PER_SECOND)) + START_US
    return pa.table(
        {
            "ad": rng.integers(0, ADS, rows),
            "visitor": rng.integers(0, VISITORS, rows),
            "cost": rng.integers(0, 10_000, rows),
            "ts": pa.array(at, pa.timestamp("us")),
        }
    )


def visitors(seen: int, keys: np.ndarray) -> pa.Table:
    names = pa.array([f"visitor {n % 977}" for n in keys])
    return pa.table({"visitor": keys, "name": names, "seen": [seen] * len(keys)})


def build(folder: Path, events: int) -> None:
    """A data folder that has the events, and has computed none."""
    compiled = app().compile()
    data = DataFolder.open(folder, command="recovery")
    runtime = Runtime(compiled.pipeline, compiled.plans, data.disk, SystemClock(), Settings())
    ingest = Ingest(runtime.intake, runtime.clock)
    ingest.send(runtime.topics["visitors"].definition, visitors(0, np.arange(VISITORS)))
    for number, first in enumerate(range(0, events, BATCH_ROWS)):
        rows = clicks(first, min(BATCH_ROWS, events - first))
        ingest.send(runtime.topics["clicks"].definition, rows)
        if number % 40 == 39:
            # So that what waits in memory stays small, and lies in files as after a long time.
            runtime.checkpoint()
    runtime.close()
    data.close()


def serve(folder: str) -> None:
    """The process that is killed."""
    with app().start(folder, listen="127.0.0.1:0") as live:
        print(json.dumps({"url": live.url, "notices": live.notices}), flush=True)
        threading.Event().wait()


@dataclass(frozen=True, slots=True)
class Started:
    """A process that answers.

    Args:
        began: When it was started.
        answered: How long it took to answer.
        epoch: The epoch after which it answered.
        notices: What it said of its start.

    """

    process: subprocess.Popen[str]
    port: int
    began: float
    answered: float
    epoch: int
    notices: list[str]

    def ask(self, path: str) -> Any:
        """What it answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())

    def until(self, epoch: int | None = None) -> float:
        """Seconds from its start until it has committed an epoch, or all, if that is before."""
        while True:
            status = self.ask("/status")
            assert not status["problems"], status["problems"]
            is_there = epoch is not None and status["epoch"] >= epoch
            if is_there or not status["lag_rows"]:
                return time.perf_counter() - self.began
            time.sleep(0.01)

    def kill(self) -> None:
        """As a machine that is switched off, but for its disk."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


def start(folder: Path) -> Started:
    began = time.perf_counter()
    command = [sys.executable, "-m", "bench.recovery", "--serve", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = json.loads(process.stdout.readline() or "{}")
    assert said, "it did not start"
    started = Started(process, int(said["url"].rsplit(":", 1)[1]), began, 0.0, 0, said["notices"])
    found = started.ask("/tables/visitors/row?visitor=1")
    # On its first start it may not have computed the table yet.
    assert "error" in found or found["visitor"] == 1, found
    answered = time.perf_counter() - began
    epoch = started.ask("/status")["epoch"]
    return Started(process, started.port, began, answered, epoch, said["notices"])


class Load:
    """Sends rows over HTTP as fast as they are taken, until nobody takes them."""

    def __init__(self, port: int, first: int) -> None:
        self.acknowledged = first
        self._port = port
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def join(self) -> int:
        """How many rows were acknowledged, once the process is gone."""
        self._thread.join()
        return self.acknowledged

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port)
        number = 0
        try:
            while True:
                self._send(connection, "clicks", clicks(self.acknowledged, BATCH_ROWS), number)
                self.acknowledged += BATCH_ROWS
                number += 1
                keys = np.arange(number * UPDATES, (number + 1) * UPDATES) % VISITORS
                self._send(connection, "visitors", visitors(number, keys), number)
        except (OSError, http.client.HTTPException):
            # It was killed. What was under way may be there or not.
            return

    def _send(
        self, connection: http.client.HTTPConnection, topic: str, rows: pa.Table, number: int
    ) -> None:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows)
        # As a producer with a name, so that it knows which rows were taken.
        path = f"/topics/{topic}?producer=bench-{self._port}&sequence={number}"
        headers = {"Content-Type": "application/vnd.apache.arrow.stream"}
        connection.request("POST", path, sink.getvalue().to_pybytes(), headers)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()


def checkpoint_age(folder: Path) -> float:
    """Seconds since the newest checkpoint was durable."""
    newest = max(path.stat().st_mtime for path in (folder / "checkpoints").glob("*.json"))
    return time.time() - newest


class Bench:
    """Kills and starts, and notes what it took."""

    def __init__(self, folder: Path, events: int, table: Table) -> None:
        self._folder = folder
        self._events = events
        self._table = table
        self._random = random.Random(events)
        self.longest = 0.0

    def run(self, kills: int) -> None:
        """Backlog, then load; each with kills."""
        case, age = "first start", 0.0
        for _ in range(kills):
            started = start(self._folder)
            new = self._note(case, age, started, waits=False)
            case = f"backlog, {new:.1f} s"
            age = checkpoint_age(self._folder)
            started.kill()
        started = start(self._folder)
        self._note(case, age, started, waits=True)
        rows = self._events
        for _ in range(kills):
            load = Load(started.port, rows)
            seconds = self._random.uniform(*SECONDS_RUN)
            time.sleep(seconds)
            age = checkpoint_age(self._folder)
            started.kill()
            load.join()
            started = start(self._folder)
            self._note(f"load, {seconds:.1f} s", age, started, waits=True)
            rows = cast(int, started.ask("/status")["topics"][0]["rows"])
        self._check(started)
        started.kill()

    def _note(self, case: str, age: float, started: Started, *, waits: bool) -> float:
        new = "" if waits else f"{started.until(started.epoch + 1):.2f} s"
        all_computed = f"{started.until():.2f} s" if waits else ""
        if not waits:
            time.sleep(self._random.uniform(*SECONDS_RUN))
        again = next((n for n in started.notices if n.startswith("recovered")), "")
        again = again.removeprefix("recovered: ").replace(" epochs stepped again", "")
        row = (f"{self._events // 1_000_000} M", case, f"{age:.1f} s", again)
        row += (f"{started.answered:.2f} s", new, all_computed)
        self._table.add_row(*row)
        Console(stderr=True).print(*row)
        self.longest = max(self.longest, started.answered)
        return time.perf_counter() - started.began

    def _check(self, started: Started) -> None:
        """Compare what the views say with what the topic has."""
        sql = "SELECT (SELECT count(*) FROM clicks) AS sent, (SELECT sum(n) FROM totals) AS counted"
        connection = http.client.HTTPConnection("127.0.0.1", started.port)
        connection.request(
            "POST", "/sql", json.dumps({"sql": sql}), {"Content-Type": "application/json"}
        )
        (row,) = json.loads(connection.getresponse().read())["rows"]
        assert int(row["sent"]) == int(row["counted"]), row


def compile_ahead(folder: str) -> None:
    """Have the processes that are started find compiled modules there, as an install has them."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = folder
    modules = "import bench.recovery, headwater.run.live, headwater.serve.server"
    subprocess.run([sys.executable, "-c", modules], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", default="1000000,5000000,20000000")
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--bound", type=float, default=3.0, help="seconds")
    parser.add_argument("--folder", type=Path, default=None, help="where the data goes meanwhile")
    parser.add_argument("--serve", metavar="FOLDER", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve)
    table = Table(title="seconds from the start of the process", title_style="")
    for heading in ("events", "killed", "checkpoint", "again", "answers", "new", "all"):
        table.add_column(heading, justify="right")
    longest = 0.0
    with tempfile.TemporaryDirectory() as compiled:
        compile_ahead(compiled)
        for events in (int(count) for count in args.events.split(",")):
            with tempfile.TemporaryDirectory(dir=args.folder) as place:
                folder = Path(place) / "data"
                build(folder, events)
                bench = Bench(folder, events, table)
                bench.run(args.kills)
                longest = max(longest, bench.longest)
    Console().print(table)
    print(f"the longest until it answers: {longest:.2f} s; it may take {args.bound:.1f} s")
    sys.exit(longest > args.bound)


if __name__ == "__main__":
    main()
