"""Make the sinks that a pipeline names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from headwater.connectors.parquet import ParquetSink
from headwater.connectors.sink import Sink
from headwater.errors import DefinitionError
from headwater.plan.pipeline import SinkDefinition, ViewPlan
from headwater.runtime.runtime import Runtime
from headwater.runtime.sinks import SinkRunner
from headwater.schema.duration import parse_duration
from headwater.storage.blobs import Blobs
from headwater.storage.local import LocalDisk

_KNOWN = {"parquet": {"path", "rows_max", "every"}}


def sink_runners(runtime: Runtime) -> list[SinkRunner]:
    """A runner for each sink of the pipeline, not yet started.

    Raises:
        DefinitionError: A connector or an option is unknown, or a sink's store was filled by
            another version of its view.
    """
    views = {view.name.lower(): view for view in runtime.loop.stepper.views}
    runners = []
    for definition in runtime.pipeline.sinks:
        check_options(definition)
        view = views[definition.source.lower()]
        sink = _SINKS[definition.connector](definition, view.plan)
        _check_same_version(definition, view.name, sink, runtime)
        runners.append(
            SinkRunner(
                definition,
                view,
                sink,
                runtime.clock,
                published=runtime.loop.published,
                rows_max=int(definition.options.get("rows_max", "1000000")),
                every_seconds=parse_duration(definition.options.get("every", "1 minute")) / 1e6,
            )
        )
    return runners


def check_options(definition: SinkDefinition) -> None:
    """Refuse a connector or an option that is not known.

    Raises:
        DefinitionError: With what is known as a hint.
    """
    known = _KNOWN.get(definition.connector)
    if known is None:
        raise DefinitionError(
            f"sink {definition.name}: there is no connector {definition.connector}",
            hint=f"there are: {', '.join(sorted(_KNOWN))}",
        )
    for option, value in definition.options.items():
        if option not in known:
            raise DefinitionError(
                f"sink {definition.name}: {definition.connector} has no option {option}",
                hint=f"its options are: {', '.join(sorted(known))}",
            )
        if option == "rows_max" and not (value.isdigit() and int(value) > 0):
            raise DefinitionError(
                f"sink {definition.name}: rows_max is {value}", hint="a whole number above 0"
            )
    if "path" not in definition.options:
        raise DefinitionError(
            f"sink {definition.name} has no path", hint=f"path = 'lake/{definition.source}'"
        )


def _parquet(definition: SinkDefinition, plan: ViewPlan) -> Sink:
    blobs = Blobs.open(LocalDisk.made(Path(definition.options["path"])))
    return ParquetSink(blobs, is_append_only=plan.root.append_only)


_SINKS: dict[str, Callable[[SinkDefinition, ViewPlan], Sink]] = {"parquet": _parquet}


def _check_same_version(
    definition: SinkDefinition, view: str, sink: Sink, runtime: Runtime
) -> None:
    """A view that was computed anew has other changes than its sink took in."""
    rebuilt = (*runtime.decision.rebuild, *runtime.decision.build)
    if view in rebuilt and sink.position() > 0:
        raise DefinitionError(
            f"sink {definition.name} holds changes of another version of {view}",
            hint=f"empty {definition.options['path']} or give the sink another path",
        )
    changes = next(v for v in runtime.loop.stepper.views if v.name == view).changes
    if sink.position() > changes.next_offset():
        raise DefinitionError(
            f"sink {definition.name} holds {sink.position()} changes of {view}, "
            f"which has published {changes.next_offset()}",
            hint=f"its folder belongs to other data; empty {definition.options['path']} or give "
            "the sink another path",
        )
