"""Headwater: an event log, an incremental SQL engine and their consumers, in one process.

The public names are loaded when they are first used, so that `import headwater` is quick.
"""

from __future__ import annotations

import gc
from importlib import import_module
from typing import TYPE_CHECKING, Any

from headwater import simd

if TYPE_CHECKING:
    from headwater.errors import (
        ConflictError,
        ConnectorError,
        DefinitionError,
        HeadwaterError,
        RecordError,
        StateError,
    )
    from headwater.operators.keyed import Key
    from headwater.pipeline import sinks
    from headwater.remote.remote import connect
    from headwater.run.app import App
    from headwater.run.live import Live

    __version__: str

_HOMES = {
    "App": "headwater.run.app",
    "Key": "headwater.operators.keyed",
    "Live": "headwater.run.live",
    "connect": "headwater.remote.remote",
    "ConflictError": "headwater.errors",
    "ConnectorError": "headwater.errors",
    "DefinitionError": "headwater.errors",
    "HeadwaterError": "headwater.errors",
    "RecordError": "headwater.errors",
    "StateError": "headwater.errors",
}

__all__ = [
    "App",
    "ConflictError",
    "ConnectorError",
    "DefinitionError",
    "HeadwaterError",
    "Key",
    "Live",
    "RecordError",
    "StateError",
    "__version__",
    "connect",
    "sinks",
]


simd.settle()


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name == "sinks":
        return _imported("headwater.pipeline.sinks")
    if name in _HOMES:
        return getattr(_imported(_HOMES[name]), name)
    raise AttributeError(f"module 'headwater' has no attribute {name!r}")


def _imported(name: str) -> Any:
    """A module. What is imported stays, so a search for garbage would be a tenth of the time."""
    is_collecting = gc.isenabled()
    gc.disable()
    try:
        return import_module(name)
    finally:
        if is_collecting:
            gc.enable()


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("headwater")
    except PackageNotFoundError:  # pragma: no cover - a source tree that is not installed
        return "0"


def __dir__() -> list[str]:
    return sorted(__all__)
