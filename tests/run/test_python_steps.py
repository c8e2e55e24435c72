"""Transforms and processes in a running pipeline: live and in batch, changed, killed, refused."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import headwater as hw
from headwater.testing.deltas import assert_same

SILENCE = timedelta(minutes=5)


def beat(device: str, at: str, celsius: float | None = 20.0) -> dict[str, Any]:
    return {"device": device, "celsius": celsius, "ts": f"2026-01-01T{at}"}


BEATS = [
    beat("a", "00:00:00"),
    beat("b", "00:01:00"),
    beat("a", "00:03:30", None),
    beat("b", "00:00:30"),
    beat("a", "00:30:00"),
    beat("b", "00:30:01"),
    beat("b", "00:31:00"),
]


class Silent:
    """A device that has not been heard of for five minutes."""

    def row(self, row: dict[str, Any], key: Any) -> None:
        key.state["seen"] = row["ts"]
        key.timers.set(row["ts"] + SILENCE)

    def timer(self, name: str, at: datetime, key: Any) -> Any:
        yield {"seen": key.state["seen"], "noticed": at}


def numbered(row: dict[str, Any], key: Any) -> dict[str, Any]:
    """Counts a device's beats."""
    key.state["n"] = key.state.get("n", 0) + 1
    return {"n": key.state["n"], "ts": row["ts"]}


def doubled(rows: pa.RecordBatch) -> pa.Table:
    """A row of a table twice, in capitals the second time."""
    table = pa.Table.from_batches([rows])
    capitals = table.set_column(1, "owner", pc.utf8_upper(table["owner"]))
    return pa.concat_tables([table, capitals])


def parsed(rows: pa.RecordBatch) -> pa.Table:
    """The beats that measured something, those of b twice, the last first."""
    known = zip(*(rows.column(name).to_pylist() for name in ("device", "celsius")), strict=True)
    of = [i for i, (d, c) in enumerate(known) if c is not None for _ in range(1 + (d == "b"))]
    at = pa.array(of[::-1], pa.int64())
    return pa.table({"device": rows["device"].take(at), "ts": rows["ts"].take(at), "_row": at})


def devices(silent: Any = Silent, number: Any = numbered) -> hw.App:
    app = hw.App("devices")
    app.topic("beats", "device VARCHAR, celsius DOUBLE, ts TIMESTAMP", event_time="ts",
              delay="1 minute")  # fmt: skip
    app.table("owners", "device VARCHAR, owner VARCHAR", key="device")
    app.view("warm", "SELECT device, ts FROM beats WHERE celsius > 10")
    app.transform("names", reads="owners", columns="device VARCHAR, owner VARCHAR")(doubled)
    app.process("heard", reads="warm", key="device", columns="device VARCHAR, n BIGINT, "
                "ts TIMESTAMP", event_time="ts")(number)  # fmt: skip
    app.process("silent", reads="SELECT device, ts FROM beats", key=("device",), order="time",
                columns="device VARCHAR, seen TIMESTAMP, noticed TIMESTAMP")(silent)  # fmt: skip
    app.transform("parsed", reads="beats", columns="device VARCHAR, ts TIMESTAMP",
                  event_time="ts")(parsed)  # fmt: skip
    app.process("reread", reads="parsed", key="device", columns="device VARCHAR, n BIGINT, "
                "ts TIMESTAMP")(number)  # fmt: skip
    app.view(
        "parsed_final",
        "SELECT window_start, count(*) AS n FROM TUMBLE(parsed, ts, INTERVAL '10 minutes') "
        "GROUP BY window_start EMIT FINAL",
    )
    app.view(
        "per_hour",
        "SELECT window_start, max(n) AS n FROM TUMBLE(heard, ts, INTERVAL '10 minutes') "
        "GROUP BY window_start EMIT FINAL",
    )
    app.view(
        "owned", "SELECT owner, count(*) AS n FROM silent JOIN names USING (device) GROUP BY owner"
    )
    return app


OWNERS = [{"device": "a", "owner": "ann"}, {"device": "b", "owner": "bob"}]
VIEWS = (
    "warm", "names", "heard", "silent", "per_hour", "owned", "parsed", "reread", "parsed_final"
)  # fmt: skip


def contents(live: hw.Live) -> dict[str, pa.Table]:
    return {name: live.query(f"FROM {name}") for name in VIEWS}


def expected() -> dict[str, pa.Table]:
    inputs = {"beats": pa.Table.from_pylist(BEATS), "owners": pa.Table.from_pylist(OWNERS)}
    return devices().batch(inputs)


def test_one_epoch_many_epochs_and_batch_agree() -> None:
    found = []
    for step in (1, len(BEATS)):
        with devices().start(listen=None) as live:
            # The first owner of b is replaced: what came of the old row is withdrawn.
            live.send("owners", [OWNERS[0], {"device": "b", "owner": "zoe"}])
            for first in range(0, len(BEATS), step):
                live.send("beats", BEATS[first : first + step])
                live.settle()
            live.send("owners", OWNERS[1:])
            live.finish()
            assert live.status().problems == ()
            found.append(contents(live))

    answers = expected()
    for name in VIEWS:
        assert_same(found[0][name], answers[name])
        assert_same(found[1][name], answers[name])
    noticed = answers["silent"]["noticed"].to_pylist()
    assert sorted(at.minute for at in noticed) == [6, 8, 35, 36]


