"""The demo, killed in the middle and started again, ends with the right answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from demo.batch_answers import ANSWERS, answer, assert_same
from headwater.demo.pipeline import app

CODE = "from headwater.cli.main import main; main()"


def demo(data: Path, *arguments: str) -> subprocess.Popen[str]:
    fixed = ["demo", "--data", str(data), "--listen", "127.0.0.1:0", "--exit"]
    return subprocess.Popen(
        [sys.executable, "-c", CODE, *fixed, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def kill_when_it_has_begun(data: Path) -> None:
    """End a demo without warning at its first line of progress that says that it computes."""
    process = demo(data, "--year-in", "20s")
    assert process.stdout is not None
    try:
        seen = []
        for line in process.stdout:
            seen.append(line)
            if "events" in line and not line.lstrip().startswith("0 "):
                break
        else:
            raise AssertionError(f"it ended by itself: {''.join(seen)}")
    finally:
        process.kill()
        process.communicate()


def test_the_answers_are_right_after_two_kills(tmp_path: Path) -> None:
    kill_when_it_has_begun(tmp_path)
    kill_when_it_has_begun(tmp_path)

    last = demo(tmp_path, "--year-in", "0")
    printed, _ = last.communicate(timeout=120)

    assert last.returncode == 0, printed
    assert "The year is over" in printed
    with app.start(data=tmp_path, listen=None) as live:
        for view in ANSWERS:
            assert_same(live.content(view), answer(view))
