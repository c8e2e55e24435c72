"""Every stream script, as written, row by row, with crashes, and in one epoch."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.testing.streams import Case, cases, run

SCRIPTS = sorted(Path(__file__).parent.glob("*.md"))
CASES = [
    pytest.param(case, id=f"{script.stem}: {case.title}")
    for script in SCRIPTS
    for case in cases(script)
]


@pytest.mark.parametrize("mode", ["written", "rows", "crashes", "whole"])
@pytest.mark.parametrize("case", CASES)
def test_the_script_holds(case: Case, mode: str) -> None:
    run(case, mode)
