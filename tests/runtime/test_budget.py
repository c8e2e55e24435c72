"""A table may be larger than the memory that the process may have."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from headwater.runtime import budget
from headwater.runtime.budget import Budget, Pressure, anonymous_bytes

pytestmark = pytest.mark.skipif(not anonymous_bytes(), reason="this system tells no memory")

MIB = 1 << 20
# In a process of its own: memory is the process's.
PROGRAM = """
import sys
from pathlib import Path
import numpy as np
import pyarrow as pa
import headwater as hw
from headwater.runtime.budget import anonymous_bytes
from headwater.runtime.runtime import Settings
limit = int(sys.argv[2]) or None
app = hw.App("offers")
app.table("offers", "id BIGINT, title VARCHAR", key="id")
with app.start(Path(sys.argv[1]), listen=None, settings=Settings(memory_bytes=limit)) as live:
    before = highest = anonymous_bytes()
    for number in range(48):
        ids = np.arange(25_000, dtype=np.int64) * 48 + number
        titles = pa.array([f"{key:0400d}" for key in ids.tolist()])
        live.send("offers", pa.table({"id": ids, "title": titles}))
        live.settle()
        highest = max(highest, anonymous_bytes())
    row = live.get("offers", 1_199_999)
    print(before, highest, row["title"] == f"{1_199_999:0400d}", sum(
        batch.num_rows for batch in live._runtime.loop.visible.contents["offers"].batches()
    ))
"""


def run(folder: Path, limit_bytes: int) -> tuple[int, int]:
    """How much memory was in use above what the empty pipeline took, and how much of the limit."""
    command = [sys.executable, "-c", dedent(PROGRAM), str(folder), str(limit_bytes)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    before, highest, is_found, rows = done.stdout.split()
    assert (is_found, rows) == ("True", "1200000")
    return int(highest) - int(before), int(highest)


def test_memory_stays_within_the_budget_and_nothing_is_lost(tmp_path: Path) -> None:
    needed, highest = run(tmp_path / "free", 0)
    limit = highest - needed // 3

    _, kept = run(tmp_path / "bounded", limit)

    assert needed > 500 * MIB
    assert kept <= limit


@pytest.mark.parametrize(
    ("used", "pressure"), [(37, Pressure.NONE), (38, Pressure.SOON), (63, Pressure.NOW)]
)
def test_the_nearer_the_budget_the_more_is_done(
    used: int, pressure: Pressure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "anonymous_bytes", lambda: used * MIB)

    assert Budget(100 * MIB).pressure() is pressure


def test_by_default_most_of_the_machine_is_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "_memory_bytes", lambda: 100 * MIB)
    used = [28]
    monkeypatch.setattr(budget, "anonymous_bytes", lambda: used[0] * MIB)
    watched = Budget(None)

    before = watched.pressure()
    used[0] = 29

    assert (before, watched.pressure()) == (Pressure.NONE, Pressure.SOON)


def test_a_container_may_have_less_than_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "_CONTAINER", tmp_path / "memory.max")
    machine = budget._memory_bytes()

    (tmp_path / "memory.max").write_text("max\n")
    assert budget._memory_bytes() == machine
    (tmp_path / "memory.max").write_text("1000000\n")
    assert budget._memory_bytes() == 1_000_000


def test_what_cannot_be_stored_is_not_asked_for_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used = [80]
    monkeypatch.setattr(budget, "anonymous_bytes", lambda: used[0] * MIB)
    watched = Budget(100 * MIB)

    watched.ease()
    after = watched.pressure()
    used[0] = 90

    assert (after, watched.pressure()) == (Pressure.NONE, Pressure.NOW)
