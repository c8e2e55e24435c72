"""Prepared DuckDB statements over Arrow batches.

A statement is bound once. What it reads is registered as a stable object that hands out the
current batch when DuckDB asks for its Arrow stream, so that running it again costs neither
parsing nor planning: about 0.2 ms for a small batch.

There are two DuckDB instances. The ordered one has a single thread: it is the quicker one for
small batches, and the only one for what depends on the order of rows, such as the bits of a sum
of floats. The parallel one has two threads and takes the big batches of everything else. Neither
can reach files, the network or extensions, and both keep the order of rows through filters and
projections.

What a user's expression refuses (an overflow, a failed cast) is a `RecordError` with DuckDB's
message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import MappingProxyType
from typing import TypeAlias

import duckdb
import pyarrow as pa
from sqlglot import exp

from headwater.errors import StateError
from headwater.operators.functions import Functions
from headwater.plan.python import FunctionDefinition, PythonStep
from headwater.schema.schema import Schema
from headwater.state.afar import whole

PARALLEL_THREADS = 2
PARALLEL_ROWS_MIN = 50_000
# An Arrow batch is DuckDB's unit of parallel work: one large batch would keep one thread busy.
MORSEL_ROWS = 61_440
OUTPUT_ROWS = 122_880

Rows: TypeAlias = "pa.Table | pa.RecordBatch"


class Source:
    """What a statement reads under one name: a stable object around the current rows."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._nothing = schema.empty_table()
        self._rows: Rows = self._nothing
        self._morsel_rows: int | None = None

    def fill(self, rows: Rows, morsel_rows: int | None) -> None:
        """Hand out `rows` from now on, in batches of at most `morsel_rows`."""
        self._rows = rows
        self._morsel_rows = morsel_rows

    def clear(self) -> None:
        """Let the rows go, so that a statement between two epochs pins no memory."""
        self.fill(self._nothing, None)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        if self._morsel_rows is None:
            return self._rows.__arrow_c_stream__()
        table = self._rows
        if isinstance(table, pa.RecordBatch):
            table = pa.Table.from_batches([table])
        return table.to_reader(max_chunksize=self._morsel_rows).__arrow_c_stream__()


class Instance:
    """One in-memory DuckDB with the settings that the engine relies on."""

    def __init__(self, threads: int, functions: Functions) -> None:
        self.is_parallel = threads > 1
        self._connection = duckdb.connect(":memory:", config=settings(threads))
        self._connection.execute("SET TimeZone = 'UTC'")
        functions.register(self._connection)
        self._registered: list[str] = []
        self._texts: dict[str, str] = {}

    def prepare(self, name: str, text: str, sources: Mapping[str, Source]) -> None:
        """Bind a query, which reads the sources as `tables_of` names them, as statement `name`."""
        for source, table in tables_of(name, sources).items():
            self._connection.register(table, sources[source])
            self._registered.append(table)
        if self.is_parallel:
            self._texts[name] = text
        else:
            self._connection.execute(f"PREPARE {name} AS {text}")
            self._texts[name] = f"EXECUTE {name}"

    def run(self, name: str) -> pa.Table:
        """Run a prepared statement.

        To keep the order of rows DuckDB runs an EXECUTE with one thread, whatever it has, but not
        a query. So the parallel instance is given the text again: for big batches planning is
        nothing.

        `_submit` is what the client itself runs a relation with. Its public spellings cost twice
        the time for a small batch: `execute` copies the rows and warns that it does, `sql` plans
        the statement again.
        """
        result = self._connection._submit(self._texts[name], None, "arrow", OUTPUT_ROWS)
        return result.arrow_table()

    def close(self) -> None:
        """Release the instance and all that it registered."""
        for table in self._registered:
            self._connection.unregister(table)
        self._registered.clear()
        self._connection.close()


class Engine:
    """The DuckDB instances of one dataflow. Used by one thread at a time.

    Args:
        functions: The author's functions, which statements may call.
        steps: The author's steps, by the names of their views.

    """

    def __init__(
        self,
        functions: Sequence[FunctionDefinition] = (),
        steps: Mapping[str, PythonStep] = MappingProxyType({}),
    ) -> None:
        self.steps = steps
        self.functions = Functions(functions)
        self._instances: dict[bool, Instance] = {}
        self._opening: Future[Instance] | None = None
        self._statements = 0

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()

    def instance(self, *, is_parallel: bool) -> Instance:
        """The ordered or the parallel instance, opened when it is first needed."""
        if is_parallel and self._opening is not None:
            opening, self._opening = self._opening, None
            self._instances[True] = opening.result()
        if is_parallel not in self._instances:
            threads = PARALLEL_THREADS if is_parallel else 1
            self._instances[is_parallel] = Instance(threads, self.functions)
        return self._instances[is_parallel]

    def open_ahead(self) -> None:
        """Open the parallel instance beside whatever is done first, as big batches will want it.

        It takes longer than a million rows in a simple statement.
        """
        if True not in self._instances and self._opening is None:
            opener = ThreadPoolExecutor(1, thread_name_prefix="headwater-open")
            self._opening = opener.submit(Instance, PARALLEL_THREADS, self.functions)
            opener.shutdown(wait=False)

    def statement_name(self) -> str:
        """A name that no other statement has."""
        self._statements += 1
        return f"statement_{self._statements}"

    def close(self) -> None:
        """Close both instances. Statements of this engine cannot run afterwards."""
        if self._opening is not None:
            self.instance(is_parallel=True)
        for instance in self._instances.values():
            instance.close()
        self._instances.clear()