def test_a_kill_and_a_restart_change_nothing(tmp_path: Path) -> None:
    for number, row in enumerate(BEATS):
        live = devices().start(tmp_path, listen=None)
        if number == 0:
            live.send("owners", OWNERS)
        live.send("beats", [row])
        live.settle()
        kill(live) if number % 3 else live.close()

    with devices().start(tmp_path, listen=None) as live:
        live.finish()
        found = contents(live)

    for name, table in expected().items():
        assert_same(found[name], table)


def test_changed_code_is_a_changed_view_and_so_are_those_that_read_it(tmp_path: Path) -> None:
    class Sooner(Silent):
        def row(self, row: dict[str, Any], key: Any) -> None:
            key.timers.set(row["ts"] + SILENCE / 2)

    with devices().start(tmp_path, listen=None) as live:
        live.send("beats", BEATS)
        live.settle()

    with pytest.raises(hw.DefinitionError, match="written: silent, owned"):
        devices(Sooner).start(tmp_path, listen=None)
    with devices().start(tmp_path, listen=None) as live:
        assert live.notices == []


def test_code_that_is_not_deterministic_is_found_out(tmp_path: Path) -> None:
    count = itertools.count()

    def counting(row: dict[str, Any], key: Any) -> dict[str, Any]:
        return {"n": next(count), "ts": row["ts"]}

    live = devices(number=counting).start(tmp_path, listen=None)
    live.send("beats", BEATS)
    live.settle()
    kill(live)

    with pytest.raises(hw.StateError, match="heard does not repeat epoch") as raised:
        devices(number=counting).start(tmp_path, listen=None)
    assert "Python code that it runs (heard) may not be deterministic" in str(raised.value)


def test_a_row_for_which_it_raises_is_told_and_the_rest_goes_on() -> None:
    def picky(row: dict[str, Any], key: Any) -> dict[str, Any]:
        if row["ts"].minute == 1:
            raise ValueError("one")
        return numbered(row, key)

    with devices(number=picky).start(listen=None) as live:
        live.send("beats", BEATS)
        live.settle()

        assert live.query("FROM heard$failed").to_pylist() == [
            {
                "reason": "process heard raised ValueError: one",
                "record": '{"device":"b","ts":"2026-01-01T00:01:00"}',
            }
        ]
        assert live.query("SELECT n FROM heard WHERE device = 'b'")["n"].to_pylist() == [1, 2, 3]


def test_state_that_cannot_be_kept_pauses_the_view() -> None:
    def hoarding(row: dict[str, Any], key: Any) -> None:
        key.state["all"] = {row["ts"]}

    with devices(number=hoarding).start(listen=None) as live:
        live.send("beats", BEATS)
        live.settle()

        assert "the state of process heard for {'device': " in live.status().problems[0]
        assert "a set cannot be kept" in live.status().problems[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reads": "owners"}, "process p needs rows in the order of one topic's log"),
        ({"reads": "SELECT ad FROM plain", "key": "ad"}, "timers need the event time of a topic"),
        (
            {"reads": "SELECT device, ts + INTERVAL '1 hour' AS ts FROM beats"},
            "timers need the event time of a topic",
        ),
        (
            {"reads": "SELECT device FROM beats", "event_time": "seen"},
            "p cannot have an event time, because what it reads has none",
        ),
        (
            {"reads": "SELECT * FROM SESSION(beats PARTITION BY device, ts, INTERVAL '1 minute')"},
            "process p needs rows in the order of one topic's log",
        ),
        ({"reads": "names"}, "process p needs rows in the order of one topic's log"),
        ({"key": "devise"}, "process p reads no column devise for the key"),
        ({"reads": "nothing"}, "there is no topic, table or view called nothing"),
    ],
)
def test_what_a_process_cannot_read_is_refused(options: dict[str, Any], message: str) -> None:
    app = devices()
    app.topic("plain", "ad BIGINT")
    settings = {"reads": "beats", "key": "device", "columns": "device VARCHAR, seen TIMESTAMP"}
    app.process("p", **(settings | options))(Silent)

    with pytest.raises(hw.DefinitionError, match=message):
        app.compile()


@pytest.mark.parametrize(
    ("options", "call", "message"),
    [
        ({"order": "size"}, Silent, "order is 'size'"),
        ({"event_time": "tz"}, Silent, "makes no column tz for its event time"),
        ({}, object, "process p has nothing to call with a row"),
        ({"columns": "n BIGINTS"}, Silent, "BIGINTS"),
    ],
)
def test_what_is_no_process_is_refused(options: Any, call: Any, message: str) -> None:
    settings = {"reads": "beats", "key": "device", "columns": "seen TIMESTAMP"}

    with pytest.raises(hw.DefinitionError, match=message):
        devices().process("p", **(settings | options))(call)


def kill(live: hw.Live) -> None:
    """Stop without a last checkpoint, as a crash does: the next start steps the epochs again."""
    live._runtime.checkpoint = lambda: None  # type: ignore[method-assign]
    live.close()
