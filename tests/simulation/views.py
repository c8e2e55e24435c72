"""The views of the simulation, each with what it means to DuckDB, and what its author changes."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class View:
    """A view.

    Args:
        text: What it says.
        means: The same for DuckDB alone, over all rows (`ads` are those that stand), written by
            hand; None where rows may come too late, of which DuckDB knows nothing.
        changed: Two texts, and what takes the place of the first when the author changes the view.
        reads: The view that it reads.

    In both texts `{load}` is what the load of a hit is called by now.

    """

    text: str
    means: str | None
    changed: tuple[str, str] = ("", "")
    options: tuple[tuple[str, str], ...] = ()
    reads: str | None = None

    def of(self, version: int, columns: int) -> View:
        """The view in a version of it, over some version of the columns of hits."""
        change = self.changed if version and self.changed[0] else ("", "")
        text = self.text.replace(*change).replace("{load}", _LOADS[columns])
        means = self.means and self.means.replace(*change)
        return replace(self, text=text, means=means and means.replace("{load}", _MEANT[columns]))


# What the load of a hit is, in the versions of its columns; and in what DuckDB is asked.
_LOADS = ("7", "load", "load", "weight", "weight")
_MEANT = ("7", "load", "load", "load", "load")
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
    "loads": same("SELECT server, count(*) AS n, sum({load}) AS load FROM hits GROUP BY server"),
    "logged": same("SELECT kind, count(*) AS n, sum(size) AS size FROM logs GROUP BY kind"),
    "large": same("SELECT id, kind FROM logs WHERE size > 30"),
    "offered": same("SELECT ad, price FROM offers", ("price", "price + 1 AS price")),
    "priced": same("SELECT clicks.id, price FROM clicks JOIN offers USING (ad)"),
}
