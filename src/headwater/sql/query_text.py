"""A view's query as text: its EMIT clause, and the parsed rest."""

from __future__ import annotations

import re

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, TokenError
from sqlglot.tokenizer_core import Token

from headwater.errors import DefinitionError, Place
from headwater.plan.pipeline import Emit
from headwater.sql.places import blanked, syntax_error

# What may stand after EMIT, word by word.
_EMITS = {
    ("CHANGES",): Emit.CHANGES,
    ("FINAL",): Emit.FINAL,
    ("ON", "WINDOW", "CLOSE"): Emit.FINAL,
}


def split_emit(origin: Place) -> tuple[int, int, Emit | None]:
    """Where the query stands without its EMIT clause, and what the clause says.

    Returns:
        Start and end of the query in the origin's text, without blanks and semicolon around it.

    """
    text, source = origin.text, origin.source
    try:
        tokens = sqlglot.tokenize(blanked(text, origin.start, origin.end), read="duckdb")
    except TokenError as error:
        raise syntax_error(error, text, source) from None
    while tokens and tokens[-1].text == ";":
        tokens = tokens[:-1]
    if not tokens:
        return origin.start, origin.end, None
    at = _emit_at(tokens)
    clause = None if at is None else _clause(tokens[at:], origin)
    last = tokens[(at if at is not None else len(tokens)) - 1]
    return tokens[0].start, last.end + 1, clause


def _emit_at(tokens: list[Token]) -> int | None:
    """The index of the word EMIT that begins the last clause; None where there is none."""
    depth = 0
    for index in range(len(tokens) - 1, 0, -1):
        text = tokens[index].text.upper()
        depth += (text == ")") - (text == "(")
        if depth < 0:
            return None
        if text == "EMIT" and depth == 0:
            before, after = tokens[index - 1].text.upper(), tokens[index + 1 : index + 2]
            is_name = before in ("AS", ".", ",") or (
                not after or after[0].text.upper() in ("FROM", ".", ",", "=")
            )
            return None if is_name else index
    return None


def _clause(tokens: list[Token], origin: Place) -> Emit:
    words = tuple(token.text.upper() for token in tokens[1:])
    place = Place(origin.text, tokens[0].start, tokens[-1].end + 1, origin.source)
    if words[:2] == ("CHANGES", "EVERY"):
        raise DefinitionError(
            "EMIT CHANGES EVERY is not supported yet",
            place=place,
            hint="use EMIT CHANGES, which publishes each epoch, or EMIT FINAL",
        )
    if words not in _EMITS:
        raise DefinitionError(
            f"EMIT {' '.join(words)} is not a way to publish",
            place=place,
            hint="use EMIT CHANGES, EMIT FINAL or EMIT ON WINDOW CLOSE",
        )
    return _EMITS[words]


def parse_query(place: Place) -> exp.Query:
    """The query that stands at `place`; its tokens carry positions in `place.text`."""
    text = blanked(place.text, place.start, place.end)
    try:
        statements = [s for s in sqlglot.parse(text, read="duckdb") if s is not None]
    except (ParseError, TokenError) as error:
        _refuse_later_windows(place)
        raise syntax_error(error, place.text, place.source) from None
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        raise DefinitionError(
            "a view is one SELECT",
            place=place,
            hint="begin with SELECT, WITH or FROM and write one statement",
        )
    return statements[0]


def _refuse_later_windows(place: Place) -> None:
    """SESSION and CUMULATE may not even parse; say why, and not where the parser stopped."""
    found = re.compile(r"\b(SESSION|CUMULATE)\s*\(", re.IGNORECASE).search(
        place.text, place.start, place.end
    )
    if found is not None:
        raise DefinitionError(
            f"{found.group(1).upper()} windows are not supported yet",
            place=Place(place.text, found.start(1), found.end(1), place.source),
            hint="use TUMBLE or HOP",
        )
