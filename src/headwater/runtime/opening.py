"""Open a data folder for a pipeline: decide what is kept, recover it, build the rest.

What is decided is said before it is done: a view whose definition is the one the folder knows goes
on from its state; a new one is built from the log; a changed one is refused unless a rebuild was
asked for, because its past numbers would silently differ from those it published. The columns of
topics may change as far as the rows that are there can be read with them (`runtime.columns`): after
recovery, which reads them as they were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from typing import Any

from headwater.clock import Clock
from headwater.errors import DefinitionError
from headwater.log.changes import ChangeLog
from headwater.log.rejected import rejected_definition
from headwater.log.topic import Topic
from headwater.operators.dataflow import Dataflow
from headwater.operators.isolate import FAILED
from headwater.operators.late_schema import late_schema
from headwater.operators.statement import Engine
from headwater.plan.nodes import Scan, walk
from headwater.plan.pipeline import Pipeline, ViewPlan
from headwater.plan.sources import sources_of
from headwater.plan.unique import keys_by_name
from headwater.plan.versions import table_of
from headwater.runtime.build import build, closure
from headwater.runtime.checkpoint import BatchLoader, Manifest
from headwater.runtime.checksum import needs_hash
from headwater.runtime.columns import Columns, definition_text
from headwater.runtime.content import content_of
from headwater.runtime.epoch_times import EpochTimes
from headwater.runtime.evolving import evolve
from headwater.runtime.producers import Producers
from headwater.runtime.records import Kind, SchemaRecord
from headwater.runtime.recovery import Recovery, Report
from headwater.runtime.stepper import Stepper
from headwater.runtime.table import TableRunner
from headwater.runtime.view import ViewRunner
from headwater.schema.schema import Schema
from headwater.storage.blobs import Blobs
from headwater.storage.journal import Journal


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of each view of the folder and of the pipeline, and of the topics.

    Args:
        columns: What is to be known of the columns of topics, in words.
        has_new_topics: Whether the folder has not known some topic.

    """

    keep: tuple[str, ...]
    build: tuple[str, ...]
    rebuild: tuple[str, ...]
    drop: tuple[str, ...]
    columns: tuple[str, ...] = ()
    has_new_topics: bool = False
    short: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """What is not as it was, in words.

        Among it `short`: what was computed from the log though rows of it are gone.
        """
        words = (
            ("built from the log", self.build),
            ("changed, rebuilt from the log", self.rebuild),
            ("no longer declared, dropped", self.drop),
        )
        views = (f"{name}: {what}" for what, names in words for name in names)
        return [*self.columns, *views, *self.short]


@dataclass(slots=True)
class Opened:
    """A recovered pipeline, ready to go on."""

    topics: dict[str, Topic]
    rejected: dict[str, Topic]
    stepper: Stepper
    recovery: Recovery
    decision: Decision


@cache
def hashing() -> str:
    """What state is sorted by and checksums are made of: DuckDB's hashes, and codes of keys."""
    return f"duckdb {version('duckdb')} and codes of numbers"


def definitions(topics: Mapping[str, Topic]) -> dict[str, str]:
    """What must not change of each topic while its rows are in the folder."""
    return {name: definition_text(topic.definition) for name, topic in topics.items()}


def schemas(topics: Mapping[str, Topic]) -> dict[str, Any]:
    """The versions of the columns of each topic, as a checkpoint has them."""
    versions = {name: topic.definition.versions for name, topic in topics.items()}
    return {name: [v.save() for v in found.all] for name, found in versions.items() if found}


