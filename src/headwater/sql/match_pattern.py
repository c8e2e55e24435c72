"""The text of a PATTERN and of an AFTER MATCH clause, as plain data.

pattern  = branch { | branch }
branch   = part { part }
part     = ( symbol | ( pattern ) | PERMUTE ( pattern , ... ) | $ ) [quantifier]
quantifier = ( * | + | ? | {n} | {n,} | {n,m} | {,m} ) [?]      a ? behind it: reluctant
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import permutations

from headwater.errors import DefinitionError, Place
from headwater.plan.patterns import Choice, End, Follow, Pattern, Repeat, Skip, Symbol

_EXAMPLE = "for example PATTERN (a b+ c? d{2,3} (e | f)*)"
_TOKEN = re.compile(
    r'\s+|--[^\n]*\n|(?P<name>"[^"]+"|[^\W\d]\w*)|(?P<number>\d+)|(?P<sign>\{-|-\}|.)', re.DOTALL
)
_COPIES_MAX = 1_000
_PERMUTED_MAX = 5


@dataclass(frozen=True, slots=True)
class _Word:
    text: str
    start: int
    is_name: bool


def parse_pattern(place: Place) -> Pattern:
    """The pattern at a place, with the brackets around it.

    Raises:
        DefinitionError: It cannot be read.

    """
    return _Reader(place).whole()


def parse_skip(text: str, place: Place) -> tuple[Skip, str | None]:
    """What the words after AFTER say.

    Raises:
        DefinitionError: They are none of the ways to go on.

    """
    words = text.split()
    folded = [word.upper() for word in words]
    if folded == ["MATCH", "SKIP", "PAST", "LAST", "ROW"]:
        return Skip.PAST_LAST, None
    if folded == ["MATCH", "SKIP", "TO", "NEXT", "ROW"]:
        return Skip.NEXT, None
    if folded[:3] == ["MATCH", "SKIP", "TO"] and len(words) in (4, 5):
        symbol = words[-1]
        if len(words) == 4:
            return Skip.LAST, symbol
        if folded[3] in ("FIRST", "LAST"):
            return (Skip.FIRST if folded[3] == "FIRST" else Skip.LAST), symbol
    raise DefinitionError(
        f"AFTER {' '.join(folded)} is not a way to go on",
        place=place,
        hint="use AFTER MATCH SKIP PAST LAST ROW, TO NEXT ROW, TO FIRST symbol or TO LAST symbol",
    )


class _Reader:
    """Reads the words of a pattern from left to right."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._words = [
            _Word(found.group(), place.start + found.start(), found.lastgroup == "name")
            for found in _TOKEN.finditer(place.text[place.start : place.end])
            if found.lastgroup is not None
        ]
        self._at = 0

    def whole(self) -> Pattern:
        self._expect("(")
        pattern = self._choice()
        self._expect(")")
        if self._here is not None:
            raise self._error(f"{self._here.text} stands behind the pattern", _EXAMPLE)
        return pattern

    @property
    def _here(self) -> _Word | None:
        return self._words[self._at] if self._at < len(self._words) else None

    def _is_next(self, text: str) -> bool:
        return self._here is not None and self._here.text == text

    def _take(self, text: str) -> bool:
        found = self._is_next(text)
        self._at += found
        return found

    def _expect(self, text: str) -> None:
        if not self._take(text):
            found = f", not {self._here.text}" if self._here is not None else ""
            raise self._error(f"expected {text}{found}", _EXAMPLE)

    def _choice(self) -> Pattern:
        parts = [self._branch()]
        while self._take("|"):
            parts.append(self._branch())
        return parts[0] if len(parts) == 1 else Choice(tuple(parts))

    def _branch(self) -> Pattern:
        parts: list[Pattern] = []
        while self._here is not None and self._here.text not in ("|", ")", ","):
            parts.append(self._quantified())
        if not parts:
            raise self._error("a symbol is missing here", _EXAMPLE)
        return parts[0] if len(parts) == 1 else Follow(tuple(parts))

    def _quantified(self) -> Pattern:
        start = self._at
        part = self._part()
        bounds = self._quantifier()
        if bounds is None:
            return part
        least, most = bounds
        is_greedy = not self._take("?")
        if self._here is not None and self._here.text in ("*", "+", "?", "{"):
            raise self._error("a quantifier follows a quantifier", "put the part into brackets")
        if isinstance(part, End):
            self._at = start
            raise self._error("$ takes no row, so it cannot be repeated", "write $ once")
        if most is not None and (most < least or most == 0 or most > _COPIES_MAX):
            self._at = start
            raise self._error(
                f"a part cannot come {least} to {most} times",
                f"use {{n,m}} with m from 1 on, from n on and up to {_COPIES_MAX}",
            )
        return Repeat(part, least, most, is_greedy)

    def _part(self) -> Pattern:
        here = self._here
        assert here is not None
        if here.text == "^":
            raise self._error(
                "^, the first row of a partition, would have to be remembered for ever",
                "leave it out, or filter before",
            )
        if here.text == "{-":
            raise self._error("{- -}, rows left out of a match, is not supported", "leave it out")
        self._at += 1
        if here.text == "$":
            return End()
        if here.text == "(":
            inner = self._choice()
            self._expect(")")
            return inner
        if here.text.upper() == "PERMUTE" and self._take("("):
            return self._permuted()
        if not here.is_name:
            self._at -= 1
            raise self._error(f"{here.text} does not fit into a pattern", _EXAMPLE)
        return Symbol(here.text.strip('"'))

    def _permuted(self) -> Pattern:
        """The parts in any order; the earlier part first is preferred."""
        parts = [self._choice()]
        while self._take(","):
            parts.append(self._choice())
        self._expect(")")
        if len(parts) > _PERMUTED_MAX:
            raise self._error(
                f"PERMUTE takes up to {_PERMUTED_MAX} parts", "write out the orders that count"
            )
        return Choice(tuple(Follow(order) for order in permutations(parts)))

    def _quantifier(self) -> tuple[int, int | None] | None:
        for sign, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(sign):
                return bounds
        if not self._take("{"):
            return None
        least = self._number()
        if self._take("}"):
            if least is None:
                raise self._error("a number is missing here", _EXAMPLE)
            return least, least
        self._expect(",")
        most = self._number()
        self._expect("}")
        return least or 0, most

    def _number(self) -> int | None:
        here = self._here
        if here is None or not here.text.isdigit():
            return None
        self._at += 1
        number = int(here.text)
        if number > _COPIES_MAX:
            raise self._error(f"{number} times is too often", f"use up to {_COPIES_MAX}")
        return number

    def _error(self, message: str, hint: str) -> DefinitionError:
        place = self._place
        here = self._here or self._words[-1]
        at = Place(place.text, here.start, here.start + len(here.text), place.source)
        return DefinitionError(message, place=at, hint=hint)
