"""How long the first moments take, and how large an install is.

    python bench/start.py [--install]

Each figure is a process of its own. `--install` makes a fresh virtual environment of this source
tree and adds up its packages, without pip and setuptools.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

START = """
import time
started = time.perf_counter()
import headwater as hw
app = hw.App("start")
app.topic("clicks", "ad BIGINT, cost BIGINT, ts TIMESTAMP", event_time="ts")
app.view("spend", "SELECT ad, sum(cost) AS cost FROM clicks GROUP BY ad")
with app.start(FOLDER, listen="127.0.0.1:0"):
    print(time.perf_counter() - started)
"""
IMPORT = """
import time
started = time.perf_counter()
import headwater
print(time.perf_counter() - started)
"""


def seconds(code: str, runs: int = 5) -> float:
    """The median of what a program prints, over runs of it after a first one.

    The first compiles the modules, as an installation does.
    """
    with tempfile.TemporaryDirectory() as compiled:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        taken = [_seconds(code, environment) for _ in range(1 + runs)]
    return statistics.median(taken[1:])


def _seconds(code: str, environment: dict[str, str]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        text = code.replace("FOLDER", repr(folder))
        command = [sys.executable, "-c", text]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return float(done.stdout)


def install_mb() -> float:
    """The size of a fresh install's packages, in units of 2^20 bytes, as `du -m` counts."""
    source = Path(__file__).parent.parent
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [f"{folder}/bin/python", "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, str(source)], check=True)
        files = (path for path in Path(folder, "lib").rglob("*") if path.is_file())
        own = (p for p in files if not {"pip", "setuptools"} & set(p.parts))
        return sum(path.stat().st_size for path in own) / (1 << 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--install", action="store_true")
    args = parser.parse_args()
    table = Table()
    table.add_column("what")
    table.add_column("figure", justify="right")
    started = time.perf_counter()
    table.add_row("import headwater", f"{seconds(IMPORT):.3f} s")
    table.add_row("import, declare and start with an empty folder", f"{seconds(START):.2f} s")
    if args.install:
        table.add_row("a fresh install", f"{install_mb():.0f} MiB")
    table.caption = f"measured in {time.perf_counter() - started:.0f} s"
    Console().print(table)


if __name__ == "__main__":
    main()
