"""Data folders that a benchmark makes once and computes from many times."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from headwater.clock import SystemClock
from headwater.run.compile import Compiled
from headwater.runtime.runtime import Runtime, Settings
from headwater.storage.local import LocalDisk


def opened(compiled: Compiled, folder: Path, settings: Settings) -> Runtime:
    """A runtime over a folder, which is made where there is none; nobody steps it yet."""
    folder.mkdir(parents=True, exist_ok=True)
    return Runtime(compiled.pipeline, compiled.plans, LocalDisk(folder), SystemClock(), settings)


def linked(folder: Path, copy: Path) -> Path:
    """Copy a folder without the bytes of its large files; return the copy."""
    return Path(shutil.copytree(folder, copy, copy_function=_linked))


def _linked(source: str, target: str) -> str:
    """A second name for a file that is never changed, a copy of any other."""
    if source.endswith((".arrow", ".parquet")):
        os.link(source, target)
        return target
    return shutil.copy2(source, target)
