"""Stream scripts: a pipeline's behaviour as a page that people read and a test runs.

A script is a Markdown file. Each section (`## ...`) is one case: an `sql` block that declares a
pipeline, and `stream` blocks that say what goes in and what comes out:

    > clicks      who ts            rows of a topic, all in one send
                  + ann 12:00:05
    > clicks/1    who ts            the same, to partition 1; a row that is refused has a -
    @ clicks      12:05             no event before this will come
    @ clicks/1    12:05             the same of partition 1
    @ clicks=web  12:05             the same of the sender `web`
    ~ 5 minutes                     time goes by, or, with a time of day, it is that now
    < per_minute  window_start n    the changes that the view has published since last asked
                  + 12:00        1

Cells are separated by blanks; `null` is null; a time of day is one of 1 January 2026. Each case is
run as written, row by row, with a crash and a recovery after each step, and with all input in one
epoch; the last is compared by the sum of the changes, the others line by line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from headwater.errors import HeadwaterError
from headwater.pipeline.declarations import Declarations
from headwater.run.compile import Compiled, compile_pipeline
from headwater.runtime.ingest import Ingest
from headwater.runtime.runtime import Runtime, Settings
from headwater.schema.duration import parse_duration
from headwater.schema.schema import Schema
from headwater.sql.statements import parse
from headwater.testing.clock import ManualClock
from headwater.testing.disk import FakeDisk

DAY = "2026-01-01"
Row = tuple[str, ...]


@dataclass(slots=True)
class Step:
    """One instruction.

    Args:
        kind: `>` rows in, `@` an advance, `~` time goes by, `<` changes out.
        name: The topic or view.
        columns: Of the rows.
        partition, sender: Whom an advance or the rows are of, where that is said.
        rows: Sign and cells, as text.
    """

    kind: str
    name: str
    columns: tuple[str, ...]
    rows: list[tuple[str, Row]] = field(default_factory=list)
    partition: int | None = None
    sender: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One section of a script."""

    title: str
    sql: str
    steps: tuple[Step, ...]


