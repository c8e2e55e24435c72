"""What an author writes: `App` declares a pipeline and runs it.

SQL and Python say the same; both end in one plain `Pipeline`. Nothing is checked against the data
until a pipeline is started, computed in batch or explained; a definition that is wrong in itself is
refused where it is made.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from headwater.clock import Clock, SystemClock
from headwater.errors import DefinitionError
from headwater.heap import HEAP
from headwater.pipeline.declarations import Declarations
from headwater.pipeline.sinks import SinkSettings
from headwater.plan.pipeline import Pipeline, SinkDefinition
from headwater.run.compile import Compiled, compile_pipeline
from headwater.run.foreground import run_in_foreground
from headwater.run.live import Live, microseconds_of
from headwater.runtime.runtime import Settings
from headwater.schema.size import parse_size
from headwater.sql import declare, declare_python
from headwater.sql.statements import parse

Duration = str | timedelta
Function = TypeVar("Function", bound=Callable[..., Any])
Decorator = Callable[[Function], Function]
LISTEN = "127.0.0.1:8484"

HEAP.settle()


class App:
    """A pipeline that is being declared.

    Args:
        name: What the pipeline is called on its page and in messages.

    Example:
        >>> import headwater as hw
        >>> app = hw.App("shop")
        >>> app.topic("sales", "item VARCHAR, price DECIMAL(9, 2)")
        >>> app.view("totals", "SELECT item, sum(price) AS total FROM sales GROUP BY item")
        >>> with app.start(listen=None) as live:
        ...     receipt = live.send("sales", [{"item": "tea", "price": "2.50"}])
        ...     live.settle()
        ...     live.query("SELECT * FROM totals").to_pylist()
        [{'item': 'tea', 'total': Decimal('2.50')}]
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._declarations = Declarations(name)

    def topic(  # noqa: PLR0913 - a topic has these settings, all but two by keyword
        self,
        name: str,
        columns: str,
        *,
        event_time: str | None = None,
        delay: Duration | None = None,
        idle: Duration | None = None,
        future_max: Duration | None = None,
        partitions: int = 1,
        watermark_by: str | None = None,
        ready: float | None = None,
        retention: Duration | None = None,
        retention_bytes: str | int | None = None,
        archive: str | None = None,
    ) -> None:
        """Declare a topic: an append-only log of rows.

        Args:
            columns: As in SQL: `"ad BIGINT, ts TIMESTAMP NOT NULL"`.
            event_time: The TIMESTAMP column that says when an event happened.
            delay: How far the watermark stays behind the highest event time.
            idle: A partition or sender silent for so long no longer holds the watermark back.
            future_max: A row whose event time is further ahead of its arrival is rejected.
            watermark_by: The column that names a row's sender: each sender has a watermark of its
                own, and the topic's is the lowest of them.
            ready: Windows close when so large a share of the senders (0.95, say) has passed their
                end, and are corrected until all have.
            retention: Rows that arrived longer ago are let go: `"7 days"`. None: they are kept.
            retention_bytes: The oldest rows are let go where the topic takes more: `"10 GB"`.
            archive: Older files are moved there and read from there: `"s3://bucket/prefix"`,
                `"s3://bucket/prefix?endpoint=http://host:9000"`, or a folder. Keys come from the
                environment.

        Raises:
            DefinitionError: The columns cannot be read, or the name is taken.
        """
        self._declarations.add(
            declare.topic(
                name,
                columns,
                event_time=event_time,
                delay=delay,
                idle=idle,
                future_max=future_max,
                partitions=partitions,
                watermark_by=watermark_by,
                ready=ready,
                retention=retention,
                retention_bytes=retention_bytes,
                archive=archive,
            )
        )

    def table(
        self, name: str, columns: str, *, key: str | tuple[str, ...] | None = None, **options: Any
    ) -> None:
        """Declare a table: a topic of which the newest row of each key is the content.

        Args:
            columns: As in SQL; may hold the PRIMARY KEY.
            key: The key column or columns, if the columns do not say.
            **options: As of `topic`.

        Raises:
            DefinitionError: There is no key, or it names no column.
        """
        definition = declare.topic(name, columns, key=key, **options)
        if not definition.is_table:
            raise DefinitionError(
                f"table {name} has no key",
                hint="say key='...' or write PRIMARY KEY behind a column; "
                "without a key it is a topic",
            )
        self._declarations.add(definition)

    def view(
        self,
        name: str,
        query: str,
        *,
        emit: str | None = None,
        lateness: Duration | None = None,
        accumulation: str = "retracting",
    ) -> None:
        """Declare a view: a query that is kept up to date.

        Args:
            query: A SELECT over topics, tables and earlier views; may end in an EMIT clause.
            emit: `changes` (the default) or `final`.
            lateness: How long after a window's end it is still corrected.
            accumulation: When a result changes, `retracting` withdraws the one before;
                `accumulating` publishes the new one beside it; `discarding` only what came since.

        Raises:
            DefinitionError: The query cannot be parsed, or the name is taken.
        """
        view = declare.view(name, query, emit=emit, lateness=lateness, accumulation=accumulation)
        self._declarations.add(view)

    def sink(self, source: str, settings: SinkSettings, *, name: str | None = None) -> None:
        """Declare a sink: a consumer that takes a view's changes out.

        Args:
            source: The view that it follows.
            settings: One of `headwater.sinks`.
            name: By default `<source>_<kind>`.

        Raises:
            DefinitionError: There is no such view, or the name is taken.
        """
        self._declarations.add(
            SinkDefinition(
                name or f"{source}_{settings.connector}",
                source,
                settings.connector,
                settings.options(),
            )
        )

    def sql(self, text: str, *, source: str = "SQL") -> None:
        """Declare all that the CREATE statements of a text say.

        Args:
            text: One or more statements.
            source: What the text is to its author, for messages: a file's name.

        Raises:
            DefinitionError: A statement is wrong; its place is underlined.
        """
        for definition in parse(text, source):
            self._declarations.add(definition)

    def function(
        self, signature: str | None = None, *, name: str | None = None
    ) -> Decorator[Function]:
        """Declare a function that the SQL of views can call; a decorator.

        It takes an Arrow array for each parameter and returns one of the same length. What it says
        of a row may depend on that row only. Nulls are passed in like any other value.

        Args:
            signature: `"(celsius DOUBLE) -> DOUBLE"`; None: what the annotations say.
            name: What SQL calls it; by default its own name.

        Raises:
            DefinitionError: A type is missing or unknown, or the name is taken.
        """

        def declared(call: Function) -> Function:
            self._declarations.add(declare_python.function(call, signature, name))
            return call

        return declared

    def transform(
        self, name: str, *, reads: str, columns: str, event_time: str | None = None
    ) -> Decorator[Function]:
        """Declare a view that a function makes of the rows that it reads; a decorator.

        The function takes a `pyarrow.RecordBatch` and returns one, or a table, with any number of
        rows. It works row by row: what it makes of a row does not depend on those beside it.

        Args:
            reads: A topic, table or earlier view, or a SELECT.
            columns: The columns of what it returns, as in SQL.
            event_time: The column that carries an event time for the views that read this. The
                function then also returns a column `_row`: of which row of the batch each row is.

        Raises:
            DefinitionError: The columns or the query cannot be read, or the name is taken.
        """

        def declared(call: Function) -> Function:
            made = declare_python.transform(
                name, call, reads=reads, columns=columns, event_time=event_time
            )
            self._declarations.add(made)
            return call

        return declared

    def process(
        self,
        name: str,
        *,
        reads: str,
        key: str | tuple[str, ...],
        columns: str,
        **options: Any,
    ) -> Decorator[Function]:
        """Declare a view that code makes, key by key, of the rows so far and of the time.

        What is decorated is a function `(row, key)`, or a class with the method `row(self, row,
        key)` and, for timers, `timer(self, name, at, key)`. Both may yield, or return, rows as
        dicts. `key.state` is a dict of plain data that is kept; `key.timers` are set in event time.

        Args:
            reads: A topic, a view over one topic, or a SELECT over such.
            key: The column or columns of the key.
            columns: The columns of what is emitted, as in SQL; those of the key fill themselves in.
            **options: `order`: `log` (the default) or `time`, in which the rows of a key come;
                `event_time`: the column that carries an event time for the views that read this.

        Raises:
            DefinitionError: The columns or the query cannot be read, or the name is taken.
        """

        def declared(call: Function) -> Function:
            made = declare_python.process(
                name, call, reads=reads, key=key, columns=columns, **options
            )
            self._declarations.add(made)
            return call

        return declared

    @property
    def pipeline(self) -> Pipeline:
        """All that was declared, as plain data."""
        return self._declarations.pipeline()

    def compile(self) -> Compiled:
        """Plan every view.

        Raises:
            DefinitionError: A view is wrong; the place in its text is underlined.
        """
        return compile_pipeline(self.pipeline)

    def explain(self, view: str | None = None) -> str:
        """Say how each view (or one) is computed: what is incremental, what state it keeps."""
        from headwater.run.explain import explain_views

        return explain_views(self.compile(), view)

    def start(
        self,
        data: str | Path | None = None,
        *,
        listen: str | None = LISTEN,
        clock: Clock | None = None,
        settings: Settings | None = None,
    ) -> Live:
        """Run the pipeline in this process, in threads of its own.

        Args:
            data: The folder for everything durable; None for a new temporary folder that is removed
                at the end.
            listen: `HOST:PORT` of the HTTP API and the live page; None for no HTTP.

        Raises:
            DefinitionError: The pipeline is wrong, or does not fit the folder.
            StateError: Another process has the folder, or it cannot be read.
        """
        compiled = self.compile()
        scratch = tempfile.TemporaryDirectory(prefix="headwater-") if data is None else None
        folder = Path(scratch.name if scratch else data or "")
        try:
            return Live(
                compiled,
                folder,
                listen=listen,
                clock=clock or SystemClock(),
                settings=settings or Settings(),
                scratch=scratch,
            )
        except BaseException:
            if scratch:
                scratch.cleanup()
            raise

    def batch(
        self,
        inputs: Mapping[str, pa.Table | str | Path],
        *,
        now: datetime | str | None = None,
    ) -> dict[str, pa.Table]:
        """Compute every view over whole inputs, with DuckDB in batch: no log, no state, no files.

        Args:
            inputs: For topics and tables, their rows in log order: a table, or a Parquet, CSV or
                NDJSON file. What is not given is empty.
            now: What `now()` is for all views; by default the moment of the call.

        Returns:
            The content of each view, by name.
        """
        from headwater.replay.batch import batch

        compiled = self.compile()
        now_us = SystemClock().now_us() if now is None else microseconds_of(now)
        return batch(compiled.pipeline, inputs, compiled.plans, now_us=now_us)

    def run(  # noqa: PLR0913 - the settings of a run, by keyword
        self,
        data: str | Path = "data",
        *,
        listen: str | None = LISTEN,
        bounded: bool = False,
        inputs: Mapping[str, str | Path] | None = None,
        rebuild: bool = False,
        memory: str | int | None = None,
    ) -> None:
        """Run in the foreground until Ctrl-C, showing progress.

        Args:
            bounded: Take in `inputs` and what the folder has, let the watermark pass every window,
                fill the sinks, and return: a batch job is a stream that ends.
            inputs: Files to send first, by topic: NDJSON, JSON, CSV, Parquet or Arrow.
            rebuild: Views whose definition changed may be computed again from the log.
            memory: How much memory of its own the process may have, in bytes or as text: `"4 GB"`.
        """
        run_in_foreground(
            self,
            Path(data),
            listen=listen,
            bounded=bounded,
            inputs=inputs or {},
            rebuild=rebuild,
            memory_bytes=None if memory is None else parse_size(memory),
        )