class Statement:
    """One query over named inputs.

    Args:
        query: A query in DuckDB's dialect whose tables are the names of `inputs`.
        inputs: The exact schema of each input's batches.
        is_ordered: True when the result depends on the order of rows: one thread, always.

    """

    def __init__(
        self,
        engine: Engine,
        query: exp.Query,
        inputs: Mapping[str, pa.Schema],
        *,
        is_ordered: bool,
    ) -> None:
        self._engine = engine
        self._query = query
        self._inputs = dict(inputs)
        self._is_ordered = is_ordered
        self._name = engine.statement_name()
        self._text: str | None = None
        self._sources: dict[bool, dict[str, Source]] = {}
        self._schema: pa.Schema | None = None

    @property
    def query(self) -> exp.Query:
        """The query, for whoever wants to see what runs."""
        return self._query

    @property
    def schema(self) -> pa.Schema:
        """The columns that come out: what DuckDB says of the query over empty inputs."""
        if self._schema is None:
            self._prepared(is_parallel=False)
            empty = self._engine.instance(is_parallel=False).run(self._name)
            self._schema = empty.schema
        return self._schema

    def run(self, **inputs: Rows) -> pa.RecordBatch:
        """The query's rows over the given inputs, as one batch.

        Raises as `pieces` does.
        """
        return one_batch(self.pieces(**inputs))

    def pieces(self, **inputs: Rows) -> pa.Table:
        """The query's rows over the given inputs, in as many batches as DuckDB makes of them.

        Raises:
            RecordError: A value in the inputs is refused by an expression of the query.
            DefinitionError: A function of the author's broke its promise.

        """
        rows_total = sum(rows.num_rows for rows in inputs.values())
        is_parallel = not self._is_ordered and rows_total >= PARALLEL_ROWS_MIN
        sources = self._prepared(is_parallel=is_parallel)
        schema = self.schema
        for name, source in sources.items():
            rows = whole(inputs[name])
            expected = self._inputs[name]
            assert rows.schema.equals(expected), f"{rows.schema} where {expected} is expected"
            source.fill(rows, MORSEL_ROWS if is_parallel else None)
        try:
            answer = self._engine.instance(is_parallel=is_parallel).run(self._name)
        except (duckdb.DataError, duckdb.InvalidInputException) as error:
            raise self._engine.functions.fault(error) from error
        except duckdb.OutOfMemoryException as error:
            raise StateError(
                f"DuckDB ran out of memory over {rows_total} rows: {error}",
                hint="give the process more memory, or run with smaller epochs",
            ) from error
        finally:
            for source in sources.values():
                source.clear()
        assert answer.schema.equals(schema), f"{answer.schema} where {schema} is expected"
        return answer

    def _prepared(self, *, is_parallel: bool) -> dict[str, Source]:
        sources = self._sources.get(is_parallel)
        if sources is None:
            if self._text is None:
                reading = _reading(self._query, tables_of(self._name, self._inputs))
                self._text = reading.sql("duckdb")
            sources = {name: Source(schema) for name, schema in self._inputs.items()}
            instance = self._engine.instance(is_parallel=is_parallel)
            instance.prepare(self._name, self._text, sources)
            self._sources[is_parallel] = sources
        return sources


def tables_of(statement: str, inputs: Iterable[str]) -> dict[str, str]:
    """Under which name DuckDB knows each input of a statement."""
    return {name: f"{statement}_{position}" for position, name in enumerate(inputs)}


def one_batch(table: Rows) -> pa.RecordBatch:
    """Rows as one batch; their own memory where they are in one piece."""
    table = whole(table)
    if isinstance(table, pa.RecordBatch):
        return table
    batches = table.combine_chunks().to_batches() if table.num_rows else []
    if not batches:
        return empty_batch(table.schema)
    assert len(batches) == 1, "an epoch's column is larger than one Arrow array can be"
    return batches[0]


def empty_batch(schema: pa.Schema) -> pa.RecordBatch:
    """A batch of no rows."""
    # Not from an empty list: Arrow then looks for a module that is not installed, for 0.1 ms.
    return pa.RecordBatch.from_arrays([pa.nulls(0, f.type) for f in schema], schema=schema)


def plain(schema: Schema) -> pa.Schema:
    """The columns of batches of these rows inside the engine, where any column may hold nulls."""
    return pa.schema([pa.field(column.name, column.type.arrow) for column in schema])


def settings(threads: int) -> dict[str, str | bool | int | float | list[str]]:
    """How every DuckDB of ours is configured."""
    return {
        "threads": threads,
        "preserve_insertion_order": True,
        "enable_external_access": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        # Without this a table name in a query could be answered by a variable of our own code.
        "python_enable_replacements": False,
        # sqlglot writes lambdas as `x -> x + 1`, which DuckDB 2 takes only when asked to.
        "lambda_syntax": "ENABLE_SINGLE_ARROW",
    }


def _reading(query: exp.Query, tables: Mapping[str, str]) -> exp.Select:
    """The query with each input's name standing for a registered table.

    A common table expression and not a rename in the tree, so that a name which the query itself
    defines again shadows the input, as SQL has it.
    """
    whole = exp.select("*").from_(query.copy().subquery("answer"))
    for name, table in tables.items():
        whole = whole.with_(
            exp.to_identifier(name, quoted=True),
            as_=exp.select("*").from_(exp.to_table(table)),
            materialized=False,
            copy=False,
        )
    return whole