def cases(path: Path) -> list[Case]:
    """The cases of a script."""
    sections = re.split(r"^## ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return [_case(section) for section in sections]


def run(case: Case, mode: str) -> None:
    """Run a case and compare.

    Args:
        mode: `written`, `rows`, `crashes` or `whole`.

    Raises:
        AssertionError: Something else came out; the message shows both.
    """
    world = World(case)
    try:
        if mode == "whole":
            _run_whole(case, world)
        else:
            _run_stepwise(case, world, mode)
    finally:
        world.close()


class World:
    """A pipeline over a disk and a clock of the test's own, stepped by hand."""

    def __init__(self, case: Case) -> None:
        declarations = Declarations("script")
        for definition in parse(case.sql, case.title):
            declarations.add(definition)
        self.compiled: Compiled = compile_pipeline(declarations.pipeline())
        self.clock = ManualClock(now_us=_us("2026-02-01T00:00:00"))
        self.disk = FakeDisk(1)
        self.positions: Counter[str] = Counter()
        self._open()

    def send(self, step: Step, rows: list[tuple[str, Row]]) -> None:
        """Send rows; every one must be taken, but those with a minus."""
        definition = self.runtime.topics[step.name].definition
        named = [dict(zip(step.columns, cells, strict=True)) for _, cells in rows]
        typed = [
            {name: _value(text, definition.schema, name) for name, text in row.items()}
            for row in named
        ]
        receipt = self.ingest.send(definition, typed, partition=step.partition or 0)
        refused = {number for number, (sign, _) in enumerate(rows) if sign == "-"}
        assert {r.position for r in receipt.rejections} == refused, receipt.rejections

    def advance(self, step: Step) -> None:
        """Let a watermark pass."""
        self.runtime.intake.advance(
            step.name, _us(_full(step.columns[0])), partition=step.partition, sender=step.sender
        )

    def pass_time(self, step: Step) -> None:
        """Let the clock go on, so that somebody may fall silent."""
        text = " ".join((step.name, *step.columns))
        if ":" in text:
            self.clock.set_wall(_us(_full(text)))
        else:
            self.clock.advance(parse_duration(text) / 1e6)
        self.runtime.intake.note_idle()

    def compute(self) -> None:
        """Run all epochs that are due."""
        while self.runtime.loop.run_epoch():
            pass

    def crash(self) -> None:
        """Lose what was not synced, and recover."""
        disk = self.disk.crash()
        self.close()
        self.disk = disk
        self._open()

    def published(self, step: Step) -> list[tuple[str, Row]]:
        """What a view has published since it was last asked, as signed cells."""
        log = self._log(step.name)
        changes = log.read(self.positions[step.name], 1 << 40)
        self.positions[step.name] += changes.num_rows
        return list(_signed(changes, step.columns))

    def close(self) -> None:
        """Let go of threads."""
        # After a crash the old disk refuses; the new one is what counts.
        with suppress(HeadwaterError):
            self.runtime.close()

    def _open(self) -> None:
        self.runtime = Runtime(
            self.compiled.pipeline, self.compiled.plans, self.disk, self.clock, Settings()
        )
        self.ingest = Ingest(self.runtime.intake, self.clock)
        self.runtime.loop.watch_silence()

    def _log(self, name: str) -> Any:
        view = next(v for v in self.runtime.loop.stepper.views if v.name == name.partition("$")[0])
        logs = {"": view.changes, "late": view.late, "failed": view.failed}
        return logs[name.partition("$")[2]]


def _run_stepwise(case: Case, world: World, mode: str) -> None:
    for step in case.steps:
        if step.kind == ">":
            groups = [[row] for row in step.rows] if mode == "rows" else [step.rows]
            for group in groups:
                world.send(step, group)
                world.compute()
        elif step.kind in "@~":
            _declare(world, step)
            world.compute()
        elif mode == "rows":
            _compare(case, step, _net(world.published(step)), _net(step.rows))
        else:
            _compare(case, step, Counter(world.published(step)), Counter(step.rows))
        if mode == "crashes":
            world.crash()


def _run_whole(case: Case, world: World) -> None:
    expected: dict[tuple[str, tuple[str, ...]], list[tuple[str, Row]]] = {}
    for step in case.steps:
        if step.kind == ">":
            world.send(step, step.rows)
        elif step.kind in "@~":
            _declare(world, step)
        else:
            expected.setdefault((step.name, step.columns), []).extend(step.rows)
    world.compute()
    for (name, columns), rows in expected.items():
        step = Step("<", name, columns)
        world.positions[name] = 0
        _compare(case, step, _net(world.published(step)), _net(rows))


def _declare(world: World, step: Step) -> None:
    if step.kind == "@":
        world.advance(step)
    else:
        world.pass_time(step)


def _compare(case: Case, step: Step, found: Counter[Any], expected: Counter[Any]) -> None:
    assert found == expected, (
        f"{case.title}: {step.name}\n"
        f"  missing: {sorted((expected - found).elements(), key=str)}\n"
        f"  too many: {sorted((found - expected).elements(), key=str)}"
    )


def _net(rows: list[tuple[str, Row]]) -> Counter[Row]:
    """The sum of signed rows."""
    total: Counter[Row] = Counter()
    for sign, cells in rows:
        total[cells] += 1 if sign == "+" else -1
    return Counter({row: weight for row, weight in total.items() if weight})


def _case(section: str) -> Case:
    title = section.splitlines()[0].strip()
    sql = "\n".join(re.findall(r"```sql\n(.*?)```", section, flags=re.DOTALL))
    streams = re.findall(r"```stream\n(.*?)```", section, flags=re.DOTALL)
    steps = [step for text in streams for step in _steps(text)]
    assert sql and steps, f"{title}: a case has an sql and a stream block"
    return Case(title, sql, tuple(steps))


def _steps(text: str) -> Iterator[Step]:
    step: Step | None = None
    for line in text.splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] in (">", "<", "@", "~"):
            if step is not None:
                yield step
            step = _step(words)
        else:
            assert step is not None and words[0] in "+-", line
            step.rows.append((words[0], tuple(_cell(word) for word in words[1:])))
    if step is not None:
        yield step


def _step(words: list[str]) -> Step:
    kind, target, *columns = words
    name, _, sender = target.partition("=")
    name, _, partition = name.partition("/")
    number = int(partition) if partition else None
    return Step(kind, name, tuple(columns), partition=number, sender=sender or None)


def _cell(text: str) -> str:
    """A cell in the one spelling that is compared: times whole, numbers plain."""
    return _full(text) if re.fullmatch(r"\d{2}:\d{2}(:\d{2})?(\.\d+)?", text) else text


def _full(text: str) -> str:
    if "T" in text:
        return text
    return f"{DAY}T{text}" if text.count(":") == 2 else f"{DAY}T{text}:00"


def _us(text: str) -> int:
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000


def _value(text: str, schema: Schema, column: str) -> Any:
    if text == "null":
        return None
    kind = schema[column].type.arrow
    if pa.types.is_integer(kind):
        return int(text)
    if pa.types.is_floating(kind):
        return float(text)
    if pa.types.is_boolean(kind):
        return text == "true"
    return text


def _signed(changes: pa.Table, columns: tuple[str, ...]) -> Iterator[tuple[str, Row]]:
    for row in changes.to_pylist():
        sign = "+" if row["_weight"] > 0 else "-"
        for _ in range(abs(row["_weight"])):
            yield sign, tuple(_text(row[name]) for name in columns)


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat()
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
