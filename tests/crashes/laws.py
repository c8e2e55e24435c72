"""What must hold of a pipeline that was killed, when it has started again.

Every acknowledged batch is there once, with perhaps the one that was in flight; the views say what
was computed without them from what was sent; the sinks' stores hold what their views do; and
accepted, rejected and duplicate rows add up to what was received. (That epochs repeat themselves,
bit by bit, the start itself checks, and refuses.)
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from crashes.process import Process
from crashes.sales import Answers, Groups
from crashes.sender import Sender

_SETTLE_SECONDS_MAX = 60.0


def check(process: Process, sender: Sender, folder: Path) -> None:
    """Check all of it. Nobody sends meanwhile.

    Raises:
        AssertionError: A law does not hold.
    """
    assert not sender.wrong, sender.wrong
    _take_in_flight(process, sender)
    status = _settled(process)
    assert not status["problems"], status["problems"]
    _check_counts(status, sender)
    _check_views(process, sender.answers)
    _check_sinks(sender.answers, folder)


def check_rows(process: Process, sender: Sender) -> None:
    """Check that every sale is there once, by its id."""
    parts, offset = [np.zeros(0, dtype=np.int64)], 0
    while (rows := process.arrow("/topics/sales/rows", offset)).num_rows:
        parts.append(rows.column("id").to_numpy())
        offset += rows.num_rows
    found, expected = np.sort(np.concatenate(parts)), sender.answers.ids()
    lost, strange = np.setdiff1d(expected, found), np.setdiff1d(found, expected)
    assert not len(lost), f"{len(lost)} sales are lost, the first {lost[0]}"
    assert not len(strange), f"{len(strange)} sales were never sent, the first {strange[0]}"
    assert len(found) == len(expected), f"{len(found) - len(expected)} sales are there twice"


def _take_in_flight(process: Process, sender: Sender) -> None:
    """Find out whether the batch that was not acknowledged is there all the same."""
    batch = sender.next
    rows = {topic["name"]: topic["rows"] for topic in process.ask("GET", "/status")["topics"]}
    rejected = {t["name"]: t["rejected"] for t in process.ask("GET", "/status")["topics"]}
    known = sender.answers.accepted[batch.topic], sender.answers.rejected[batch.topic]
    found = rows[batch.topic], rejected[batch.topic]
    if found != known:
        both = known[0] + batch.accepted, known[1] + batch.rejected
        assert found == both, f"{batch.topic} has {found} rows, and not {known} or {both}"
        sender.acknowledged(batch)
        # Whoever resends it now is told so.
        sender.duplicate[batch.topic] += 0


def _settled(process: Process) -> Any:
    """The status once all is computed, and stored by the sinks."""
    end = time.monotonic() + _SETTLE_SECONDS_MAX
    while True:
        status = process.ask("GET", "/status")
        waiting = [status["lag_rows"], *(sink["lag"] for sink in status["sinks"])]
        if not any(waiting):
            return status
        assert time.monotonic() < end, f"it does not settle: {status}"
        assert process.is_alive(), process.said()
        time.sleep(0.02)


def _check_counts(status: Any, sender: Sender) -> None:
    for topic in status["topics"]:
        name = topic["name"]
        told = topic["rows"], topic["rejected"]
        expected = sender.answers.accepted[name], sender.answers.rejected[name]
        assert told == expected, f"{name} has {told} rows accepted and rejected, not {expected}"
        least = sender.duplicate[name]
        most = least + sender.perhaps_duplicate[name]
        assert least <= topic["duplicate"] <= most, f"{name}: {topic['duplicate']} duplicates"
        assert topic["received"] == sum(told) + topic["duplicate"], topic
        by_producer = sum(producer["received"] for producer in topic["producers"])
        assert topic["received"] == by_producer, f"{name}: its producers sent {by_producer}"


def _check_views(process: Process, answers: Answers) -> None:
    assert _groups(process.rows("SELECT shop, n, total FROM per_shop")) == answers.per_shop()
    assert _groups(process.rows("SELECT city, n, total FROM per_city")) == answers.per_city()
    rows = process.rows(
        "SELECT shop, epoch(window_start)::BIGINT // 60 AS minute, n, total FROM per_minute"
    )
    found = _groups(rows)
    expected = answers.per_minute()
    wrong = {key for key in found.keys() | expected if found.get(key) != expected.get(key)}
    named = [(*key[:-1], datetime.fromtimestamp(60 * key[-1], UTC)) for key in sorted(wrong)[:3]]
    assert not wrong, f"{len(wrong)} windows differ, {named}"


def _check_sinks(answers: Answers, folder: Path) -> None:
    expected = answers.per_city()
    if not expected and not any(folder.glob("lake/per_city/*.parquet")):
        return
    lake = duckdb.sql(
        f"SELECT city, n, total FROM '{folder}/lake/per_city/*.parquet' "
        "GROUP BY ALL HAVING sum(_weight) > 0"
    )
    assert _groups(lake.fetchall()) == expected
    with duckdb.connect(str(folder / "shop.duckdb"), read_only=True) as store:
        rows = store.sql("SELECT shop, n, total FROM per_shop").fetchall()
    assert _groups(rows) == answers.per_shop()


def _groups(rows: Any) -> Groups:
    found = {tuple(row[:-2]): (int(row[-2]), int(row[-1])) for row in rows}
    assert len(found) == len(rows), "a group is there twice"
    return found
