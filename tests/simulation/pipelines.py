"""Small pipelines for the simulation, in versions: what an author changes in between.

A pipeline has a few views, drawn by its number, and the topics that they read. Its author changes
views, and the columns of hits, one step at a time. A process compiles each once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

import headwater as hw
from headwater.run.compile import Compiled
from headwater.runtime.evolution import Wish
from headwater.schema.schema import Schema
from simulation.views import VIEWS

PIPELINES = 32
TIMED = ("clicks", "hits")
ALWAYS = ("clicks", "hits", "ads")
_ARCHIVE = "/archive"
# For how long a pipeline keeps its logs, and where.
_LIVES: tuple[dict[str, Any], ...] = (
    {"retention": "1 hour"},
    {"retention": "1 hour", "archive": _ARCHIVE},
    {"retention_bytes": 12_000, "archive": _ARCHIVE},
    {"archive": _ARCHIVE},
)
# Views of what some pipelines have beside the usual, by the rest of their number.
_BESIDE = {1: ("logged", "large"), 3: ("offered", "priced")}
# What a table of offers keeps of its log. With a version a deletion stays for ever.
_OFFERS: tuple[dict[str, Any], ...] = (
    {"newest_by": "version"},
    {"newest_by": "version", "compact": True},
    {"compact": True, "tombstones_for": "1 hour"},
)
_HIT = "id BIGINT NOT NULL, server BIGINT, ts TIMESTAMP"
# The columns of hits, and by what step a running pipeline comes from each to the next.
COLUMNS = (
    f"{_HIT}, note VARCHAR",
    f"{_HIT}, note VARCHAR, load INTEGER DEFAULT 7",
    f"{_HIT}, note VARCHAR, load BIGINT DEFAULT 7",
    f"{_HIT}, note VARCHAR, weight BIGINT DEFAULT 7 ALIAS load",
    f"{_HIT}, weight BIGINT DEFAULT 7 ALIAS load",
)
STEPS = (
    Wish(add=["load INTEGER DEFAULT 7"]),
    Wish(widen={"load": "BIGINT"}),
    Wish(rename={"load": "weight"}),
    Wish(drop=["note"]),
)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A pipeline, compiled.

    Args:
        number: Which of all.
        topics: Their names.
        means: What DuckDB is to say of each view that it knows.

    """

    number: int
    topics: tuple[str, ...]
    means: dict[str, str]
    compiled: Compiled


def names_of(number: int) -> tuple[str, ...]:
    """The views of a pipeline, in order."""
    random = Random(f"pipeline {number}")
    chosen = set(random.sample(sorted(VIEWS), 2))
    # Half of all have a topic of which rows may go.
    if number % 4 in _BESIDE:
        chosen = {chosen.pop(), random.choice(_BESIDE[number % 4])}
    chosen |= {reads for name in chosen if (reads := VIEWS[name].reads)}
    return tuple(name for name in VIEWS if name in chosen)


def topics_of(number: int) -> tuple[str, ...]:
    """The topics of a pipeline."""
    texts = [VIEWS[name].text for name in names_of(number)]
    more = [name for name in ("logs", "offers") if any(_reads(text, name) for text in texts)]
    return (*ALWAYS, *more)


def offers_of(number: int) -> dict[str, Any]:
    """What a pipeline keeps of the log of its offers."""
    return Random(f"offers {number}").choice(_OFFERS)


def fleeting_of(number: int) -> tuple[str, ...]:
    """The topics of a pipeline of which rows may go, so that nobody can look whether one came."""
    return ("logs", "offers") if "compact" in offers_of(number) else ("logs",)


def partitions_of(number: int, topic: str) -> int:
    """How many partitions a topic of a pipeline has."""
    return 1 + {"clicks": number, "logs": number // 2}.get(topic, 0) % 2


@cache
def drawn(number: int, version: int, columns: int = 0, *, is_again: bool = False) -> Drawn:
    """A pipeline in one of its versions.

    Args:
        version: Of its views.
        columns: Of the columns of hits.
        is_again: With every view once more, under another name, which is then built from the log.

    """
    names, topics = names_of(number), topics_of(number)
    app = hw.App("simulated")
    app.topic(
        "clicks",
        "id BIGINT NOT NULL, ad BIGINT, cost BIGINT, ts TIMESTAMP",
        event_time="ts",
        delay="30 seconds",
        partitions=partitions_of(number, "clicks"),
    )
    app.topic("hits", COLUMNS[columns], event_time="ts", idle="20 seconds", watermark_by="server")
    ad = "id BIGINT NOT NULL, ad BIGINT PRIMARY KEY, name VARCHAR, gone BOOLEAN"
    app.table("ads", ad, deleted_by="gone" if number % 2 else None)
    if "offers" in topics:
        offer = "id BIGINT NOT NULL, ad BIGINT PRIMARY KEY, version BIGINT, price BIGINT"
        app.table("offers", f"{offer}, gone BOOLEAN", deleted_by="gone", **offers_of(number))
    if "logs" in topics:
        log = "id BIGINT NOT NULL, kind BIGINT, size BIGINT"
        life = Random(f"life {number}").choice(_LIVES)
        app.topic("logs", log, partitions=partitions_of(number, "logs"), **life)
    for name in names:
        declare(app, name, version, columns, "")
    if is_again:
        for name in names:
            # Of logs there is no more than is kept.
            if not _reads(VIEWS[name].text, "logs"):
                declare(app, name, version, columns, "_again")
    found = {name: VIEWS[name].of(version, columns).means for name in names}
    means = {name: text for name, text in found.items() if text}
    return Drawn(number, topics, means, app.compile())


def declare(app: hw.App, name: str, version: int, columns: int, ending: str) -> None:
    view = VIEWS[name].of(version, columns)
    text = view.text
    if view.reads and ending:
        text = text.replace(f"FROM {view.reads}", f"FROM {view.reads}{ending}")
    app.view(name + ending, text, **dict(view.options))


def columns_of(schema: Schema) -> int:
    """Which version of the columns of hits these are."""
    types = {column.name: column.type.sql for column in schema}
    if "weight" in types:
        return 3 if "note" in types else 4
    return {None: 0, "INTEGER": 1, "BIGINT": 2}[types.get("load")]


def _reads(text: str, relation: str) -> bool:
    return re.search(rf"\b{relation}\b", text) is not None
