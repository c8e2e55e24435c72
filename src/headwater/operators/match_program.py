"""A row pattern as a program, and the search for its matches in one partition.

The program is that of a backtracking regular expression machine (Thompson 1968, with the
instructions of Pike and Cox): take a row by a symbol, try one way and then another, end. Ways are
tried in the order of preference, and the first that reaches the end is the match.

A way that needs a row which has not come stops the search: were it given up, a less preferred way
could win that the row would have overruled. The search then goes on from the same first row when
there are more rows, or when the watermark says that none can come in time.

A state that was tried from the same place with the same slots is not tried again, so a search
without slots costs at most rows times instructions, whatever the pattern.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, IntEnum
from typing import Any

from headwater.delta.watermark import AFTER_ALL
from headwater.operators.match_values import Slots, Value
from headwater.plan.patterns import (
    Choice,
    End,
    Follow,
    Pattern,
    Repeat,
    Skip,
    Symbol,
    rows_min,
)

Path = tuple[Any, int] | None


class Op(IntEnum):
    """An instruction."""

    ROW = 0
    SPLIT = 1
    END = 2
    MATCH = 3
    FAIL = 4


class Outcome(Enum):
    """Why a search found nothing."""

    NONE = "no match begins here"
    WAITS = "a row that may still come decides"


Instruction = tuple[int, int, int]


def program(pattern: Pattern, symbols: Sequence[str]) -> tuple[list[Instruction], int]:
    """The instructions of a pattern and the place of the first.

    Returns:
        (ROW, number of the symbol, next), (SPLIT, preferred, other), (END, 0, next), (MATCH, 0, 0),
        (FAIL, 0, 0).

    """
    instructions: list[Instruction] = [(Op.MATCH, 0, 0)]
    numbers = {symbol: number for number, symbol in enumerate(symbols)}
    first = _emit(pattern, 0, instructions, numbers)
    return instructions, first


def _emit(pattern: Pattern, after: int, out: list[Instruction], numbers: dict[str, int]) -> int:
    """Add the instructions of a pattern that goes on at `after`; the place of its first."""
    if isinstance(pattern, Symbol):
        return _added(out, (Op.ROW, numbers[pattern.name], after))
    if isinstance(pattern, End):
        return _added(out, (Op.END, 0, after))
    if isinstance(pattern, Follow):
        for part in reversed(pattern.parts):
            after = _emit(part, after, out, numbers)
        return after
    if isinstance(pattern, Choice):
        entries = [_emit(part, after, out, numbers) for part in pattern.parts]
        return _first_of(entries, out)

    def split(again: int) -> Instruction:
        return (Op.SPLIT, again, after) if pattern.is_greedy else (Op.SPLIT, after, again)

    entry = after
    if pattern.most is None:
        entry = _added(out, (Op.MATCH, 0, 0))
        out[entry] = split(_emit(pattern.part, entry, out, numbers))
    else:
        for _ in range(pattern.most - pattern.least):
            entry = _added(out, split(_emit_taking(pattern.part, entry, None, out, numbers)))
    for _ in range(pattern.least):
        entry = _emit(pattern.part, entry, out, numbers)
    return entry


def _emit_taking(
    pattern: Pattern, taken: int, empty: int | None, out: list[Instruction], numbers: dict[str, int]
) -> int:
    """Add the instructions of a pattern that goes on elsewhere when it has taken no row.

    A repetition that need not be and takes no row is none: else one that is preferred, and empty,
    would come before one that takes rows.

    Args:
        taken: Where it goes on when it has taken a row.
        empty: And when it has not; None: that is no way.

    """
    if rows_min(pattern) > 0:
        return _emit(pattern, taken, out, numbers)
    if isinstance(pattern, Follow) and pattern.parts:
        first, rest = pattern.parts[0], Follow(pattern.parts[1:])
        after = _emit(rest, taken, out, numbers)
        return _emit_taking(
            first, after, _emit_taking(rest, taken, empty, out, numbers), out, numbers
        )
    if isinstance(pattern, Choice):
        entries = [_emit_taking(part, taken, empty, out, numbers) for part in pattern.parts]
        return _first_of(entries, out)
    nothing = _added(out, (Op.FAIL, 0, 0)) if empty is None else empty
    if isinstance(pattern, End):
        return _added(out, (Op.END, 0, nothing))
    if isinstance(pattern, Follow):
        return nothing
    assert isinstance(pattern, Repeat), "a symbol takes a row"
    return nothing if pattern.most == 0 else _emit_again(pattern, taken, nothing, out, numbers)


def _emit_again(
    pattern: Repeat, taken: int, nothing: int, out: list[Instruction], numbers: dict[str, int]
) -> int:
    """As `_emit_taking`, for a repetition that may take a row."""
    most = None if pattern.most is None else pattern.most - 1
    fewer = replace(pattern, least=max(0, pattern.least - 1), most=most)
    after = _emit(fewer, taken, out, numbers)
    if pattern.least > 0:
        then = _emit_taking(fewer, taken, nothing, out, numbers)
        return _emit_taking(pattern.part, after, then, out, numbers)
    again = _emit_taking(pattern.part, after, None, out, numbers)
    ways = (again, nothing) if pattern.is_greedy else (nothing, again)
    return _added(out, (Op.SPLIT, *ways))


def _first_of(entries: Sequence[int], out: list[Instruction]) -> int:
    """Add what tries ways in turn."""
    entry = entries[-1]
    for preferred in reversed(entries[:-1]):
        entry = _added(out, (Op.SPLIT, preferred, entry))
    return entry


def _added(out: list[Instruction], instruction: Instruction) -> int:
    out.append(instruction)
    return len(out) - 1


@dataclass(frozen=True, slots=True)
class Test:
    """What a row must be for a symbol, and what it leaves in the slots.

    Args:
        flag: Where the row condition's answers stand among the columns; None holds always.
        rest: What looks back at the rows before; None holds always.
        take: The slots with the row.

    """

    flag: int | None
    rest: Value | None
    take: Callable[[Slots, int], Slots] | None


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one search, all partitions one after the other.

    Args:
        times: Their event times, ascending in each partition.
        flags: The answers of row conditions.
        watermark_us: No row before this comes any more.

    """

    times: list[int]
    flags: list[list[bool]]
    watermark_us: int


