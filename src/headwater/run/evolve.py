"""Change a running topic's columns, if nothing breaks by it."""

from __future__ import annotations

from dataclasses import replace

from headwater.errors import DefinitionError
from headwater.runtime.columns import Columns
from headwater.runtime.evolution import Break, Evolution, Wish, versions_of, wished
from headwater.runtime.runtime import Runtime
from headwater.schema.spell import spelled


def evolved(runtime: Runtime, topic: str, wish: Wish, *, dry_run: bool) -> Evolution:
    """Make a change, or say what it would do.

    Raises:
        DefinitionError: It cannot be made.
        StateError: The journal could not be written.

    """
    # Parsing and planning again is for those only who change something.
    from headwater.run.effects import broken_by

    definition = runtime.topics[topic].definition
    versions = versions_of(definition)
    change = wished(definition, wish)
    # Its place in the log is not known yet, and does not matter to views.
    version = change.version(versions.newest, tick=0, time_us=0)
    after = Columns(definition, versions.newest.ids, versions).at(versions.then(version))
    topics = tuple(after if t.name == topic else t for t in runtime.pipeline.topics)
    breaks: tuple[Break, ...] = ()
    if change.changes:
        breaks = broken_by(replace(runtime.pipeline, topics=topics), topic, runtime.plans)
    applied = bool(change.changes) and not breaks and not dry_run
    if breaks and not dry_run:
        raise _refusal(topic, breaks)
    if applied:
        version = runtime.evolve(topic, change, versions.newest.number)
    number = version.number if change.changes else versions.newest.number
    text = spelled(field.column for field in change.fields)
    return Evolution(topic, number, applied, change.changes, breaks, text)


def _refusal(topic: str, breaks: tuple[Break, ...]) -> DefinitionError:
    lines = [f"the columns of topic {topic} are not changed, because of what would break:"]
    for found in breaks:
        lines.append(f"  {found.kind} {found.name}: {found.reason}")
        if found.place is not None:
            lines += [f"    {line}" for line in found.place.splitlines()]
    return DefinitionError(
        "\n".join(lines),
        hint="change topic and views in the program, and start it again with --rebuild",
    )
