"""A view's query as text: its EMIT clause, and the parsed rest."""

from __future__ import annotations

from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ParseError, TokenError
from sqlglot.tokenizer_core import Token, TokenType

from headwater.errors import DefinitionError, Place
from headwater.plan.pipeline import Emit
from headwater.sql.match_text import attach, cut
from headwater.sql.places import blanked, syntax_error
from headwater.sql.windows import length_us

# What may stand after EMIT, word by word.
_EMITS = {
    ("CHANGES",): Emit.CHANGES,
    ("FINAL",): Emit.FINAL,
    ("ON", "WINDOW", "CLOSE"): Emit.FINAL,
}


@dataclass(frozen=True, slots=True)
class Clause:
    """An EMIT clause: when to publish, and how often at most."""

    emit: Emit
    every_us: int | None = None


def split_emit(origin: Place) -> tuple[int, int, Clause | None]:
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


def _clause(tokens: list[Token], origin: Place) -> Clause:
    words = tuple(token.text.upper() for token in tokens[1:])
    place = Place(origin.text, tokens[0].start, tokens[-1].end + 1, origin.source)
    if words[:2] == ("CHANGES", "EVERY"):
        return Clause(Emit.CHANGES, _every_us(tokens[3:], place))
    if words not in _EMITS:
        raise DefinitionError(
            f"EMIT {' '.join(words)} is not a way to publish",
            place=place,
            hint="use EMIT CHANGES, EMIT CHANGES EVERY INTERVAL '10 seconds', EMIT FINAL "
            "or EMIT ON WINDOW CLOSE",
        )
    return Clause(_EMITS[words])


def _every_us(tokens: list[Token], clause: Place) -> int:
    """The interval after EMIT CHANGES EVERY."""
    text, source, hint = clause.text, clause.source, "for example EVERY INTERVAL '10 seconds'"
    if not tokens:
        raise DefinitionError("EVERY what?", place=clause, hint=hint)
    place = Place(text, tokens[0].start, tokens[-1].end + 1, source)
    try:
        parsed = sqlglot.parse_one(blanked(text, place.start, place.end), read="duckdb")
    except ParseError:
        raise DefinitionError("expected an interval", place=place, hint=hint) from None

    def fail(message: str, hint: str) -> DefinitionError:
        return DefinitionError(message, place=place, hint=hint)

    every_us = length_us(parsed, fail)
    if every_us <= 0:
        raise fail("changes cannot be published more often than always", hint)
    return every_us


def parse_query(place: Place) -> exp.Query:
    """The query that stands at `place`; its tokens carry positions in `place.text`."""
    text = blanked(place.text, place.start, place.end)
    text, matches = cut(text, place)
    try:
        statements = _parsed(text)
    except (ParseError, TokenError) as error:
        raise syntax_error(error, place.text, place.source) from None
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        raise DefinitionError(
            "a view is one SELECT",
            place=place,
            hint="begin with SELECT, WITH or FROM and write one statement",
        )
    return attach(statements[0], matches, place)


def _parsed(text: str) -> list[exp.Expr]:
    """The statements of a text in which sessions may be partitioned.

    sqlglot takes SESSION for a keyword, and knows no PARTITION BY inside a call. So the one is made
    a name, and the other an AND, which the first argument of a window has no use for; positions
    stay what they are.
    """
    dialect = Dialect.get_or_raise("duckdb")
    tokens = dialect.tokenize(text)
    for index in range(len(tokens) - 1):
        if tokens[index].text.upper() == "SESSION" and tokens[index + 1].text == "(":
            tokens[index] = _as(tokens[index], TokenType.VAR)
            partition = _partition_at(tokens, index + 2)
            if partition is not None:
                tokens[partition] = _as(tokens[partition], TokenType.AND)
    return [s for s in dialect.parser().parse(tokens, text) if s is not None]


def _partition_at(tokens: list[Token], first: int) -> int | None:
    """The PARTITION BY of the first argument of a call whose arguments begin at `first`."""
    depth = 0
    for index in range(first, len(tokens)):
        text = tokens[index].text
        depth += (text == "(") - (text == ")")
        if depth < 0 or (depth == 0 and text == ","):
            return None
        if depth == 0 and tokens[index].token_type is TokenType.PARTITION_BY:
            return index
    return None


def _as(token: Token, kind: TokenType) -> Token:
    """The token as another kind."""
    return Token(kind, token.text, token.line, token.col, token.start, token.end, token.comments)