@dataclass(frozen=True, slots=True)
class Found:
    """A match: its first row and the number of the symbol of each of its rows."""

    first: int
    symbols: list[int]


class Search:
    """Finds the matches of a pattern.

    Args:
        start: The slots before the first row.
        skip: Where to go on after a match, with the number of the symbol.

    """

    def __init__(  # noqa: PLR0913 - the parts of a clause
        self,
        instructions: list[Instruction],
        first: int,
        tests: Sequence[Test],
        *,
        start: Slots,
        skip: tuple[Skip, int | None],
        within_us: int | None,
    ) -> None:
        self._instructions = instructions
        self._first = first
        self._tests = tests
        self._start = start
        self._skip = skip
        self._within_us = within_us

    def run(
        self, rows: Rows, starts: Sequence[int], ready: int, stop: int
    ) -> tuple[list[Found], int]:
        """The matches in one partition.

        Args:
            starts: Where a match may begin, ascending.
            ready: Rows before this may be taken; those from here on are known by their time only.
            stop: The end of the partition's rows.

        Returns:
            The matches, and from which row on the search must go on later; `stop` when it need not.

        """
        found: list[Found] = []
        next_first = 0
        for first in starts:
            if first < next_first:
                continue
            bound = AFTER_ALL if self._within_us is None else rows.times[first] + self._within_us
            outcome = self.attempt(rows, first, ready, stop, bound)
            if outcome is Outcome.WAITS:
                return found, first
            if isinstance(outcome, list):
                found.append(Found(first, outcome))
                next_first = self._after(first, outcome)
        return found, stop

    def attempt(  # noqa: PLR0912 - the loop of the machine, unrolled for speed
        self, rows: Rows, first: int, ready: int, stop: int, bound: int
    ) -> list[int] | Outcome:
        """The symbols of the match that begins at a row, or why there is none."""
        times, flags, tests, instructions = rows.times, rows.flags, self._tests, self._instructions
        is_closed = rows.watermark_us >= bound
        seen: set[tuple[int, int, Slots]] = set()
        ways: list[tuple[int, int, Slots, Path]] = [(self._first, first, self._start, None)]
        while ways:
            at, row, slots, path = ways.pop()
            while True:
                op, one, other = instructions[at]
                if op == Op.ROW:
                    if row >= ready:
                        if row >= stop:
                            if is_closed:
                                break
                            return Outcome.WAITS
                        if times[row] >= bound:
                            break
                        return Outcome.WAITS
                    if times[row] >= bound:
                        break
                    test = tests[one]
                    if test.flag is not None and not flags[test.flag][row]:
                        break
                    if test.take is not None:
                        slots = test.take(slots, row)
                    if test.rest is not None and test.rest(slots, row) is not True:
                        break
                    path = (path, one)
                    row += 1
                    at = other
                elif op == Op.SPLIT:
                    state = (at, row, slots)
                    if state in seen:
                        break
                    seen.add(state)
                    ways.append((other, row, slots, path))
                    at = one
                elif op == Op.END:
                    if row < stop:
                        if times[row] < bound:
                            break
                    elif not is_closed:
                        return Outcome.WAITS
                    at = other
                elif op == Op.MATCH:
                    return _unwound(path)
                else:
                    break
        return Outcome.NONE

    def _after(self, first: int, symbols: list[int]) -> int:
        """The first row from which the next match may begin."""
        skip, symbol = self._skip
        if skip is Skip.PAST_LAST:
            return first + len(symbols)
        places = [place for place, taken in enumerate(symbols) if taken == symbol]
        if skip is Skip.NEXT or not places:
            return first + 1
        return first + max(1, places[0] if skip is Skip.FIRST else places[-1])


def _unwound(path: Path) -> list[int]:
    symbols: list[int] = []
    while path is not None:
        path, symbol = path
        symbols.append(symbol)
    return symbols[::-1]
