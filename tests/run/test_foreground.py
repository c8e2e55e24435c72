"""What the foreground prints while a pipeline runs."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import headwater as hw
from headwater.run.foreground import Progress
from headwater.runtime.status import Status


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def status(folder: Path, *problems: str) -> Status:
    app = hw.App("shop")
    app.topic("sales", "item VARCHAR")
    with app.start(folder, listen=None) as live:
        return replace(live.status(), problems=problems)


def test_a_problem_is_told_once_and_again_when_it_comes_back(tmp_path: Path) -> None:
    for out in (io.StringIO(), Terminal()):
        progress = Progress(out)
        well, ill = status(tmp_path), status(tmp_path, "the disk is full")

        for shown in (ill, ill, well, ill, ill):
            progress.show(shown)

        lines = out.getvalue().replace("\r", "\n").split("\n")
        assert lines.count("the disk is full") == 2


def test_what_follows_a_line_on_a_terminal_does_not_run_into_it(tmp_path: Path) -> None:
    out = Terminal()
    progress = Progress(out)

    progress.loaded("sales from sales.csv", 3, 40, 42)
    progress.leave()
    progress.leave()
    out.write("next\n")

    assert out.getvalue() == "\rsales from sales.csv: 3 rows (95 %)\nnext\n"


def test_a_file_of_a_log_names_each_tenth_of_long_work_once() -> None:
    out = io.StringIO()
    progress = Progress(out)
    for done in range(1, 1_001):
        progress.work("rebuilding totals", done, 1_000)
    progress.work("recovering", 1, 1_000)

    lines = out.getvalue().splitlines()
    assert len(lines) == 12
    assert lines[-2:] == [
        "rebuilding totals: 1,000 of 1,000 (100 %)",
        "recovering: 1 of 1,000 (0 %)",
    ]
