"""A pipeline under steady load for a long time: does anything grow that should not?

    python -m bench.soak [--minutes 60] [--rate 5000] [--line SECONDS] [--folder DIR]

Named producers send over HTTP to windows with a watermark, a join in time, a keyed table that is
updated, and topics with a retention; a consumer group and two sinks follow. A line each minute says
what there is. In the end a line is fitted to the second half of each figure (Theil and Sen: the
median of all slopes, which a few outliers do not move). Ends with 1 if memory, mapped files, files
of the data folder, threads or open files grow by more than a tolerance over that time.

A view's log of changes is kept for ever, so the log's bytes grow, and files by one for each two
million changes. What senders and the consumer take is in the memory of the same process.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from urllib.parse import urlsplit

import headwater as hw  # isort: skip - before numpy, whose sort it chooses
import numpy as np
import pyarrow as pa

from headwater.run.live import Live
from headwater.runtime.budget import anonymous_bytes

ADS, OFFERS = 500, 20_000
SENDS_PER_SECOND = 20
# Shares of the rows that are sent: clicks, buys (which join clicks in time), offers.
BUYS_SHARE, OFFERS_SHARE = 0.1, 0.2
MB = 1 << 20


def app(lake: Path) -> hw.App:
    found = hw.App("soak")
    found.topic(
        "clicks",
        "id BIGINT NOT NULL, ad BIGINT NOT NULL, cost BIGINT NOT NULL, ts TIMESTAMP NOT NULL",
        event_time="ts",
        delay="1 second",
        retention="30 seconds",
    )
    found.topic(
        "buys",
        "click BIGINT NOT NULL, price BIGINT NOT NULL, ts TIMESTAMP NOT NULL",
        event_time="ts",
        delay="1 second",
        retention_bytes="20 MB",
    )
    found.table(
        "offers",
        "ad BIGINT, price BIGINT NOT NULL, title VARCHAR NOT NULL, updated TIMESTAMP NOT NULL",
        key="ad",
        newest_by="updated",
        retention="30 seconds",
    )
    found.view(
        "per_second",
        "SELECT ad % 10 AS part, window_start, count(*) AS n, sum(cost) AS cost "
        "FROM TUMBLE(clicks, ts, INTERVAL '1 second') "
        "GROUP BY ad % 10, window_start, window_end",
        emit="final",
        lateness="5 seconds",
    )
    found.view(
        "bought",
        "SELECT c.ad, b.price FROM clicks c JOIN buys b ON c.id = b.click "
        "AND b.ts BETWEEN c.ts AND c.ts + INTERVAL '10 seconds' WHERE b.price % 10 = 0",
        # Without a bound it would remember every row.
        lateness="5 seconds",
    )
    found.view("prices", "SELECT ad % 10 AS part, sum(price) AS price FROM offers GROUP BY ALL")
    found.sink("per_second", hw.sinks.Parquet(str(lake / "per_second"), every="5 seconds"))
    found.sink("bought", hw.sinks.DuckDB(str(lake / "bought.duckdb"), every="2 seconds"))
    return found


@dataclass(frozen=True, slots=True)
class Sample:
    """What there was at some moment.

    Args:
        seconds: Since the start.
        rows: That were acknowledged.
        memory: Bytes of the process's own.
        mapped: Bytes of files that are mapped and in memory.
        files: Of the data folder.
        threads, handles: Of the process.
        log: Bytes of topics and of the data folder's logs of changes.
        state: Bytes that views remember.
        p99_ms: From acknowledged to committed.
        lag: Rows acknowledged and not yet computed.

    """

    seconds: float
    rows: int
    memory: int
    mapped: int
    files: int
    threads: int
    handles: int
    log: int
    state: int
    p99_ms: float
    lag: int

    def line(self) -> str:
        """As text."""
        return (
            f"{self.seconds:7,.0f} {self.rows:13,} {self.memory / MB:10.1f} "
            f"{self.mapped / MB:10.1f} {self.files:6} {self.threads:8} {self.handles:8} "
            f"{self.log / MB:9.1f} {self.state / MB:9.1f} {self.p99_ms:8.1f} {self.lag:8,}"
        )


HEADING = (
    "seconds          rows memory, MB mapped, MB  files  threads  handles   log, MB state, MB "
    " p99, ms      lag"
)
# By how much a figure may grow over the second half: a share of it, and something beside.
TOLERANCES: dict[str, tuple[float, float]] = {
    "memory": (0.05, 24 * MB),
    "mapped": (0.10, 48 * MB),
    "files": (0.10, 24),
    "threads": (0.05, 3),
    "handles": (0.05, 6),
    "lag": (0.50, 20_000),
}


def slope(points: Sequence[tuple[float, float]]) -> float:
    """How much the second number grows with each unit of the first: the median over all pairs."""
    pairs = itertools.combinations(points, 2)
    return statistics.median((b[1] - a[1]) / (b[0] - a[0]) for a, b in pairs)


def verdicts(samples: Sequence[Sample]) -> list[str]:
    """What grew in the second half, in words; empty where all is flat."""
    half = samples[len(samples) // 2 :]
    found = []
    for name, (share, beside) in TOLERANCES.items():
        points = [(sample.seconds, float(getattr(sample, name))) for sample in half]
        grown = slope(points) * (points[-1][0] - points[0][0])
        median = statistics.median(value for _, value in points)
        if grown > share * median + beside:
            found.append(f"{name} grew by {grown:,.0f} from about {median:,.0f}")
    return found


class Load:
    """Sends at a steady rate, reads as a consumer, and times commits; each in a thread.

    Args:
        rate: Rows a second, over all topics.

    """

    def __init__(self, live: Live, rate: int) -> None:
        assert live.url is not None
        self._live = live
        self._host = urlsplit(live.url).netloc
        self._rows = max(1, rate // SENDS_PER_SECOND)
        self._stopping = threading.Event()
        self._waits: list[float] = []
        self.rows = self.consumed = 0
        self.failures: list[BaseException] = []
        calls = (self._send, self._commits, self._consume)
        self._threads = [threading.Thread(target=self._kept, args=(call,)) for call in calls]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, and wait for it."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def p99_ms(self) -> float:
        """Of the commits since the last call."""
        waits, self._waits = self._waits, []
        return float(np.percentile(waits, 99) * 1e3) if waits else 0.0

    def _kept(self, call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:
            self.failures.append(error)

    def _send(self) -> None:
        with closing(http.client.HTTPConnection(self._host)) as connection:
            self._send_over(connection)

    def _send_over(self, connection: http.client.HTTPConnection) -> None:
        started = time.perf_counter()
        for number in itertools.count():
            pause = started + number / SENDS_PER_SECOND - time.perf_counter()
            if self._stopping.wait(max(0.0, pause)):
                return
            for topic, rows in self._batches(number):
                _post(connection, topic, rows, number)
                self.rows += rows.num_rows

    def _batches(self, number: int) -> list[tuple[str, pa.Table]]:
        rng = np.random.default_rng(number)
        first, count = number * self._rows, self._rows
        now_us = time.time_ns() // 1_000
        buys, offers = max(1, int(count * BUYS_SHARE)), max(1, int(count * OFFERS_SHARE))
        times = pa.array(now_us + rng.integers(-500_000, 0, count), pa.timestamp("us"))
        ids = np.arange(first, first + count)
        clicks = {"id": ids, "ad": ids % ADS, "cost": ids % 97, "ts": times}
        # Of clicks of the last few seconds.
        sold = np.maximum(ids[:buys] - 3 * count, 0)
        bought = {"click": sold, "price": sold % 1000, "ts": times.slice(0, buys)}
        ads = rng.integers(0, OFFERS, offers)
        titles = pa.array([f"offer {ad} of {number}" for ad in ads])
        changed = {"ad": ads, "price": ads + number, "title": titles}
        changed["updated"] = times.slice(0, offers)
        named = {"clicks": clicks, "buys": bought, "offers": changed}
        return [(name, pa.table(columns)) for name, columns in named.items()]

    def _commits(self) -> None:
        row = {"click": -1, "price": 1}
        while not self._stopping.wait(0.05):
            self._live.send("buys", [{**row, "ts": time.strftime("%Y-%m-%dT%H:%M:%S")}])
            acknowledged = time.perf_counter()
            self._live.settle(60)
            self._waits.append(time.perf_counter() - acknowledged)

    def _consume(self) -> None:
        consumer = self._live.consumer("soak", "per_second", from_="start", wait_seconds=0.5)
        while not self._stopping.is_set():
            for batch in consumer:
                self.consumed += batch.rows.num_rows
                batch.commit()
                if self._stopping.is_set():
                    break
        consumer.close()


def _post(connection: http.client.HTTPConnection, topic: str, rows: pa.Table, number: int) -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    headers = {"Content-Type": "application/vnd.apache.arrow.stream"}
    path = f"/topics/{topic}?producer=soak&sequence={number}"
    connection.request("POST", path, sink.getvalue().to_pybytes(), headers)
    answer = connection.getresponse()
    content = answer.read()
    assert answer.status == 200, content


def sampled(live: Live, load: Load, folder: Path, seconds: float) -> Sample:
    """What there is now."""
    status = live.status()
    assert not status.problems, status.problems
    mapped = next(
        int(line.split()[1]) * 1024
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("RssFile")
    )
    files, logs = sizes(folder), sizes(folder / "views")
    return Sample(
        seconds=seconds,
        rows=load.rows,
        memory=anonymous_bytes(),
        mapped=mapped,
        files=len(files),
        threads=len(list(Path("/proc/self/task").iterdir())),
        handles=len(list(Path("/proc/self/fd").iterdir())),
        log=sum(topic.bytes for topic in status.topics) + sum(logs),
        state=sum(view.state_bytes for view in status.views),
        p99_ms=load.p99_ms(),
        lag=status.lag_rows,
    )


def sizes(folder: Path) -> list[int]:
    """The bytes of each file below a folder, but for those that go meanwhile."""
    found = []
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            found += [path.stat().st_size] if path.is_file() else []
    return found


def soak(folder: Path, *, seconds: float, line_seconds: float, rate: int) -> list[Sample]:
    """Run for so long; a sample, and a line, each so often."""
    samples: list[Sample] = []
    with app(folder / "lake").start(folder / "data", listen="127.0.0.1:0") as live:
        load = Load(live, rate)
        started = time.perf_counter()
        print(HEADING)
        try:
            while (passed := time.perf_counter() - started) < seconds and not load.failures:
                time.sleep(min(line_seconds, seconds - passed))
                passed = time.perf_counter() - started
                samples.append(sampled(live, load, folder / "data", passed))
                print(samples[-1].line(), flush=True)
        finally:
            load.stop()
        if load.failures:
            raise load.failures[0]
        live.settle()
        (sent,) = live.query("SELECT sum(n) AS n FROM per_second").column("n").to_pylist()
        assert load.consumed, "the consumer group has read nothing"
        assert sent, "no window has closed"
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=int, default=5_000, help="clicks a second")
    parser.add_argument("--line", type=float, default=60.0, help="seconds between two lines")
    parser.add_argument("--folder", type=Path, default=None, help="where the data goes meanwhile")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as place:
        seconds = 60 * args.minutes
        line_seconds = min(args.line, seconds / 8)
        samples = soak(Path(place), seconds=seconds, line_seconds=line_seconds, rate=args.rate)
    grew = verdicts(samples)
    print("\n".join(grew) or f"flat over the last {len(samples) - len(samples) // 2} lines")
    sys.exit(bool(grew))


if __name__ == "__main__":
    assert len(fields(Sample)) == len(HEADING.replace(", MB", "").replace(", ms", "").split())
    main()
