"""Small pipelines for the simulation, each in two versions: what an author changes in between.

A pipeline has a few of the views below, drawn by its number. A process compiles each once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from random import Random

import headwater as hw
from headwater.run.compile import Compiled

PIPELINES = 32
TIMED = ("clicks", "hits")


@dataclass(frozen=True, slots=True)
class View:
    """A view.

    Args:
        text: What it says.
        means: The same for DuckDB alone, over all rows (`ads` are those that stand), written by
            hand; None where rows may come too late, of which DuckDB knows nothing.
        changed: Two texts, and what takes the place of the first when the author changes the view.
        reads: The view that it reads.

    """

    text: str
    means: str | None
    changed: tuple[str, str] = ("", "")
    options: tuple[tuple[str, str], ...] = ()
    reads: str | None = None

    def of(self, version: int) -> View:
        """The view in a version."""
        if not version or not self.changed[0]:
            return self
        means = self.means and self.means.replace(*self.changed)
        return replace(self, text=self.text.replace(*self.changed), means=means)


FINAL = (("emit", "final"), ("lateness", "1 day"))
MINUTE = "time_bucket(INTERVAL '1 minute', ts)"
PER_AD = "FROM TUMBLE(clicks, ts, INTERVAL '1 minute') GROUP BY ad, window_start, window_end"
PER_NAME = (
    f"SELECT name, {MINUTE} AS window_start, count(*) AS n, sum(cost) AS cost "
    "FROM clicks JOIN ads USING (ad) GROUP BY ALL"
)


def same(text: str, changed: tuple[str, str] = ("", "")) -> View:
    """A view whose text DuckDB understands as it is."""
    return View(text, text, changed)


VIEWS = {
    "dear": same("SELECT id, ad, cost * 2 AS cost FROM clicks WHERE cost > 5", ("> 5", "> 8")),
    "per_name": View(
        "SELECT name, window_start, count(*) AS n, sum(cost) AS cost "
        "FROM TUMBLE(clicks, ts, INTERVAL '1 minute') JOIN ads USING (ad) "
        "GROUP BY name, window_start, window_end",
        PER_NAME,
        options=FINAL,
    ),
    "per_ad": View(
        f"SELECT ad, window_start, count(*) AS n, min(cost) AS cost {PER_AD}",
        f"SELECT ad, {MINUTE} AS window_start, count(*) AS n, min(cost) AS cost FROM clicks "
        "GROUP BY ALL",
        ("min(", "max("),
    ),
    "by_name": View(
        "SELECT name, avg(n) AS n FROM per_name GROUP BY name",
        f"SELECT name, avg(n) AS n FROM ({PER_NAME}) GROUP BY name",
        reads="per_name",
    ),
    "strict": View(
        f"SELECT ad, window_start, count(*) AS n {PER_AD}", None, options=(("emit", "final"),)
    ),
    "named": same("SELECT clicks.id, name FROM clicks JOIN ads USING (ad)"),
    "unnamed": same(
        "SELECT c.id, c.ad, name FROM clicks AS c LEFT JOIN ads AS a ON c.ad = a.ad",
    ),
    "kinds": same("SELECT DISTINCT ad, cost % 3 AS kind FROM clicks"),
    "top": same("SELECT id, cost FROM clicks ORDER BY cost DESC, id LIMIT 3", ("DESC, id", ", id")),
    "best": same(
        "SELECT ad, id, cost FROM clicks "
        "QUALIFY row_number() OVER (PARTITION BY ad ORDER BY cost DESC, id) <= 2"
    ),
    "mean": same("SELECT ad, avg(cost / 7.0) AS mean, count(*) AS n FROM clicks GROUP BY ad"),
    "middle": same("SELECT ad, median(cost) AS middle FROM clicks GROUP BY ad"),
    "visits": View(
        "SELECT ad, window_start, count(*) AS n "
        "FROM SESSION(clicks PARTITION BY ad, ts, INTERVAL '20 seconds') "
        "GROUP BY ad, window_start, window_end",
        "SELECT ad, min(ts) AS window_start, count(*) AS n FROM (SELECT ad, ts, "
        "sum(CASE WHEN gap < INTERVAL '20 seconds' THEN 0 ELSE 1 END) "
        "OVER (PARTITION BY ad ORDER BY ts, id) AS visit FROM (SELECT ad, ts, id, "
        "ts - lag(ts) OVER (PARTITION BY ad ORDER BY ts, id) AS gap FROM clicks)) "
        "GROUP BY ad, visit",
    ),
    "total": same("SELECT count(*) AS n, sum(cost) AS cost FROM clicks"),
    "per_server": View(
        "SELECT server, window_start, count(*) AS n FROM TUMBLE(hits, ts, INTERVAL '1 minute') "
        "GROUP BY server, window_start, window_end",
        f"SELECT server, {MINUTE} AS window_start, count(*) AS n FROM hits GROUP BY ALL",
        options=FINAL,
    ),
    "seen": same("SELECT ad AS n FROM clicks UNION SELECT server FROM hits"),
}


@dataclass(frozen=True, slots=True)
class Drawn:
    """A pipeline, compiled.

    Args:
        means: What DuckDB is to say of each view that it knows.

    """

    means: dict[str, str]
    compiled: Compiled


def names_of(number: int) -> tuple[str, ...]:
    """The views of a pipeline, in order."""
    chosen = set(Random(f"pipeline {number}").sample(sorted(VIEWS), 2))
    chosen |= {reads for name in chosen if (reads := VIEWS[name].reads)}
    return tuple(name for name in VIEWS if name in chosen)


@cache
def drawn(number: int, version: int, *, is_again: bool = False) -> Drawn:
    """A pipeline in one of its versions.

    Args:
        is_again: With every view once more, under another name, which is then built from the log.

    """
    names = names_of(number)
    app = hw.App("simulated")
    partitions = 1 + number % 2
    app.topic(
        "clicks",
        "id BIGINT NOT NULL, ad BIGINT, cost BIGINT, ts TIMESTAMP",
        event_time="ts",
        delay="30 seconds",
        partitions=partitions,
    )
    app.topic(
        "hits",
        "id BIGINT NOT NULL, server BIGINT, ts TIMESTAMP",
        event_time="ts",
        idle="20 seconds",
        watermark_by="server",
    )
    app.table("ads", "id BIGINT NOT NULL, ad BIGINT PRIMARY KEY, name VARCHAR")
    for name in names:
        declare(app, name, version, "")
    if is_again:
        for name in names:
            declare(app, name, version, "_again")
    means = {name: text for name in names if (text := VIEWS[name].of(version).means)}
    return Drawn(means, app.compile())


def declare(app: hw.App, name: str, version: int, ending: str) -> None:
    view = VIEWS[name].of(version)
    text = view.text
    if view.reads and ending:
        text = text.replace(f"FROM {view.reads}", f"FROM {view.reads}{ending}")
    app.view(name + ending, text, **dict(view.options))
