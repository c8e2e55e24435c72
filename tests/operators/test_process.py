"""A process says the same, row for row, whatever the cut: as a plain loop over the log does."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL
from headwater.errors import DefinitionError
from headwater.operators.keyed import Timers
from headwater.operators.statement import Engine
from headwater.plan.nodes import Process, Scan
from headwater.plan.python import PythonStep, RowOrder, StepKind
from operators.running import SOURCES, Outcome, run, schema, table, zset

ROWS = schema(k="VARCHAR", v="BIGINT", ts="TIMESTAMP")
SAID = schema(k="VARCHAR", what="VARCHAR", n="BIGINT", at="TIMESTAMP")
START = datetime(1970, 1, 1)


def moment(us: int) -> datetime:
    return START + timedelta(microseconds=us)


class Everything:
    """Uses all there is: state of many kinds, named timers, chains of them, cancelling, raising."""

    def row(self, row: dict[str, Any], key: Any) -> Iterator[dict[str, Any]]:
        state, v = key.state, row["v"]
        state["seen"] = (*state.get("seen", ()), v)[-3:]
        state["last"] = row["ts"]
        if v == 0:
            key.timers.set(row["ts"] + timedelta(microseconds=5))
        elif v == 1:
            key.timers.set(row["ts"] - timedelta(microseconds=9), "past")
        elif v == 2:
            key.timers.set(row["ts"] + timedelta(microseconds=2), "chain")
        elif v == 3:
            key.timers.cancel()
            yield {"what": "cancelled", "n": len(state["seen"])}
        elif v == 4:
            state.clear()
        elif v == 5:
            yield {"what": "never"}
            key.timers.set(row["ts"])
            raise ValueError("five")
        elif v == 6:
            yield {"what": "bad", "n": "six"}
        elif v is None:
            yield {"what": str(key.timers.get()), "at": key.timers.get("chain")}
        yield {"what": "row", "n": sum(x or 0 for x in state.get("seen", ())), "at": row["ts"]}

    def timer(self, name: str, at: datetime, key: Any) -> Any:
        count = key.state["fired"] = key.state.get("fired", 0) + 1
        if name == "chain" and count % 4:
            key.timers.set(at + timedelta(microseconds=3), "chain")
        if count % 7 == 6:
            raise RuntimeError("sixth")
        if name == "past":
            return None
        return {"what": f"timer {name}", "n": count, "at": at}


class PlainKey:
    """What the loop of this test hands to the code."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}
        self.timers = Timers({}, can_fire=True)


class Loop:
    """The naive second computation: all keys, one row after the other."""

    def __init__(self) -> None:
        self.code = Everything()
        self.keys: dict[Any, PlainKey] = {}
        self.said: Counter[Any] = Counter()
        self.failed = 0

    def call(self, k: Any, method: str, *arguments: Any, cancel: str | None = None) -> None:
        key = self.keys.setdefault(k, PlainKey())
        before = copy.deepcopy(key)
        if method == "timer":
            key.timers._after_us = (arguments[1] - START) // timedelta(microseconds=1)
        try:
            result = getattr(self.code, method)(*arguments, key)
            said = [] if result is None else [result] if isinstance(result, dict) else list(result)
            for row in said:
                pa.array([row.get("n")], pa.int64())
        except Exception:
            self.keys[k], self.failed = before, self.failed + 1
            return
        finally:
            key.timers._after_us = BEFORE_ALL
        for row in said:
            self.said[(k, row["what"], row.get("n"), row.get("at"))] += 1

    def fire(self, watermark: int) -> None:
        """Fire what is due; after the end of the input what stands, once."""
        for k in list(self.keys):
            if watermark == AFTER_ALL:
                times = self.keys[k].timers._times
                for name, (us, _) in sorted(times.items(), key=lambda item: (item[1], item[0])):
                    if self.keys[k].timers._times.get(name) == (us, False):
                        self.keys[k].timers.cancel(name)
                        self.call(k, "timer", name, moment(us))
                for name in list(self.keys[k].timers._times):
                    self.keys[k].timers.cancel(name)
            else:
                while (due := self.keys[k].timers._take_due(watermark)) is not None:
                    self.call(k, "timer", due[0], moment(due[1][0]))

    def given(self, row: tuple[Any, ...]) -> None:
        self.call(row[0], "row", {"k": row[0], "v": row[1], "ts": moment(row[2])})


def in_log_order(rows: Sequence[Any]) -> Loop:
    loop, watermark = Loop(), BEFORE_ALL
    for row in rows:
        loop.given(row)
        watermark = max(watermark, row[2])
        loop.fire(watermark)
    loop.fire(AFTER_ALL)
    return loop


def in_time_order(rows: Sequence[Any]) -> tuple[Loop, list[Any]]:
    loop, watermark, late, taken = Loop(), BEFORE_ALL, [], []
    for row in rows:
        (late if row[2] < watermark else taken).append(row)
        watermark = max(watermark, row[2])
    for row in sorted(taken, key=lambda row: row[2]):
        loop.fire(row[2])
        loop.given(row)
        loop.fire(row[2])
    loop.fire(watermark)
    loop.fire(AFTER_ALL)
    return loop, late


rows_of = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", None]),
        st.sampled_from([None, 0, 1, 2, 3, 4, 5, 6, 7]),
        st.integers(0, 40),
    ),
    max_size=25,
)
cuts_of = st.lists(st.integers(1, 25), max_size=6) | st.just(range(25))
quick = settings(max_examples=60, deadline=None)


