"""DuckDB for many lives, and merges by turns.

DuckDB is opened once in a process, and each statement prepared once.

To open DuckDB costs as much as all else of a short life. It remembers nothing of a life: what it
runs are prepared statements over the rows that it is handed. So all lives share one, in which a
statement that says what one of an earlier life said is that one.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import pyarrow as pa

from headwater import cores
from headwater.operators.functions import Functions
from headwater.operators.statement import Instance, Source


class Shared:
    """Stands for an `Instance` of one life."""

    def __init__(self, threads: int, functions: Functions) -> None:
        del functions  # The pipelines here have none.
        self.is_parallel = threads > 1
        self._opened = _opened(threads)
        self._own: dict[str, tuple[_Prepared, list[Source]]] = {}

    def prepare(self, name: str, text: str, sources: Mapping[str, Source]) -> None:
        """As `Instance.prepare`."""
        self._own[name] = self._opened.prepared(name, text, sources), list(sources.values())

    def run(self, name: str) -> pa.Table:
        """As `Instance.run`."""
        prepared, sources = self._own[name]
        for reads, source in zip(prepared.reads, sources, strict=True):
            reads.source = source
        return self._opened.instance.run(prepared.name)

    def close(self) -> None:
        """Others go on with what was opened."""


class Merges:
    """Stands for `headwater.state.merging.MERGES`: each merge is a thread that takes turns."""

    def submit(self, call: Callable[[], Any]) -> Any:
        """As `MergeThread.submit`."""
        return cores.ThreadPoolExecutor(1, "headwater-merge").submit(call)


class _Reads:
    """What a statement reads: of whichever life runs it."""

    source: Source

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.source.__arrow_c_stream__(requested_schema)


class _Prepared:
    def __init__(self, name: str, count: int) -> None:
        self.name = name
        self.reads = [_Reads() for _ in range(count)]


class _Opened:
    """An instance and what was prepared in it."""

    def __init__(self, threads: int) -> None:
        self.instance = Instance(threads, Functions())
        self._known: dict[tuple[str, tuple[pa.Schema, ...]], _Prepared] = {}

    def prepared(self, name: str, text: str, sources: Mapping[str, Source]) -> _Prepared:
        # The tables that a statement reads are called after it.
        known = (text.replace(f"{name}_", "_"), tuple(s.schema for s in sources.values()))
        if known not in self._known:
            made = _Prepared(f"statement_{len(self._known)}", len(sources))
            for reads, source in zip(made.reads, sources.values(), strict=True):
                reads.source = source
            text = text.replace(f"{name}_", f"{made.name}_")
            self.instance.prepare(made.name, text, dict(zip(sources, made.reads, strict=True)))
            self._known[known] = made
        return self._known[known]


@cache
def _opened(threads: int) -> _Opened:
    opened = _Opened(threads)
    atexit.register(opened.instance.close)
    return opened
