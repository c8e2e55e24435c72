"""A plan says which columns tell a view's rows apart, and never says so where they do not."""

from __future__ import annotations

import pytest

from headwater.plan.unique import keys_of
from sql.planning import planned

TABLES = {"campaigns": (("ad",),), "bids": (("ad",),)}
TUMBLE = "TUMBLE(clicks, ts, INTERVAL '1 minute')"
HOP = "HOP(clicks, ts, INTERVAL '1 minute', INTERVAL '1 hour')"
CUMULATE = "CUMULATE(clicks, ts, INTERVAL '1 minute', INTERVAL '1 hour')"


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("SELECT ad, count(*) AS n FROM clicks GROUP BY ad", [("ad",)]),
        ("SELECT count(*) AS n, ad AS a, day FROM clicks GROUP BY ad, day", [("a", "day")]),
        ("SELECT count(*) AS n FROM clicks GROUP BY ad", []),
        ("SELECT count(*) AS n FROM clicks", [()]),
        ("SELECT ad FROM clicks", []),
        ("SELECT DISTINCT ad, day FROM clicks", [("ad", "day")]),
        ("SELECT ad + 1 AS ad, count(*) AS n FROM clicks GROUP BY clicks.ad", []),
        (f"SELECT ad, window_start, count(*) AS n FROM {TUMBLE} GROUP BY ALL", ["ad window_start"]),
        (
            f"SELECT day, window_end FROM {HOP} GROUP BY day, window_start, window_end",
            [("day", "window_end")],
        ),
        (
            f"SELECT window_start, count(*) AS n FROM {CUMULATE} GROUP BY window_start, window_end",
            [],
        ),
        (
            f"SELECT window_end, count(*) AS n FROM {CUMULATE} GROUP BY window_start, window_end",
            [("window_end",)],
        ),
        ("SELECT ad AS id, campaign FROM campaigns WHERE ad > 3", [("id",)]),
        ("SELECT campaign FROM campaigns", []),
        ("SELECT c.ad, b.bid FROM campaigns c JOIN bids b ON c.ad = b.ad", [("ad",)]),
        ("SELECT b.ad, c.campaign FROM bids b LEFT JOIN campaigns c USING (ad)", [("ad",)]),
        ("SELECT b.ad, bid, campaign FROM bids b FULL JOIN campaigns c USING (ad)", []),
        ("SELECT b.ad, n FROM bids b JOIN shows s USING (ad)", []),
        ("SELECT ad FROM campaigns WHERE ad IN (SELECT ad FROM clicks)", [("ad",)]),
        (
            "SELECT * FROM clicks QUALIFY row_number() OVER (PARTITION BY ad ORDER BY ts DESC) = 1",
            [("ad",)],
        ),
        (
            "SELECT * FROM clicks QUALIFY row_number() OVER (PARTITION BY ad ORDER BY ts DESC) < 3",
            [],
        ),
        ("SELECT ad FROM clicks UNION ALL SELECT ad FROM shows", []),
        ("SELECT ad FROM clicks INTERSECT SELECT ad FROM shows", [("ad",)]),
    ],
)
def test_the_columns_that_tell_rows_apart(query: str, keys: list[tuple[str, ...] | str]) -> None:
    found = keys_of(planned(query).root, TABLES)

    wanted = [tuple(key.split()) if isinstance(key, str) else key for key in keys]
    if not wanted:
        assert found == ()
    assert set(wanted) <= set(found)
