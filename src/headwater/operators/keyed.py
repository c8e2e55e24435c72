"""Run the author's code for one key: its rows and its timers, one after the other.

Between two rows fire all timers whose time the watermark had passed at the second one's place, in
the order of their times. So what the code sees of a key is one sequence, which depends on the log
and on no cut into epochs; that is why it is called with single rows, and why only plain data is
kept from one call to the next (`plain_data`).

A call that raises has not happened: state and timers are as they were before it, and the row (or
the timer) is told as failed. To that end the calls since the state was last written down are
repeated, so a failure costs at most as much again as the epoch's calls for that key.

This is where the author's code meets values one by one, in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from headwater.delta.delta import Int64Array
from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL
from headwater.errors import DefinitionError
from headwater.operators.functions import last_line
from headwater.operators.plain_data import decoded, encoded

_EPOCH = datetime(1970, 1, 1)
_US = timedelta(microseconds=1)
NOTHING_KEPT = encoded([{}, {}])


class Timers:
    """The timers of one key: one for each name, at a time of the events.

    A timer fires when the watermark has passed its time, once.
    """

    def __init__(self, times: dict[str, tuple[int, bool]], *, can_fire: bool) -> None:
        self._times = times
        self._can_fire = can_fire
        self._after_us = BEFORE_ALL
        self.first_us = AFTER_ALL
        self._find_first()

    def set(self, at: datetime, name: str = "") -> None:
        """Let a timer fire at a time, instead of the one of that name that was set before.

        Args:
            at: The time; without a zone it is UTC. One that has passed fires at once, after this
                call. What `timer` sets must be later than the time that it is called for.

        Raises:
            ValueError: It is not later.
            TypeError: It is no datetime, or there is no `timer` to be called.

        """
        if not self._can_fire:
            raise TypeError("there is no method timer(name, at, key) to be called")
        if type(name) is not str:
            raise TypeError(f"a timer's name is a text, not {name!r}")
        if not isinstance(at, datetime):
            raise TypeError(f"a timer is set at a datetime, not at {at!r}")
        us = _micros(at)
        if us <= self._after_us:
            raise ValueError(f"timer() set a timer at {at}, which is not after its own time")
        self._times[name] = (us, at.tzinfo is not None)
        if len(self._times) == 1:
            self.first_us = us
        else:
            self._find_first()

    def cancel(self, name: str = "") -> None:
        """Let the timer of that name not fire; it need not be set."""
        if self._times.pop(name, None) is not None:
            self._find_first()

    def get(self, name: str = "") -> datetime | None:
        """When the timer of that name will fire, or None."""
        found = self._times.get(name)
        return None if found is None else _moment(*found)

    def _find_first(self) -> None:
        self.first_us = min((us for us, _ in self._times.values()), default=AFTER_ALL)

    def _take_due(self, until_us: int) -> tuple[str, tuple[int, bool]] | None:
        """Remove and return the first timer that is not after `until_us`."""
        if self.first_us > until_us or not self._times:
            return None
        name, found = min(self._times.items(), key=lambda item: (item[1][0], item[0]))
        self.cancel(name)
        return name, found


class Key:
    """What the author's code has of the key that a row or a timer belongs to.

    Args:
        values: The key columns, by name.

    Attributes:
        state: A dict of plain data that is kept from call to call. A key whose state is empty and
            that has no timer is forgotten.
        timers: Its timers.

    """

    __slots__ = ("_values", "state", "timers")

    def __init__(self, values: dict[str, Any], state: dict[Any, Any], timers: Timers) -> None:
        self._values = values
        self.state = state
        self.timers = timers

    def __getitem__(self, column: str) -> Any:
        """The value of a key column."""
        return self._values[column]


@dataclass(slots=True)
class Said:
    """What the code put out in an epoch.

    Args:
        rows: The emitted rows.
        places: For each the place of the last row that the code had been given of its key.
        times_us: For each the time of the timer that emitted it; BEFORE_ALL where a row did.
        failed_rows: The indexes of the rows for which it raised, and why.
        failed_timers: The same for timers: the key's columns, the name, the time and why.

    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    times_us: list[int] = field(default_factory=list)
    failed_rows: list[tuple[int, str]] = field(default_factory=list)
    failed_timers: list[tuple[dict[str, Any], str, int, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Code:
    """The author's code.

    Args:
        name: The view, for messages.
        row: Called with a row, as a dict, and its `Key`.
        timer: Called with the name of a timer, its time and the `Key`; None where it has no timers.
        columns: The columns that it may emit.
        check: Raises if an emitted row does not fit the columns; None to find out later.

    """

    name: str
    row: Callable[[dict[str, Any], Key], Any]
    timer: Callable[[str, datetime, Key], Any] | None
    columns: frozenset[str]
    check: Callable[[dict[str, Any]], object] | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """What happens to one key in an epoch.

    Args:
        rows: Its rows, as values of `names`, in order.
        indexes: Where each stands among the epoch's rows.
        places: Its place in the log.
        watermarks_us: The watermark before each row.
        end_us: The watermarks at the end: the last one, and, where the input ends in this epoch,
            AFTER_ALL behind it.

    """

    names: Sequence[str]
    rows: Sequence[tuple[Any, ...]]
    indexes: Sequence[int]
    places: Sequence[int]
    watermarks_us: Sequence[int]
    end_us: Sequence[int]


class KeyRun:
    """One key in one epoch. Use once.

    Args:
        values: The key columns.
        kept: What `run` returned of this key before; `NOTHING_KEPT` for a new one.

    """

    def __init__(self, code: Code, values: dict[str, Any], kept: str, said: Said) -> None:
        self._code = code
        self._values = values
        self._said = said
        self._kept = kept
        self._done: list[Callable[[], Iterable[Any]]] = []
        self._place = BEFORE_ALL
        self._restore()

    def run(self, turn: Turn) -> tuple[str, int]:
        """Call the code; return what is to be kept, and when the first timer is due."""
        for values, index, place, watermark in zip(
            turn.rows, turn.indexes, turn.places, turn.watermarks_us, strict=True
        ):
            self._fire(watermark)
            self._place = place
            self._row(turn.names, values, index)
        for end_us in turn.end_us:
            self._fire(end_us)
        return self._written(), self._key.timers.first_us

    def _row(self, names: Sequence[str], values: tuple[Any, ...], index: int) -> None:
        reason = self._call(
            lambda: _emitted(self._code.row(dict(zip(names, values, strict=True)), self._key)),
            BEFORE_ALL,
        )
        if reason is not None:
            self._said.failed_rows.append((index, reason))

    def _fire(self, until_us: int) -> None:
        """Fire the timers that are due; after the end of the input each that stands, once."""
        timers = self._key.timers
        if timers.first_us > until_us:
            return
        if until_us < AFTER_ALL:
            while (due := self._key.timers._take_due(until_us)) is not None:
                self._time(*due)
            return
        standing = sorted(timers._times.items(), key=lambda item: (item[1][0], item[0]))
        for name, at in standing:
            if self._key.timers._times.get(name) == at:
                self._key.timers.cancel(name)
                self._time(name, at)
        for name in list(self._key.timers._times):
            self._key.timers.cancel(name)
        self._kept, self._done = self._written(), []

    def _time(self, name: str, at: tuple[int, bool]) -> None:
        us, _ = at
        reason = self._call(lambda: self._timed(name, at), us)
        if reason is not None:
            # Fired it has, or it would be due for ever.
            self._key.timers.cancel(name)
            self._kept, self._done = self._written(), []
            self._said.failed_timers.append((self._values, name, us, reason))

    def _timed(self, name: str, at: tuple[int, bool]) -> list[Any]:
        assert self._code.timer is not None, "no timer was set"
        # Also when it is repeated: then the timer is still set.
        self._key.timers.cancel(name)
        self._key.timers._after_us = at[0]
        try:
            return _emitted(self._code.timer(name, _moment(*at), self._key))
        finally:
            self._key.timers._after_us = BEFORE_ALL

    def _call(self, call: Callable[[], list[Any]], time_us: int) -> str | None:
        """Call the code once; what it raised, and then nothing has happened."""
        try:
            emitted = call()
            for row in emitted:
                self._check(row)
        except Exception as error:
            self._undo()
            return f"process {self._code.name} raised {last_line(error)}"
        self._done.append(call)
        self._said.rows += emitted
        self._said.places += [self._place] * len(emitted)
        self._said.times_us += [time_us] * len(emitted)
        return None

    def _check(self, row: Any) -> None:
        if type(row) is not dict:
            raise TypeError(f"a dict is to be emitted, not {row!r}")
        unknown = row.keys() - self._code.columns
        if unknown:
            raise TypeError(f"no such column is declared: {', '.join(map(str, unknown))}")
        for name in self._values.keys() & self._code.columns:
            row.setdefault(name, self._values[name])
        if self._code.check is not None:
            self._code.check(row)

    def _undo(self) -> None:
        """Go back to the end of the last call."""
        self._restore()
        for call in self._done:
            try:
                call()
            except Exception as error:
                raise DefinitionError(
                    f"process {self._code.name} is not deterministic: given the same rows again "
                    f"it raised {last_line(error)}",
                    hint="what it does may depend on the row and the key's state only",
                ) from error
        self._kept, self._done = self._written(), []

    def _restore(self) -> None:
        state, timers = decoded(self._kept)
        times = {name: (us, is_zoned) for name, (us, is_zoned) in timers.items()}
        self._key = Key(self._values, state, Timers(times, can_fire=self._code.timer is not None))

    def _written(self) -> str:
        """State and timers as text.

        Raises:
            DefinitionError: The state holds what cannot be kept.

        """
        timers = {name: list(at) for name, at in self._key.timers._times.items()}
        try:
            return encoded([self._key.state, timers])
        except TypeError as error:
            raise DefinitionError(
                f"the state of process {self._code.name} for {self._values}: {error}"
            ) from None


def code_of(
    name: str, call: Any, columns: Iterable[str], check: Callable[..., object] | None = None
) -> Code:
    """The author's function, or the methods `row` and `timer` of an instance of the class."""
    target = call() if isinstance(call, type) else call
    row = getattr(target, "row", target)
    return Code(name, row, getattr(target, "timer", None), frozenset(columns), check)


def ends_of(start_us: int, values_us: Int64Array) -> tuple[int, ...]:
    """The watermarks at the end of an epoch at which timers fire, as `Turn` wants them."""
    last = int(values_us[-1]) if len(values_us) else start_us
    if last < AFTER_ALL:
        return (last,)
    before = int(values_us[-2]) if len(values_us) > 1 else start_us
    return (before, AFTER_ALL) if before < AFTER_ALL else (AFTER_ALL,)


def _emitted(result: Any) -> list[Any]:
    """What a call emitted: nothing, one row or an iterable of rows. A generator runs to its end."""
    if result is None:
        return []
    return [result] if isinstance(result, dict) else list(result)


def _micros(at: datetime) -> int:
    naive = at if at.tzinfo is None else at.astimezone(UTC).replace(tzinfo=None)
    return (naive - _EPOCH) // _US


def _moment(us: int, is_zoned: bool) -> datetime:
    moment = _EPOCH + timedelta(microseconds=us)
    return moment.replace(tzinfo=UTC) if is_zoned else moment