def process(
    rows: Sequence[Any], *, order: RowOrder = RowOrder.LOG, call: Any = Everything, **how: Any
) -> Outcome:
    scan = Scan("t", ROWS, append_only=True, ticks=True)
    time = "ts" if order is RowOrder.TIME else None
    plan = Process(scan, "said", "", ("k",), time, SOURCES, SAID)
    step = PythonStep(StepKind.PROCESS, call, SAID, ("k",), order)
    data = table(ROWS, [(k, v, moment(t)) for k, v, t in rows], __tick=range(len(rows)))
    with Engine(steps={"said": step}) as engine:
        return run(engine, plan, data, times_us=[t for _, _, t in rows], **how)


def sequence(outcome: Outcome) -> list[Any]:
    """All that was said, in the order in which it was."""
    found = [change.visible().to_pylist() for change in outcome.changes]
    return [tuple(row.values()) for rows in found for row in rows]


def refused(outcome: Outcome) -> int:
    return sum(batch.num_rows for batch in outcome.failed)


@quick
@given(rows=rows_of, cuts=cuts_of, saved_after=st.none() | st.integers(0, 4))
def test_rows_in_the_log_s_order_are_as_in_a_plain_loop(
    rows: Any, cuts: Any, saved_after: Any
) -> None:
    loop = in_log_order(rows)

    outcome = process(rows, cuts=cuts, saved_after=saved_after)

    assert outcome.total == loop.said
    assert refused(outcome) == loop.failed
    # Also the order in which it is said does not depend on the cut.
    assert sequence(outcome) == sequence(process(rows))


@quick
@given(rows=rows_of, cuts=cuts_of, saved_after=st.none() | st.integers(0, 4))
def test_rows_in_the_order_of_time_are_as_in_a_plain_loop(
    rows: Any, cuts: Any, saved_after: Any
) -> None:
    loop, late = in_time_order(rows)

    outcome = process(rows, order=RowOrder.TIME, cuts=cuts, saved_after=saved_after)

    assert outcome.total == loop.said
    assert refused(outcome) == loop.failed
    found = Counter(row[:3] for batch in outcome.late for row in zset(batch).elements())
    assert found == Counter((k, v, moment(t)) for k, v, t in late)
    assert sequence(outcome) == sequence(process(rows, order=RowOrder.TIME))


def test_failed_rows_and_timers_are_told_with_their_reason() -> None:
    rows = [("a", 0, 10), ("a", 5, 11), ("b", 6, 12), ("a", 7, 30)]

    def raising(row: Any, key: Any) -> None:
        raise KeyError(row["v"])

    class Late(Everything):
        def timer(self, name: str, at: datetime, key: Any) -> None:
            raise RuntimeError("no\ntime")

    told = [tuple(row.values()) for b in process(rows, call=Late).failed for row in b.to_pylist()]
    assert [(reason, json.loads(record)) for reason, record in told] == [
        (
            "process said raised ValueError: five",
            {"k": "a", "v": 5, "ts": "1970-01-01T00:00:00.000011"},
        ),
        (
            "process said raised TypeError: column n BIGINT: Could not convert 'six' with type "
            "str: tried to convert to int64",
            {"k": "b", "v": 6, "ts": "1970-01-01T00:00:00.000012"},
        ),
        (
            "process said raised RuntimeError: no time",
            {"k": "a", "timer": "", "at": "1970-01-01T00:00:00.000015"},
        ),
    ]
    assert refused(process(rows, call=raising)) == 4


def test_a_key_without_state_and_timers_is_forgotten() -> None:
    kept = process([("a", 7, 1), ("b", 7, 1), ("c", 2, 1)], is_ended=False).flow
    left = process([("a", 7, 1), ("b", 7, 1), ("a", 4, 2), ("b", 4, 2)], is_ended=False).flow

    assert kept is not None and kept.state_size()[0] == 3
    assert left is not None and left.state_size()[0] == 0


def test_a_timer_that_is_moved_on_and_on_costs_one_entry() -> None:
    rows = [("a", 0, t) for t in range(200)]

    outcome = process(rows, cuts=range(200), is_ended=False)

    assert outcome.flow is not None
    assert not sum(outcome.total[row] for row in outcome.total if "timer" in row[1])
    operator = outcome.flow._stages[-1].operator
    assert operator._due.size()[0] == 1  # type: ignore[union-attr]


@pytest.mark.parametrize("bad", [{1, 2}, object(), datetime(2026, 1, 1).astimezone, 1 + 2j])
def test_what_cannot_be_kept_is_refused(bad: Any) -> None:
    def keeping(row: Any, key: Any) -> None:
        key.state["x"] = bad

    with pytest.raises(DefinitionError, match=r"the state of process said for .*cannot be kept"):
        process([("a", 1, 1)], call=keeping)


def test_misuse_fails_the_row_and_says_why() -> None:
    def timed(row: Any, key: Any) -> None:
        key.timers.set(row["ts"])

    def strange(row: Any, key: Any) -> Any:
        return {"kk": 1}

    def text(row: Any, key: Any) -> Any:
        return ["x"]

    calls = (timed, strange, text)
    reasons = [process([("a", 1, 1)], call=c).failed[0].to_pylist()[0]["reason"] for c in calls]

    assert [reason.partition("raised ")[2] for reason in reasons] == [
        "TypeError: there is no method timer(name, at, key) to be called",
        "TypeError: no such column is declared: kk",
        "TypeError: a dict is to be emitted, not 'x'",
    ]


def test_code_that_raises_only_the_second_time_is_found_out() -> None:
    calls = iter(range(100))

    def moody(row: Any, key: Any) -> None:
        if next(calls) > 0:
            raise ValueError("again")

    with pytest.raises(DefinitionError, match="process said is not deterministic"):
        process([("a", 1, 1), ("a", 2, 2)], call=moody)
