"""The demo, killed in the middle and started again, ends with the right answers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from demo.batch_answers import ANSWERS, answer, assert_same
from headwater.cli.client import Client
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


def kill_after(data: Path, flights: int) -> None:
    """End a demo without warning when so many flights have entered."""
    process = demo(data, "--year-in", "8s")
    assert process.stdout is not None
    try:
        found, lines = None, []
        while not found:
            lines.append(process.stdout.readline())
            assert lines[-1], f"it ended by itself: {''.join(lines)}"
            found = re.search(r"http://\S+", lines[-1])
        client, entered = Client(found[0]), 0
        while entered < flights:
            topics = client.get("/status")["topics"]
            entered = next(topic["rows"] for topic in topics if topic["name"] == "flights")
        assert entered < 300_000, "it was too late to kill it in the middle"
    finally:
        process.kill()
        process.communicate()


def test_the_answers_are_right_after_two_kills(tmp_path: Path) -> None:
    kill_after(tmp_path, flights=50_000)
    kill_after(tmp_path, flights=150_000)

    last = demo(tmp_path, "--year-in", "0")
    printed, _ = last.communicate(timeout=120)

    assert last.returncode == 0, printed
    assert "The year is over" in printed
    with app.start(data=tmp_path, listen=None) as live:
        for view in ANSWERS:
            assert_same(live.content(view), answer(view))