class Opening:
    """Opens one pipeline over one data folder. Use once."""

    def __init__(  # noqa: PLR0913 - what it opens, and its settings by keyword
        self,
        pipeline: Pipeline,
        plans: tuple[ViewPlan, ...],
        blobs: Blobs,
        engine: Engine,
        *,
        columns: Mapping[str, Columns],
        epoch_rows_max: int,
        report: Report,
        clock: Clock,
    ) -> None:
        self._clock = clock
        self._columns = columns
        self._pipeline = pipeline
        self._plans = plans
        self._blobs = blobs
        self._engine = engine
        self._epoch_rows_max = epoch_rows_max
        self._report = report
        self._is_state_known = False
        self._kept: Sequence[Manifest] = ()
        scans = [n for plan in plans for n in walk(plan.root) if isinstance(n, Scan)]
        # What some view reads, and the views and tables that one reads with their places in the
        # log.
        self._read = {table_of(scan.relation) for scan in scans}
        self.with_ticks = {scan.relation for scan in scans if scan.ticks}
        self._keys = keys_by_name(pipeline.topics, plans)

    def run(
        self,
        manifest: Manifest | None,
        kept: Sequence[Manifest],
        journal: Journal,
        now_us: int,
        *,
        rebuild: bool,
    ) -> Opened:
        """Open everything.

        Args:
            manifest: The checkpoint to start from.
            kept: All checkpoints that are kept; their files must stay.

        Raises:
            DefinitionError: The pipeline does not fit the folder.
            StateError: What is stored cannot be read, or does not repeat itself.
        """
        decision = self._decide(manifest, rebuild=rebuild)
        self._kept = kept
        self._is_state_known = manifest is not None and manifest.hashing == hashing()
        topics, rejected = self._open_topics(manifest)
        recovery = self._recover(manifest, journal, topics, rejected, decision)
        self._evolve(journal, recovery, now_us)
        fresh = decision.build + decision.rebuild
        views = {view.name: view for view in recovery.stepper.views}
        paused = recovery.stepper.paused
        if fresh or (manifest is not None and not self._is_state_known):
            built, paused_too = self._build(fresh, topics, recovery, now_us)
            views, paused = views | built, paused | paused_too
            decision = replace(decision, short=self._short(fresh, topics))
        stepper = Stepper(
            topics, recovery.stepper.tables, [views[plan.name] for plan in self._plans]
        )
        stepper.watermarks = recovery.stepper.watermarks
        stepper.paused = paused
        return Opened(topics, rejected, stepper, recovery, decision)

    def _decide(self, manifest: Manifest | None, *, rebuild: bool) -> Decision:
        if manifest is None:
            return Decision(tuple(plan.name for plan in self._plans), (), (), ())
        known = {name: value["fingerprint"] for name, value in manifest.views.items()}
        is_known = manifest.hashing == hashing()
        kept = tuple(p.name for p in self._plans if is_known and known.get(p.name) == p.fingerprint)
        changed = tuple(p.name for p in self._plans if p.name in known and p.name not in kept)
        if changed and not rebuild:
            raise _refusal(changed, manifest.hashing)
        names = {plan.name for plan in self._plans}
        new = tuple(plan.name for plan in self._plans if plan.name not in known)
        return Decision(
            kept,
            new,
            changed,
            tuple(name for name in known if name not in names),
            tuple(found.notice for found in self._columns.values() if found.notice),
            has_new_topics=not self._columns.keys() <= manifest.definitions.keys(),
        )

    def _evolve(self, journal: Journal, recovery: Recovery, now_us: int) -> None:
        """Give the topics the columns that are declared now, durably."""
        for name, columns in self._columns.items():
            if columns.next is None:
                continue
            versions = columns.versions
            version = columns.next.version(versions.newest, tick=recovery.next_tick, time_us=now_us)
            journal.append(Kind.SCHEMA, [SchemaRecord(name, version).encode()]).wait()
            definition = columns.at(versions.then(version))
            evolve(recovery.stepper, definition, self._engine, self.with_ticks)

    def _evolve_again(self, stepper: Stepper, record: SchemaRecord) -> None:
        """Give a topic the columns that it got at this place in the journal."""
        if record.topic not in stepper.topics:
            return
        number = record.version.number
        if stepper.topics[record.topic].definition.version < number:
            columns = self._columns[record.topic]
            definition = columns.at(columns.versions.up_to(number))
            evolve(stepper, definition, self._engine, self.with_ticks)

    def _open_topics(self, manifest: Manifest | None) -> tuple[dict[str, Topic], dict[str, Topic]]:
        topics, rejected = {}, {}
        segments = manifest.topics if manifest else {}
        segments_rejected = manifest.rejected if manifest else {}
        for definition in self._pipeline.topics:
            name = definition.name
            topics[name] = Topic.open(
                self._columns[name].at_checkpoint,
                self._blobs,
                f"topics/{name}",
                segments.get(name),
                older=[m.topics[name] for m in self._kept if name in m.topics],
            )
            rejected[name] = Topic.open(
                rejected_definition(definition),
                self._blobs,
                f"rejected/{name}",
                segments_rejected.get(name),
                older=[m.rejected[name] for m in self._kept if name in m.rejected],
            )
        return topics, rejected

    def _recover(
        self,
        manifest: Manifest | None,
        journal: Journal,
        topics: dict[str, Topic],
        rejected: dict[str, Topic],
        decision: Decision,
    ) -> Recovery:
        loader = BatchLoader(self._blobs)
        tables = self._tables(manifest if self._is_state_known else None, loader, topics)
        views = [
            self._view(plan, manifest.views.get(plan.name) if manifest else None, loader)
            for plan in self._plans
            if plan.name in decision.keep
        ]
        stepper = Stepper(topics, tables, views)
        for name, watermark in stepper.watermarks.items():
            if manifest and name in manifest.watermarks:
                watermark.load(manifest.watermarks[name])
        recovery = Recovery(
            topics,
            rejected,
            stepper,
            epoch=manifest.epoch if manifest else 0,
            tick=manifest.tick if manifest else 0,
            facts_taken=manifest.facts_taken if manifest else 0,
            next_tick=manifest.next_tick if manifest else 0,
            facts=manifest.facts_parsed() if manifest else [],
            standings=manifest.standings() if manifest else (),
            times=EpochTimes(manifest.epoch_times) if manifest else None,
            evolve=lambda record: self._evolve_again(stepper, record),
            producers=Producers.load(manifest.producers if manifest else {}),
            clock=self._clock,
        )
        recovery.run(journal, manifest.lsn if manifest else 0, self._report)
        return recovery

    def _tables(
        self, manifest: Manifest | None, loader: BatchLoader, topics: Mapping[str, Topic]
    ) -> dict[str, TableRunner]:
        tables = {}
        for topic in topics.values():
            definition = topic.definition
            if definition.is_table:
                table = TableRunner(
                    definition,
                    self._engine,
                    is_read=definition.name in self._read,
                    is_stepwise=definition.name in self.with_ticks,
                )
                if manifest and definition.name in manifest.tables:
                    table.load(manifest.tables[definition.name], loader)
                tables[definition.name] = table
        return tables

    def _view(self, plan: ViewPlan, manifest: Any, loader: BatchLoader) -> ViewRunner:
        has_hash = needs_hash(plan.schema, plan.root)
        dataflow = Dataflow(
            plan.root,
            self._engine,
            has_ticks=plan.name in self.with_ticks,
            has_hash=has_hash,
            steps=plan.steps,
            relations=self._keys,
        )
        columns = late_schema(plan.root)
        changes = self._log(plan, "changes", plan.schema, manifest)
        view = ViewRunner(
            plan,
            dataflow,
            changes,
            content_of(plan, changes, self._engine, has_hash=has_hash, relations=self._keys),
            late=None if columns is None else self._log(plan, "late", columns, manifest),
            failed=self._log(plan, "failed", FAILED, manifest),
        )
        if manifest:
            view.load(manifest, loader)
        return view

    def _log(self, plan: ViewPlan, log: str, schema: Schema, manifest: Any) -> ChangeLog:
        """One of the logs of a view: `changes`, `late` or `failed`."""
        return ChangeLog.open(
            plan.name if log == "changes" else f"{plan.name}${log}",
            schema,
            self._blobs,
            f"views/{plan.name}/{plan.fingerprint[:16]}/{log}",
            manifest.get(log) if manifest else None,
            older=self._older(plan, log),
        )

    def _older(self, plan: ViewPlan, log: str) -> list[Any]:
        """What the kept checkpoints say of a log of this version of a view."""
        found = [m.views[plan.name] for m in self._kept if plan.name in m.views]
        return [v[log] for v in found if v["fingerprint"] == plan.fingerprint and v.get(log)]

    def _short(self, names: tuple[str, ...], topics: Mapping[str, Topic]) -> tuple[str, ...]:
        """What is said of the views, and tables, that are computed though rows are gone."""
        read = {
            name: {
                table_of(node.relation)
                for plan in closure((name,), self._plans)
                for node in walk(plan.root)
                if isinstance(node, Scan)
            }
            for name in names
        }
        if not self._is_state_known:
            read |= {name: {name} for name, topic in topics.items() if topic.definition.is_table}
        gone = {name: topic.rows_let_go for name, topic in topics.items()}
        return self._compacted(read, topics) + tuple(
            f"{name}: computed without the first {gone[topic]:,} rows of {topic}, which its "
            "retention let go: it says another thing than over all rows"
            for name, relations in read.items()
            for topic in topics
            if topic in relations and gone[topic]
        )

    def _compacted(
        self, read: Mapping[str, set[str]], topics: Mapping[str, Topic]
    ) -> tuple[str, ...]:
        """What is said of views that ask what a table held at the time of other rows."""
        timed = {
            name
            for name in read
            for plan in closure((name,), self._plans)
            if plan.steps or any(sources_of(node) for node in walk(plan.root))
        }
        gone = {name: topic.rows_compacted for name, topic in topics.items()}
        return tuple(
            f"{name}: computed without {gone[topic]:,} rows of {topic} that newer ones have "
            "replaced: it does not say what it said of the time when they held"
            for name in read
            for topic in topics
            if name in timed and topic in read[name] and gone[topic]
        )

    def _build(
        self,
        names: tuple[str, ...],
        topics: dict[str, Topic],
        recovery: Recovery,
        now_us: int,
    ) -> tuple[dict[str, ViewRunner], dict[str, str]]:
        """The views called `names`, computed from the log, and why those that are paused are."""
        plans = closure(names, self._plans)
        loader = BatchLoader(self._blobs)
        runners = {
            plan.name: self._view(plan if plan.name in names else _shadow(plan), None, loader)
            for plan in plans
        }
        tables = self._tables(None, loader, topics)
        stepper = Stepper(topics, tables, list(runners.values()))
        build(
            stepper,
            names,
            epoch=recovery.epoch,
            tick_to=recovery.tick,
            facts=recovery.facts[: recovery.facts_taken],
            rows_max=self._epoch_rows_max,
            time_us=now_us,
            report=self._report,
        )
        if not self._is_state_known:
            # Recovery had no state to begin with, so the tables of the build are the whole ones.
            recovery.stepper.tables = tables
        paused = {name: why for name, why in stepper.paused.items() if name in names}
        return {name: runners[name] for name in names}, paused


def _refusal(changed: tuple[str, ...], hashing_was: str) -> DefinitionError:
    names = ", ".join(changed)
    if hashing_was != hashing():
        return DefinitionError(
            f"the state of {names} was written with {hashing_was}, this is {hashing()}",
            hint="start with --rebuild to compute it again from the log",
        )
    return DefinitionError(
        f"changed since the data folder was written: {names}",
        hint="give the changed view another name, or start with --rebuild to compute it again "
        "from the log (a sink that follows it then needs an empty folder)",
    )


def _shadow(plan: ViewPlan) -> ViewPlan:
    """A plan that is computed only for those that read it; its files are its own and stay empty."""
    return replace(plan, fingerprint=f"shadow-{plan.fingerprint}")
