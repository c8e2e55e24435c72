"""What durability costs a backlog: the same catch-up with the journal synced and not.

    python -m bench.durability [--rows 5000000] [--repeat 5]

The queries and rows of `bench/first.py`. Without a sync an epoch is still written to the journal,
but nobody waits for the disk: a power cut would lose what was acknowledged. Runs with and without
take turns; figures are medians.
"""

from __future__ import annotations

import argparse
import statistics

from rich.console import Console
from rich.table import Table

from bench.first import QUERIES, headwater_seconds
from headwater.runtime.runtime import Settings

SYNCED, UNSYNCED = Settings(), Settings(is_synced=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    table = Table(title=f"{args.rows:,} rows, medians of {args.repeat}", title_style="")
    for heading in ("query", "durable", "without syncs", "durability costs"):
        table.add_column(heading, justify="left" if heading == "query" else "right")
    for query in QUERIES:
        seconds: dict[bool, list[float]] = {True: [], False: []}
        for number in range(2 * args.repeat):
            # Neither is always the first of a pair.
            settings = SYNCED if (number + number // 2) % 2 else UNSYNCED
            taken, _ = headwater_seconds(query, args.rows, settings)
            seconds[settings.is_synced].append(taken)
        durable, without = (statistics.median(seconds[is_synced]) for is_synced in (True, False))
        speeds = [f"{args.rows / each / 1e6:.1f} M rows/s" for each in (durable, without)]
        table.add_row(query.name, *speeds, f"{max(0.0, 1 - without / durable):.0%}")
    Console().print(table)


if __name__ == "__main__":
    main()
