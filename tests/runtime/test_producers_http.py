"""A producer over HTTP, whose pipeline is killed while it sends: the sums are right."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headwater.cli.client import Client, path
from headwater.errors import ConnectorError

CODE = "from headwater.cli.main import main; main()"
SHOP = """
    CREATE TOPIC sales (till BIGINT, n BIGINT);
    CREATE VIEW totals AS SELECT till, count(*) AS n FROM sales GROUP BY till;
"""
BATCHES = 90
TILLS = (1, 2)


def body(till: int, sequence: int) -> bytes:
    """Two good rows, and in every third batch a bad one."""
    rows: list[dict[str, Any]] = [{"till": till, "n": 2 * sequence + n} for n in (0, 1)]
    rows += [{"till": till, "n": "none"}] * (sequence % 3 == 0)
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


class Till:
    """Sends batches until each is answered, wherever the pipeline listens now."""

    def __init__(self, number: int, where: list[str]) -> None:
        self.number = number
        self.acknowledged = self.sent = 0
        self.failure: BaseException | None = None
        self._where = where
        self._pause = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            for sequence in range(BATCHES):
                self._send(sequence, body(self.number, sequence))
        except BaseException as error:
            self.failure = error

    def _send(self, sequence: int, rows: bytes) -> None:
        count = rows.count(b"\n")
        who = {"producer": f"till-{self.number}", "sequence": sequence}
        while True:
            try:
                client = Client(self._where[-1])
                self.sent += count
                kind = "application/x-ndjson"
                receipt = client.post(path("topics", "sales"), rows, kind, **who)
            except ConnectorError:
                # Until another process listens; it is killed again soon enough.
                self._pause.wait(0.05)
                continue
            self.acknowledged += count
            assert receipt["accepted"] == 2
            assert receipt["duplicate"] in (0, count)
            return


@contextmanager
def running(folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    shop = folder / "shop.sql"
    shop.write_text(SHOP)
    arguments = ["run", str(shop), "--data", str(folder / "data"), "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, *arguments], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        lines = [process.stderr.readline()]
        while not (found := re.search(r"http://\S+", lines[-1])):
            assert lines[-1], f"it ended: {lines}"
            lines.append(process.stderr.readline())
        yield found[0], process
    finally:
        process.kill()
        process.communicate()


def test_the_sums_are_right_though_the_pipeline_is_killed(tmp_path: Path) -> None:
    rng, where = random.Random(5), ["http://127.0.0.1:9"]
    tills, pause = [Till(number, where) for number in TILLS], threading.Event()
    for life in range(3):
        with running(tmp_path) as (url, process):
            where.append(url)
            if not life:
                for till in tills:
                    till.start()
            aim = (life + 1) * BATCHES + rng.randint(0, 20)
            while tills[0].acknowledged + tills[1].acknowledged < aim:
                pause.wait(0.02)
            process.kill()

    with running(tmp_path) as (url, _):
        where.append(url)
        for till in tills:
            till.join()
        told = Client(url).get("/status")["topics"][0]
        rows = Client(url).get("/topics/sales/rows", format="json", limit=10_000)["rows"]

    assert [till.failure for till in tills] == [None, None]
    for number in TILLS:
        assert [r["n"] for r in rows if r["till"] == number] == list(range(2 * BATCHES))
    assert told["rejected"] == len(TILLS) * BATCHES // 3
    assert told["received"] == told["rows"] + told["rejected"] + told["duplicate"]
    for till in tills:
        known = next(p for p in told["producers"] if p["producer"] == f"till-{till.number}")
        assert known["sequence"] == BATCHES - 1
        assert till.acknowledged <= known["received"] <= till.sent
