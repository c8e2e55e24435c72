"""A few kills of those that `make kill` makes by the dozen."""

from __future__ import annotations

import io
from pathlib import Path

from crashes.kill import run


def test_nothing_is_lost_or_doubled_by_kills(tmp_path: Path) -> None:
    out = io.StringIO()

    result = run(5, 1, tmp_path, out)

    assert result.kills.total() == 5
    assert len(out.getvalue().splitlines()) == len(result.recoveries)
    assert result.rows > 0
