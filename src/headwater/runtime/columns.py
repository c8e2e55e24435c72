"""The columns of topics: which versions the folder knows, and what a declaration makes of them.

A folder's versions of a topic's columns are those of its newest checkpoint and those that the
journal has after it (`schema.versions`). A declaration is one of three things:

- what the newest version says;
- what an earlier one said: the columns were changed while running, and the author's text was not.
  The folder's newest version holds;
- something else: then it is the next version, if rows that are there can be read with it, and
  refused otherwise (`schema.compare`).

Key, event time, partitions and what tells senders apart must be as they were, but for names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from headwater.errors import DefinitionError, StateError
from headwater.plan.pipeline import Pipeline, TopicDefinition
from headwater.runtime.checkpoint import Manifest
from headwater.runtime.records import Kind, SchemaRecord
from headwater.schema.compare import Comparison, compare
from headwater.schema.ddl import parse_columns
from headwater.schema.duration import format_duration
from headwater.schema.schema import Schema
from headwater.schema.spell import spelled
from headwater.schema.versions import Version, Versions
from headwater.storage.journal import Journal


@dataclass(frozen=True, slots=True)
class Columns:
    """A topic as it is declared, and the versions of its columns.

    Args:
        definition: As the author wrote it.
        ids: The id of each column that the author named, by its name in lower case.
        versions: Those that the folder knows; for a new topic the first.
        known: How many of them the checkpoint has.
        next: What the declaration changes of the newest; None for nothing.
        notice: What the user should know; empty for nothing.

    """

    definition: TopicDefinition
    ids: Mapping[str, int]
    versions: Versions
    known: int = 1
    next: Comparison | None = None
    notice: str = ""

    def at(self, versions: Versions) -> TopicDefinition:
        """The topic when `versions` were all there were."""
        names = versions.newest.names
        named = self.definition
        return replace(
            named,
            schema=versions.newest.schema,
            key=tuple(names[self.ids[key.lower()]] for key in named.key),
            event_time=self._name(named.event_time, names),
            watermark_by=self._name(named.watermark_by, names),
            newest_by=self._name(named.newest_by, names),
            deleted_by=self._name(named.deleted_by, names),
            versions=versions,
        )

    @property
    def at_checkpoint(self) -> TopicDefinition:
        """The topic as the checkpoint knows it."""
        return self.at(self.versions.up_to(self.known))

    def _name(self, name: str | None, names: Mapping[int, str]) -> str | None:
        return None if name is None else names[self.ids[name.lower()]]


def columns_of(
    pipeline: Pipeline, manifest: Manifest | None, journal: Journal, now_us: int
) -> dict[str, Columns]:
    """The columns of each topic of a pipeline, over a folder.

    Raises:
        DefinitionError: The folder has a topic that is not declared, or one whose rows cannot be
            read as they are declared now.
        StateError: There is no checkpoint, and the journal has what comes after one.

    """
    if manifest is None:
        _check_empty(journal)
        return {topic.name: _new(topic, now_us) for topic in pipeline.topics}
    declared = {topic.name: topic for topic in pipeline.topics}
    recorded = [
        SchemaRecord.parse(record.payload)
        for record in journal.read(manifest.lsn)
        if record.kind == Kind.SCHEMA
    ]
    known = {}
    for name in manifest.definitions:
        if name not in declared:
            raise DefinitionError(
                f"the data folder has a topic {name}, which the pipeline does not declare",
                hint="declare it again, or give --data another folder",
            )
        known[name] = _known(declared[name], manifest, recorded)
    return {n: known[n] if n in known else _new(t, now_us) for n, t in declared.items()}


def pipeline_of(pipeline: Pipeline, columns: Mapping[str, Columns]) -> Pipeline:
    """The pipeline with the columns that its topics have, or are about to have."""
    topics = [
        columns[topic.name].at(columns[topic.name].versions)
        if columns[topic.name].next is None
        else topic
        for topic in pipeline.topics
    ]
    return replace(pipeline, topics=tuple(topics))


def is_same(one: Pipeline, other: Pipeline) -> bool:
    """Whether the topics of two pipelines have the same columns."""
    return all(
        spelled(a.schema) == spelled(b.schema)
        for a, b in zip(one.topics, other.topics, strict=True)
    )


def definition_text(topic: TopicDefinition) -> str:
    """A topic as a checkpoint has it."""
    return topic.schema.ddl() + _rest(topic)


def _rest(topic: TopicDefinition) -> str:
    """What must not change of a topic while its rows are in the folder, beside its columns."""
    parts = [""]
    if topic.key:
        parts.append(f"key {', '.join(topic.key)}")
    if topic.event_time:
        parts.append(f"watermark for {topic.event_time}, delay {format_duration(topic.delay_us)}")
    parts.append(f"{topic.partitions} partitions")
    if topic.watermark_by:
        parts.append(f"a watermark for each {topic.watermark_by}, ready at {topic.ready:g}")
    if topic.newest_by:
        parts.append(f"the newest by {topic.newest_by}")
    if topic.deleted_by:
        parts.append(f"deleted by {topic.deleted_by}")
    return "; ".join(parts)


def _check_empty(journal: Journal) -> None:
    """Refuse a journal that has records though there is no checkpoint.

    The first start takes one before anything is written: it was there, and is gone. With it is gone
    what the rows in the journal were written as.
    """
    if next(iter(journal.read(journal.first_lsn)), None) is not None:
        raise StateError(
            "the journal has records, and there is no checkpoint in checkpoints/",
            hint="restore the files in checkpoints/ from a copy",
        )


def _new(topic: TopicDefinition, now_us: int) -> Columns:
    version = Version.first(topic.schema, now_us)
    return Columns(topic, version.ids, Versions((version,)))


def _known(topic: TopicDefinition, manifest: Manifest, recorded: list[SchemaRecord]) -> Columns:
    text = manifest.definitions[topic.name]
    kept = [Version.load(value) for value in manifest.schemas.get(topic.name, ())]
    versions = Versions(tuple(kept) or (_implied(text, topic),))
    known = versions.newest.number
    for record in recorded:
        if record.topic == topic.name and record.version.number > versions.newest.number:
            versions = versions.then(record.version)
    found = _declared(topic, versions, known)
    _check_rest(found, text)
    return found


def _implied(text: str, topic: TopicDefinition) -> Version:
    """The only version of a topic of a folder that says nothing of versions.

    It had no defaults in its text, so where the columns are the same those of now are taken.
    """
    if text.startswith(topic.schema.ddl() + ";"):
        return Version.first(topic.schema)
    return Version.first(_stored_columns(text))


def _stored_columns(text: str) -> Schema:
    """The columns at the beginning of what a checkpoint says of a topic."""
    end = text.find("; ")
    while end >= 0:
        try:
            return parse_columns(text[:end]).schema
        except DefinitionError:
            # A semicolon inside a quoted name.
            end = text.find("; ", end + 1)
    raise AssertionError(text)


def _declared(topic: TopicDefinition, versions: Versions, known: int) -> Columns:
    """What the declaration is: the newest version, an earlier one, or the next."""
    newest, text = versions.newest, spelled(topic.schema)
    if text == newest.spelled():
        return Columns(topic, newest.ids, versions, known)
    for earlier in reversed(versions.all[:-1]):
        if text == earlier.spelled():
            return _older(topic, earlier, versions, known)
    ids = _ids(compare(newest, topic.schema))
    names = newest.names
    fixed = [names[i] for name in topic.bearing if (i := ids[name.lower()]) in names]
    comparison = compare(newest, topic.schema, fixed=fixed)
    if comparison.problems:
        raise DefinitionError(
            f"the columns of topic {topic.name} cannot become what is declared: "
            f"{'; '.join(comparison.problems)}",
            hint=f"version {newest.number}, which the data folder has, is: {newest.spelled()}",
        )
    notice = f"topic {topic.name}: version {newest.number + 1} {', '.join(comparison.changes)}"
    return Columns(topic, ids, versions, known, comparison, notice)


def _ids(comparison: Comparison) -> dict[str, int]:
    return {field.column.name.lower(): field.id for field in comparison.fields}


def _older(topic: TopicDefinition, earlier: Version, versions: Versions, known: int) -> Columns:
    changes = [c for version in versions.all[earlier.number :] for c in version.changes]
    notice = (
        f"topic {topic.name}: declared as version {earlier.number}, and goes on with version "
        f"{versions.newest.number} of the data folder, which {', '.join(changes)}"
    )
    return Columns(topic, earlier.ids, versions, known, notice=notice)


def _check_rest(found: Columns, text: str) -> None:
    """Refuse a topic of which something else than its columns changed."""
    topic = found.definition
    stored = found.versions.numbered(found.known)
    is_there = all(found.ids[name.lower()] in stored.names for name in topic.bearing)
    if not is_there or definition_text(found.at_checkpoint) != text:
        raise DefinitionError(
            f"topic {topic.name} changed since the data folder was written: it was {text}, "
            f"now it is {definition_text(topic)}",
            hint="declare it as it was, or give --data another folder",
        )
