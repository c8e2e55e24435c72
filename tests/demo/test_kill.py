"""The demo, stopped or killed in the middle and started again, ends with the right answers."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

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


def end_after(data: Path, flights: int, number: signal.Signals) -> tuple[int, str]:
    """Send a demo a signal when so many flights have entered; how it ended and what it printed."""
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
        assert entered < 300_000, "it was too late to end it in the middle"
        process.send_signal(number)
        rest, _ = process.communicate(timeout=60)
        return process.returncode, "".join(lines) + rest
    finally:
        process.kill()
        process.communicate()


def test_the_answers_are_right_after_two_kills(tmp_path: Path) -> None:
    end_after(tmp_path, flights=50_000, number=signal.SIGKILL)
    end_after(tmp_path, flights=150_000, number=signal.SIGKILL)

    last = demo(tmp_path, "--year-in", "0")
    printed, _ = last.communicate(timeout=120)

    assert last.returncode == 0, printed
    assert "The year is over" in printed
    with app.start(data=tmp_path, listen=None) as live:
        for view in ANSWERS:
            assert_same(live.content(view), answer(view))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_stopped_ends_in_order(tmp_path: Path, number: signal.Signals) -> None:
    code, printed = end_after(tmp_path, flights=10_000, number=number)

    assert code == 0, printed
    assert "Stopped." in printed
    assert "Traceback" not in printed
