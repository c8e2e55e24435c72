"""Make one call of a library fail, before it is made or after: with the real library behind it.

A store's client is a module (`psycopg`, `duckdb`), and what it returns are connections and cursors.
`Faults.around` wraps it all: every call is counted, and one of them raises. Failing before says
that the request did not arrive; failing after, that it did and the answer was lost.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pyarrow as pa

_PLAIN = (str, bytes, int, float, list, tuple, dict, pa.Table, pa.Buffer, type(None))


class Faults:
    """Which call fails, and how.

    Args:
        error: Makes what it raises: what the client raises when its store is gone.
        call: Its number, counted from 1; 0 for none.
        is_after: It is made, and fails then.

    Attributes:
        calls: How many were made.
    """

    def __init__(
        self, error: Callable[[], Exception], call: int = 0, *, is_after: bool = False
    ) -> None:
        self.calls = 0
        self._error = error
        self._call = call
        self._is_after = is_after

    @property
    def has_fired(self) -> bool:
        """Whether so many calls were made that one failed."""
        return 0 < self._call <= self.calls

    def around(self, client: Any) -> Any:
        """What stands for a client, an object of it or a function."""
        return _Wrapped(client, self)

    def run(self, call: Callable[[], Any]) -> Any:
        """Make a call, unless it is the one that fails."""
        self.calls += 1
        is_it = self.calls == self._call
        if is_it and not self._is_after:
            raise self._error()
        result = call()
        if is_it:
            # Nobody has what the call returned, a new connection for example.
            close = getattr(result, "close", None)
            if close is not None:
                close()
            raise self._error()
        return result


class _Wrapped:
    def __init__(self, inner: Any, faults: Faults) -> None:
        self._inner = inner
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        return self._closing if name == "close" else self._wrapped(getattr(self._inner, name))

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        plain = [_inner(argument) for argument in arguments]
        also = {name: _inner(argument) for name, argument in named.items()}
        return self._wrapped(self._faults.run(lambda: self._inner(*plain, **also)))

    def __enter__(self) -> Any:
        is_entered = False

        def enter() -> Any:
            nonlocal is_entered
            found = self._inner.__enter__()
            is_entered = True
            return found

        try:
            return self._wrapped(self._faults.run(enter))
        except Exception as failure:
            # Nobody else will leave it: a COPY that nobody ends would hold its connection for ever.
            if is_entered:
                with suppress(Exception):
                    self._inner.__exit__(type(failure), failure, failure.__traceback__)
            raise

    def __exit__(self, kind: Any, error: Any, trace: Any) -> Any:
        if error is not None:
            return self._inner.__exit__(kind, error, trace)
        is_left = False

        def leave() -> Any:
            nonlocal is_left
            is_left = True
            return self._inner.__exit__(None, None, None)

        try:
            return self._faults.run(leave)
        except Exception as failure:
            if not is_left:
                self._inner.__exit__(type(failure), failure, failure.__traceback__)
            raise

    def _closing(self) -> Any:
        """Close, also where that fails: the system closes what a lost store leaves open."""
        try:
            return self._faults.run(self._inner.close)
        except Exception:
            with suppress(Exception):
                self._inner.close()
            raise

    def _wrapped(self, value: Any) -> Any:
        is_error = isinstance(value, type) and issubclass(value, BaseException)
        is_plain = isinstance(value, _PLAIN) or hasattr(type(value), "__arrow_c_schema__")
        return value if is_error or is_plain else _Wrapped(value, self._faults)


def _inner(value: Any) -> Any:
    return value._inner if isinstance(value, _Wrapped) else value
