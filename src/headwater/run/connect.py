"""Make the sinks that a pipeline names.

What a definition says is checked when the pipeline is started, before anything runs. A store that
cannot be reached then does not hold up the start: the sink asks again, and what is wrong with the
store is found when it answers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from headwater.connectors.secrets import expanded
from headwater.connectors.sink import Followed, Mode, Sink
from headwater.errors import ConnectorError, DefinitionError
from headwater.plan.pipeline import SinkDefinition
from headwater.plan.unique import Keys, keys_by_name
from headwater.runtime.runtime import Runtime
from headwater.runtime.sinks import SinkRunner
from headwater.runtime.view import ViewRunner
from headwater.schema.duration import parse_duration
from headwater.schema.schema import Schema
from headwater.storage.blobs import Blobs
from headwater.storage.local import LocalDisk

Options = Mapping[str, str]
# The group of entry points by which a package of others offers a `Connector`.
ENTRY_POINTS = "headwater.sinks"
# In these columns every store finds an equal value by the same rule as DuckDB.
_KEY_KINDS = frozenset(
    """BOOLEAN TINYINT SMALLINT INTEGER BIGINT UTINYINT USMALLINT UINTEGER UBIGINT HUGEINT DECIMAL
    VARCHAR DATE TIME TIMESTAMP TIMESTAMP_S TIMESTAMP_MS UUID""".split()  # noqa: SIM905 - a list
    # of quotes would be longer
) | {"TIMESTAMP WITH TIME ZONE"}


@dataclass(frozen=True, slots=True)
class Connector:
    """A kind of store.

    Args:
        make: The sink of a view, from the options.
        defaults: Its options, with what they are when they are not given; None for no default. It
            has `rows_max` and `every`, which say how much is written at once.
        needs: Options of which one must be given, with an example.
        anew: What to do so that it can be filled from the start.
        extra: What `pip install 'headwater[...]'` must name to have the client.
    """

    make: Callable[[Followed, Options], Sink]
    defaults: Mapping[str, str | None]
    needs: Mapping[str, str]
    anew: str
    extra: str | None = None


def _parquet(followed: Followed, options: Options) -> Sink:
    from headwater.connectors.parquet import ParquetSink

    blobs = Blobs.open(LocalDisk.made(Path(options["path"])))
    return ParquetSink(blobs, is_append_only=followed.is_append_only)


def _postgres(followed: Followed, options: Options) -> Sink:
    from headwater.connectors.postgres import PostgresSink, Target

    dsn = options.get("dsn", "")
    if "dsn_env" in options:
        dsn = expanded(f"${{{options['dsn_env']}}}", os.environ, sink=followed.sink)
    table, mode = options.get("table", followed.view), Mode(options["mode"])
    password = os.environ.get("PGPASSWORD", "")
    return PostgresSink(followed, Target(dsn, table, mode, password))


def _duckdb(followed: Followed, options: Options) -> Sink:
    from headwater.connectors.duckdb import DuckDBSink, Target

    table = options.get("table", followed.view)
    return DuckDBSink(followed, Target(options["path"], table, Mode(options["mode"])))


def _delta(followed: Followed, options: Options) -> Sink:
    from headwater.connectors.delta_lake import DeltaSink, Target

    return DeltaSink(followed, Target(options["path"], Mode(options["mode"])))


_TABLE = {"table": None, "mode": "content", "key": None}

CONNECTORS: Mapping[str, Connector] = {
    "parquet": Connector(
        _parquet,
        {"path": None, "rows_max": "1000000", "every": "1 minute"},
        {"path": "lake/{source}"},
        "empty {path} or give the sink another path",
    ),
    "postgres": Connector(
        _postgres,
        {"dsn": None, "dsn_env": None, **_TABLE, "rows_max": "250000", "every": "1 second"},
        {"dsn": "postgresql://user@host/database", "dsn_env": "DATABASE_URL"},
        "drop its table or give the sink another table",
        extra="postgres",
    ),
    "duckdb": Connector(
        _duckdb,
        {"path": None, **_TABLE, "rows_max": "1000000", "every": "10 seconds"},
        {"path": "{source}.duckdb"},
        "drop its table or give the sink another table",
    ),
    "delta": Connector(
        _delta,
        {"path": None, "mode": "content", "key": None, "rows_max": "1000000", "every": "1 minute"},
        {"path": "lake/{source}"},
        "remove {path} or give the sink another path",
        extra="delta",
    ),
}


def sink_runners(runtime: Runtime) -> list[SinkRunner]:
    """A runner for each sink of the pipeline, not yet started.

    Raises:
        DefinitionError: A connector or an option is unknown, or a sink's store was filled by
            another version of its view, or does not fit it.
    """
    views = {view.name.lower(): view for view in runtime.loop.stepper.views}
    keys = keys_by_name(runtime.pipeline.topics, [view.plan for view in views.values()])
    return [
        _runner(runtime, definition, views[definition.source.lower()], keys)
        for definition in runtime.pipeline.sinks
    ]


def _runner(
    runtime: Runtime, definition: SinkDefinition, view: ViewRunner, keys: Mapping[str, Keys]
) -> SinkRunner:
    options = checked_options(definition)
    name = f"{runtime.pipeline.name}.{definition.name}"
    key = _key(definition, options, view.plan.schema, keys[view.name])
    root = view.plan.root
    followed = Followed(name, view.name, view.plan.schema, key, is_append_only=root.append_only)
    sink = _made(definition, followed, options)
    admit = partial(_admit, definition, options, view, runtime)
    # A store that does not answer is asked again when the sink runs, for as long as it takes.
    with suppress(ConnectorError):
        admit(sink.position())
    return SinkRunner(
        definition,
        view,
        sink,
        runtime.clock,
        published=runtime.loop.published,
        rows_max=int(options["rows_max"]),
        every_seconds=parse_duration(options["every"]) / 1e6,
        admit=admit,
    )


def checked_options(definition: SinkDefinition) -> dict[str, str]:
    """The options as they hold: with defaults, and with what the environment says.

    Raises:
        DefinitionError: A connector, an option or a value is not known, with what is as a hint.
    """
    known = connector_of(definition)
    for option in definition.options:
        if option not in known.defaults:
            raise DefinitionError(
                f"sink {definition.name}: {definition.connector} has no option {option}",
                hint=f"its options are: {', '.join(sorted(known.defaults))}",
            )
    options = {name: value for name, value in known.defaults.items() if value is not None}
    for option, value in definition.options.items():
        options[option] = expanded(value, os.environ, sink=definition.name)
    for message, hint in _wrong(definition, known, options):
        raise DefinitionError(f"sink {definition.name}{message}", hint=hint)
    return options


def connector_of(definition: SinkDefinition) -> Connector:
    """The kind of store that a sink names: one of ours, or of an installed package.

    Raises:
        DefinitionError: There is none of that name.
    """
    known = CONNECTORS.get(definition.connector)
    if known is not None:
        return known
    from importlib.metadata import entry_points

    others = entry_points(group=ENTRY_POINTS)
    if definition.connector in others.names:
        found: Connector = others[definition.connector].load()
        return found
    raise DefinitionError(
        f"sink {definition.name}: there is no connector {definition.connector}",
        hint=f"there are: {', '.join(sorted({*CONNECTORS, *others.names}))}",
    )


def _wrong(
    definition: SinkDefinition, known: Connector, options: Options
) -> Iterator[tuple[str, str]]:
    """What is wrong with the values, and what would be right."""
    rows_max, mode = options["rows_max"], options.get("mode", "content")
    if not (rows_max.isdigit() and int(rows_max) > 0):
        yield f": rows_max is {rows_max}", "a whole number above 0"
    if mode not in list(Mode):
        yield f": mode is {mode}", f"one of: {', '.join(Mode)}"
    if known.needs and not any(options.get(name) for name in known.needs):
        name, example = next(iter(known.needs.items()))
        example = example.format(source=definition.source)
        yield f" has no {' or '.join(known.needs)}", f"{name} = '{example}'"


def _made(definition: SinkDefinition, followed: Followed, options: Options) -> Sink:
    connector = connector_of(definition)
    try:
        return connector.make(followed, options)
    except ModuleNotFoundError as error:
        if connector.extra is None:
            raise
        raise DefinitionError(
            f"sink {definition.name} needs {error.name}, which is not installed",
            hint=f"pip install 'headwater[{connector.extra}]'",
        ) from None


def _key(
    definition: SinkDefinition, options: Options, schema: Schema, keys: Keys
) -> tuple[str, ...] | None:
    """The columns by which a store finds a row: those that were named, or that the plan knows.

    Raises:
        DefinitionError: The view has no such column.
    """
    named = [name.strip() for name in options.get("key", "").split(",") if name.strip()]
    for name in named:
        if name not in schema:
            raise DefinitionError(
                f"sink {definition.name}: {definition.source} has no column {name} for a key",
                hint=f"its columns are: {', '.join(schema.names)}",
            )
    if named:
        return tuple(schema[name].name for name in named)
    simple = [key for key in keys if all(schema[n].type.kind in _KEY_KINDS for n in key)]
    return min(simple, key=len, default=None)


def _admit(
    definition: SinkDefinition, options: Options, view: ViewRunner, runtime: Runtime, position: int
) -> None:
    """Refuse a store that another version of its view filled, or other data."""
    anew = connector_of(definition).anew.format(path=options.get("path"))
    if runtime.filled_by[definition.name] != view.plan.fingerprint:
        if position > 0:
            raise DefinitionError(
                f"sink {definition.name} holds changes of another version of {view.name}", hint=anew
            )
        # Before the first row is written: the next start must know whose rows these are.
        runtime.filled_by[definition.name] = view.plan.fingerprint
        runtime.loop.between(runtime.checkpoint)
    published = view.changes.next_offset()
    if position > published:
        raise DefinitionError(
            f"sink {definition.name} holds {position} changes of {view.name}, which has published "
            f"{published}",
            hint=f"its store belongs to other data: {anew}",
        )
