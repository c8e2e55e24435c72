"""Packages of the HTTP server, imported by a thread while the start does other things.

They take a third of a second to import, which a recovery need not wait for. Only packages that
nothing else imports: so no thread waits for a module that another is half through with.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from importlib import import_module

_PACKAGES = ("fastapi", "uvicorn")


def import_ahead() -> threading.Thread:
    """Begin to import them. Join the thread before using them: then they are there, if at all."""
    thread = threading.Thread(target=_import, name="headwater-imports", daemon=True)
    thread.start()
    return thread


def _import() -> None:
    # Who needs one that cannot be imported imports it again, and says so.
    with suppress(ImportError):
        for package in _PACKAGES:
            import_module(package)
