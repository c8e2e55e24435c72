"""The benchmark of a joined table: what its sink holds is what DuckDB says of the log."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.enrich import Size, app, run, verify


def test_the_sink_adds_up_to_what_duckdb_says_of_the_log(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    with app(lake).start(tmp_path / "data", listen=None) as live:
        parts = list(run(live, Size(keys=3_000, updates=5_000)))
        rows, changes = verify(live, lake, tmp_path)

        (tmp_path / "verify.duckdb").unlink()
        max(lake.glob("*.parquet")).unlink()
        with pytest.raises(AssertionError, match="the sink adds up to"):
            verify(live, lake, tmp_path)

    assert [sum(p.rows for p in parts if p.what == what) for what in ("load", "update")] == [
        3_000,
        5_000,
    ]
    assert parts[-1].behind == 0
    assert rows == 3_000
    assert changes > 2 * 3_000
