"""Where in the author's text a part of a query stands.

sqlglot notes on names, functions and literals at which character of the parsed text they began and
ended. A query is parsed out of a larger text with everything before it blanked, so these positions
are positions in the whole text, and an error underlines the line of the file as it was written.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from sqlglot import exp
from sqlglot.errors import ParseError, TokenError

from headwater.errors import DefinitionError, Place


def blanked(text: str, start: int, end: int) -> str:
    """The text up to `end`, blank before `start`: offsets and line numbers stay as they are."""
    return re.sub(r"[^\n]", " ", text[:start]) + text[start:end]


def span_of(node: exp.Expr) -> tuple[int, int] | None:
    """The first and last position that the node or a part of it carries; None if none does."""
    starts, ends = [], []
    for part in node.walk():
        if "start" in part.meta and "end" in part.meta:
            starts.append(int(part.meta["start"]))
            ends.append(int(part.meta["end"]) + 1)
    return (min(starts), max(ends)) if starts else None


def place_of(node: exp.Expr | None, origin: Place | None) -> Place | None:
    """The node's span in the author's text, or the whole query's where the node carries none."""
    if origin is None:
        return None
    span = span_of(node) if node is not None else None
    if span is None or span[1] > len(origin.text):
        return origin
    return Place(origin.text, span[0], span[1], origin.source)


def place_of_column(name: str, query: exp.Query, origin: Place | None) -> Place | None:
    """Where a query first names a column."""
    columns = query.find_all(exp.Column)
    return place_of(next((c for c in columns if c.name.lower() == name.lower()), None), origin)


def place_of_star(query: exp.Query, origin: Place | None) -> Place | None:
    """Where a query takes all columns."""
    return place_of(query.find(exp.Star), origin)


def near(name: str, known: Iterable[str]) -> str | None:
    """The known name that the author most probably meant, or None."""
    by_folded = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(name.lower(), list(by_folded), n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None


def hint_for(name: str, known: Iterable[str], what: str) -> str:
    """A hint that can be typed: the near name, or else a list of what there is."""
    names = list(known)
    found = near(name, names)
    if found is not None:
        return f"did you mean {found}?"
    return f"{what}: {', '.join(names)}" if names else f"{what}: none"


def syntax_error(error: ParseError | TokenError, text: str, source: str) -> DefinitionError:
    """What sqlglot could not read, with its place in `text`."""
    if isinstance(error, ParseError) and error.errors:
        first = error.errors[0]
        word = str(first.get("highlight") or "")
        end = len(str(first.get("start_context") or "")) + len(word)
        start = _offset(text, int(first.get("line") or 1), int(first.get("col") or 1), len(word))
        wanted = re.match(r"Expecting (\S+)", str(first.get("description") or ""))
        place = Place(text, start, max(start + 1, start + len(word) if word else end), source)
        return DefinitionError(
            (f"expected {wanted.group(1)}, not {word}" if wanted else f"{word} does not fit here")
            if word
            else "the query ends too early",
            place=place,
            hint="the dialect is DuckDB's: https://duckdb.org/docs/stable/sql/introduction",
        )
    return _unclosed(error, text, source)


def _offset(text: str, line: int, col: int, width: int) -> int:
    """The index of a token of `width` characters that ends in column `col` of line `line`."""
    line_start = 0
    for _ in range(line - 1):
        found = text.find("\n", line_start)
        if found < 0:
            break
        line_start = found + 1
    return max(0, min(line_start + max(0, col - max(width, 1)), max(0, len(text) - 1)))


def _unclosed(error: Exception, text: str, source: str) -> DefinitionError:
    """A quote or comment that is opened and never closed."""
    cause = str(error.__cause__ or error)
    found = re.search(r"Missing (\S+) from (\d+):", cause)
    quote = found.group(1) if found else "'"
    start = text.find(quote, _offset(text, int(found.group(2)), 1, 1)) if found else -1
    start = start if start >= 0 else max(0, len(text) - 1)
    return DefinitionError(
        f"a text that begins with {quote} does not end",
        place=Place(text, start, start + 1, source),
        hint=f"close it with {quote}",
    )
