"""Answer a question of somebody outside: one SELECT, read-only, over relations that are handed in.

Each question runs in a DuckDB of its own that can reach no file, no network, no extension and no
Python object but the relations it names; its settings are locked before the question is looked at.
Opening one costs about 10 ms, and nothing of a question is left for the next.
"""

from __future__ import annotations

import difflib
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import duckdb
import pyarrow as pa

from headwater.errors import DefinitionError, HeadwaterError, Place
from headwater.sql.sketches import exactly_text

_SETTINGS: dict[str, Any] = {
    "threads": 2,
    "memory_limit": "2GB",
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
    # As in views, a lambda may be written with an arrow.
    "lambda_syntax": "ENABLE_SINGLE_ARROW",
    "temp_directory": "",
    "max_temp_directory_size": "0KB",
    "enable_external_access": False,
}


class Rows:
    """A relation that a question may read: read anew, from its first batch, each time it is asked.

    Args:
        schema: The Arrow schema of every batch.
        batches: Gives the batches, in order; called once for each reading.
    """

    def __init__(self, schema: pa.Schema, batches: Callable[[], Iterable[pa.RecordBatch]]) -> None:
        self._schema = schema
        self._batches = batches
        self.failure: HeadwaterError | None = None

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """The rows as an Arrow stream."""
        reader = pa.RecordBatchReader.from_batches(self._schema, self._noted())
        return reader.__arrow_c_stream__(requested_schema)

    def _noted(self) -> Iterator[pa.RecordBatch]:
        # DuckDB would make an error of its own of what cannot be read here.
        try:
            yield from self._batches()
        except HeadwaterError as error:
            self.failure = error
            raise


# An answer is held in memory as a whole, beside what DuckDB needs to compute it.
ANSWER_BYTES_MAX = 1 << 30
_BATCH_ROWS = 1 << 16


def answer(
    sql: str,
    relations: Mapping[str, Rows],
    *,
    seconds_max: float = 60.0,
    bytes_max: int = ANSWER_BYTES_MAX,
) -> pa.Table:
    """Answer one SELECT.

    Args:
        sql: The question.
        relations: What it may read, by name; only those that it names are read.
        seconds_max: A question that takes longer is stopped.
        bytes_max: And one whose answer is larger.

    Raises:
        DefinitionError: It is not one SELECT, it names what is not there, DuckDB refuses it, or it
            took too long.
        HeadwaterError: What it reads cannot be read.
    """
    _check_is_text(sql)
    connection = duckdb.connect(":memory:", config=_SETTINGS)
    try:
        connection.execute("SET TimeZone = 'UTC'")
        _check_is_one_select(connection, sql)
        for name, rows in relations.items():
            connection.register(name, rows)
        connection.execute("SET lock_configuration = true")
        return _run(connection, sql, relations, seconds_max, bytes_max)
    finally:
        connection.close()


def _check_is_text(sql: str) -> None:
    try:
        sql.encode()
    except UnicodeEncodeError as error:
        raise DefinitionError(f"the query is not Unicode text: {error.reason}") from None


def _check_is_one_select(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise DefinitionError(_first_line(error), place=_place(error, sql)) from None
    if len(statements) != 1:
        raise DefinitionError(
            f"expected one statement, got {len(statements)}", hint="send one SELECT at a time"
        )
    kind = statements[0].type.name
    if kind not in ("SELECT", "SELECT_STATEMENT"):
        raise DefinitionError(
            f"only SELECT is answered here, not {kind}",
            hint="declare views in the pipeline; send rows to topics",
        )


def _run(
    connection: duckdb.DuckDBPyConnection,
    sql: str,
    relations: Mapping[str, Rows],
    seconds_max: float,
    bytes_max: int,
) -> pa.Table:
    timer = threading.Timer(seconds_max, connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        return _read(connection.sql(exactly_text(sql)), bytes_max)
    # What goes wrong after the first rows comes through Arrow's stream, as an OSError.
    except (duckdb.Error, OSError) as error:
        if isinstance(error, duckdb.InterruptException) or "INTERRUPT" in _first_line(error):
            raise DefinitionError(
                f"the query took longer than {seconds_max:g} seconds and was stopped",
                hint="ask for less, or make it a view",
            ) from None
        failure = next((r.failure for r in relations.values() if r.failure is not None), None)
        if failure is not None:
            raise failure from None
        raise DefinitionError(
            _first_line(error), place=_place(error, sql), hint=_hint(error, list(relations))
        ) from None
    finally:
        timer.cancel()


def _read(question: duckdb.DuckDBPyRelation, bytes_max: int) -> pa.Table:
    """The rows of a question, taken as they are computed."""
    reader = question.to_arrow_reader(_BATCH_ROWS)
    batches, size_bytes = [], 0
    for batch in reader:
        batches.append(batch)
        size_bytes += batch.nbytes
        if size_bytes > bytes_max:
            raise DefinitionError(
                f"the answer is larger than {bytes_max:,} bytes",
                hint="ask for less, with LIMIT or an aggregate",
            )
    return pa.Table.from_batches(batches, reader.schema)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].removesuffix("!")


def _place(error: Exception, sql: str) -> Place | None:
    """Where the first thing that the message names stands in the question."""
    text = _first_line(error)
    named = re.search(r'"([^"]+)"', text) or re.search(r"with name (\S+) does not exist", text)
    if named is None:
        return None
    start = sql.lower().find(named[1].lower())
    return None if start < 0 else Place(sql, start, start + len(named[1]), "query")


def _hint(error: Exception, known: list[str]) -> str | None:
    """What to type instead, if the message names a relation that is not there."""
    text = str(error)
    if "Function with name" in text:
        found = re.search(r'Did you mean "([^"]+)"', text)
        meant = f"did you mean {found[1]}? " if found else ""
        return f"{meant}(a question runs no Python: the pipeline's functions are called in views)"
    if not isinstance(error, duckdb.CatalogException):
        candidates = [line for line in text.splitlines() if line.startswith("Candidate")]
        return candidates[0] if candidates else None
    words = text.split("Table with name ")
    missing = words[1].split(" ")[0] if len(words) > 1 else ""
    near = difflib.get_close_matches(missing, known, n=1)
    if near:
        return f"did you mean {near[0]}?"
    return f"there are: {', '.join(sorted(known))}" if missing else None
