"""Kill a pipeline at random moments while rows come in, and see that nothing is lost or doubled.

    python -m crashes.kill --kills 50 --seed 1          (make kill)

The real `headwater run` on a real folder: a topic, a keyed table, a windowed view, a join, and two
sinks. A producer sends without rest over HTTP, and sends again what was not acknowledged. The
process is killed (`kill -9`) under load, as soon as a checkpoint is seen being written, or while it
starts and recovers; started again, all laws are checked (`laws`), and it goes on.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median
from typing import TextIO

from crashes import laws, sales
from crashes.process import Process
from crashes.sender import Sender

SHOP = Path(__file__).parent / "shop.sql"
# When the process is killed under load; and how often the next is killed before it is ready.
MOMENTS = ("load", "checkpoint")
_START_SHARE = 0.3
# Near its budget the process writes checkpoints all the time.
_SMALL_MEMORY = "250 MB"
# So many batches are acknowledged before a kill, unless that takes too long.
_BATCHES_MAX = 60
_SECONDS_MAX = 5.0


@dataclass(slots=True)
class Result:
    """What a run has seen.

    Args:
        recoveries: Seconds from each start after a kill until the process answered.
        epochs: Epochs that were stepped again.

    """

    kills: Counter[str] = field(default_factory=Counter)
    recoveries: list[float] = field(default_factory=list)
    epochs: int = 0
    rows: int = 0

    def __str__(self) -> str:
        kills = ", ".join(f"{count} in {moment}" for moment, count in self.kills.items())
        return (
            f"{sum(self.kills.values())} kills ({kills}); {self.rows:,} rows, each once; "
            f"{self.epochs:,} epochs stepped again\n"
            f"recovery, from the start of the process to its first answer: median "
            f"{median(self.recoveries):.2f} s, longest {max(self.recoveries):.2f} s"
        )


def run(kills: int, seed: int, folder: Path, out: TextIO) -> Result:
    """Kill a pipeline so many times, checking all laws after each start and at the end.

    Args:
        folder: Where all is kept; empty.

    Raises:
        AssertionError: A law does not hold.
    """
    random, sender, result = Random(seed), Sender(seed), Result()
    start_seconds = 1.0
    while True:
        process = _started(folder, random)
        try:
            seconds = process.wait_ready()
            if result.kills:
                result.recoveries.append(seconds)
            start_seconds = seconds
            laws.check(process, sender, folder)
            result.epochs += _epochs(process)
            result.rows = sum(sender.answers.accepted.values())
            if result.kills.total() >= kills:
                break
            moment = random.choice(MOMENTS)
            sender.start(process)
            _let_pass(sender, folder, moment, random)
            process.kill()
            sender.stop()
        finally:
            sender.stop()
            process.kill()
        result.kills[moment] += 1
        while result.kills.total() < kills and random.random() < _START_SHARE:
            _kill_starting(folder, random, start_seconds)
            result.kills["start"] += 1
        rows = sum(sender.answers.accepted.values())
        out.write(
            f"{result.kills.total()} of {kills} kills; {rows:,} rows; started in {seconds:.2f} s\n"
        )
        out.flush()
    _finish(folder, sender, random)
    result.rows = sum(sender.answers.accepted.values())
    return result


def _started(folder: Path, random: Random) -> Process:
    options = random.choice([(), ("--memory", _SMALL_MEMORY)])
    return Process(SHOP, folder / "data", folder, *options)


def _let_pass(sender: Sender, folder: Path, moment: str, random: Random) -> None:
    """Wait for the moment to kill."""
    number = sender.number + random.randint(1, _BATCHES_MAX)
    end = time.monotonic() + _SECONDS_MAX
    while time.monotonic() < end and sender.number < number:
        time.sleep(0.001)
    while moment == "checkpoint" and time.monotonic() < end and not _is_writing(folder / "data"):
        time.sleep(0.001)
    time.sleep(random.choice([0.0, random.uniform(0, 0.03)]))


def _is_writing(data: Path) -> bool:
    """Whether a file of a checkpoint is being written."""
    return any(
        next((data / part).glob("*.hw-unfinished"), None) is not None
        for part in ("state", "checkpoints")
    )


def _kill_starting(folder: Path, random: Random, start_seconds: float) -> None:
    """Start the pipeline and kill it before, or soon after, it answers."""
    process = _started(folder, random)
    time.sleep(random.uniform(0.3, 1.1) * start_seconds)
    said = process.said()
    process.kill()
    assert "Traceback" not in said, said


def _epochs(process: Process) -> int:
    """How many epochs the start stepped again."""
    marked = [line for line in process.said().splitlines() if line.startswith("recovered: ")]
    return sum(int(line.split()[1]) for line in marked)


def _finish(folder: Path, sender: Sender, random: Random) -> None:
    """Close every window, end in order, start again, and check it all."""
    process = _started(folder, random)
    try:
        process.wait_ready()
        sender.deliver(process, sender.next)
        sender.deliver(process, sales.last(sender.number))
        for _ in range(2):
            laws.check(process, sender, folder)
            laws.check_rows(process, sender)
            code = process.stop()
            assert code == 0, process.said()
            assert "Traceback" not in process.said(), process.said()
            process = _started(folder, random)
            process.wait_ready()
    finally:
        process.kill()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50, help="how often to kill it (50)")
    parser.add_argument("--seed", type=int, default=1, help="what is drawn from (1)")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="headwater-kill-"))
    try:
        result = run(options.kills, options.seed, folder, sys.stdout)
    except BaseException:
        print(f"seed {options.seed}; the folder is left: {folder}", file=sys.stderr)
        raise
    shutil.rmtree(folder)
    print(result)


if __name__ == "__main__":
    main()
