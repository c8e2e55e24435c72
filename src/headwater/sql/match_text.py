"""MATCH_RECOGNIZE clauses in a query's text.

DuckDB's grammar has no such clause. It is cut out of the text before the text is parsed: in its
place stands an alias that says which clause it was, and everything else keeps its position. In the
parsed query the item with that alias is then replaced by a table whose `this` is an
`exp.MatchRecognize`, of which `this` is the item.

    item MATCH_RECOGNIZE (
        [PARTITION BY columns]  ORDER BY columns  [MEASURES expression AS name, ...]
        [ONE ROW PER MATCH | ALL ROWS PER MATCH]  [AFTER MATCH SKIP ...]
        PATTERN ( ... )  [WITHIN interval]  [DEFINE symbol AS condition, ...]
    ) [[AS] alias]
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, TokenError
from sqlglot.tokenizer_core import Token

from headwater.errors import DefinitionError, Place
from headwater.sql.places import blanked, syntax_error

EXAMPLE = "MATCH_RECOGNIZE (ORDER BY ts MEASURES a.ts AS since PATTERN (a b+) DEFINE b AS x > 1)"
_WORD = "MATCH_RECOGNIZE"
_MARK = "__match_{}"
# The first word of each part of a clause, and the word that must follow it.
_PARTS = {
    "PARTITION BY": "",
    "ORDER BY": "",
    "MEASURES": "",
    "ONE": "ROW",
    "ALL": "ROWS",
    "AFTER": "MATCH",
    "PATTERN": "(",
    "WITHIN": "",
    "SUBSET": "",
    "DEFINE": "",
}
_WHOLE = re.compile(r"\b(FINAL|RUNNING)(\s+)(?=[A-Za-z_]\w*\s*\()", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Clause:
    """A clause that was cut out.

    Args:
        parts: The tokens of each part, by its first word, without it.
        word: The word MATCH_RECOGNIZE.
        alias: What the author calls the matches, or None.

    """

    parts: dict[str, list[Token]]
    word: Token
    alias: Token | None


def cut(text: str, place: Place) -> tuple[str, list[Clause]]:
    """The text with each clause as an alias, and the clauses.

    Args:
        text: The text of `place`, blank around the query.

    Raises:
        DefinitionError: A clause is not closed, or its parts are not what they should be.

    """
    if _WORD not in text.upper():
        return text, []
    tokens = sqlglot.tokenize(text, read="duckdb")
    clauses: list[Clause] = []
    index = 0
    while index < len(tokens) - 1:
        is_clause = tokens[index].text.upper() == _WORD and tokens[index + 1].text == "("
        if not is_clause:
            index += 1
            continue
        close = _closing(tokens, index + 1, place)
        alias, after = _alias(tokens, close + 1)
        parts = _parts(tokens[index + 2 : close], tokens[index], place)
        start, end = tokens[index].start, tokens[after - 1].end + 1
        mark = f"AS {_MARK.format(len(clauses))}"
        gone = re.sub(r"[^\n]", " ", text[start:end])
        # The word alone is longer than the mark, so no line break is lost.
        text = text[:start] + mark + gone[len(mark) :] + text[end:]
        clauses.append(Clause(parts, tokens[index], alias))
        index = after
    return text, clauses


def attach(query: exp.Query, clauses: list[Clause], place: Place) -> exp.Query:
    """The parsed query with the clauses where their aliases stand.

    Raises:
        DefinitionError: A part of a clause cannot be read.

    """
    for number, clause in enumerate(clauses):
        mark = _MARK.format(number)
        for item in query.find_all(exp.Table, exp.Subquery):
            alias = item.args.get("alias")
            if alias is not None and alias.name == mark:
                _replace(item, alias, clause, place)
                break
        else:
            raise _error(
                "MATCH_RECOGNIZE follows a topic, a view or a query in brackets, without an alias",
                place,
                clause.word,
                f"write FROM clicks {EXAMPLE} AS m",
            )
    return query


def _replace(item: exp.Expr, alias: exp.Expr, clause: Clause, place: Place) -> None:
    moved = {
        key: value
        for key in ("joins", "pivots", "sample", "laterals")
        if (value := item.args.get(key))
    }
    bare = item.copy()
    for key in ("alias", *moved):
        bare.set(key, None)
    name = exp.to_identifier(clause.alias.text, quoted=True) if clause.alias else None
    if name is None:
        name = exp.to_identifier(bare.name or "match", quoted=True)
    columns = [c.copy() for c in alias.args.get("columns") or ()]
    table = exp.Table(
        this=_node(clause, bare, place), alias=exp.TableAlias(this=name, columns=columns), **moved
    )
    item.replace(table)


def _node(clause: Clause, item: exp.Expr, place: Place) -> exp.MatchRecognize:
    parts = clause.parts
    node = exp.MatchRecognize(
        this=item,
        partition_by=[_expression(t, place) for t in _items(parts.get("PARTITION BY", []))],
        order=exp.Order(
            expressions=[_ordered(t, place) for t in _items(parts.get("ORDER BY", []))]
        ),
        measures=[_measure(t, place) for t in _items(parts.get("MEASURES", []))],
        all_rows=exp.Boolean(this="ALL" in parts),
        after=_span(parts.get("AFTER", []), place),
        pattern=_span(parts["PATTERN"], place),
        within=_expression(parts["WITHIN"], place) if "WITHIN" in parts else None,
        define=[_definition(t, place) for t in _items(parts.get("DEFINE", []))],
    )
    node.meta.update(start=clause.word.start, end=clause.word.end)
    return node


def _parts(tokens: list[Token], word: Token, place: Place) -> dict[str, list[Token]]:
    """The tokens of each part."""
    parts: dict[str, list[Token]] = {}
    name, depth = "", 0
    for index, token in enumerate(tokens):
        text = " ".join(token.text.upper().split())
        following = tokens[index + 1].text.upper() if index + 1 < len(tokens) else ""
        before = tokens[index - 1].text.upper() if index else ""
        is_part = (
            depth == 0
            and text in _PARTS
            and token.token_type.name not in ("STRING", "IDENTIFIER")
            and _PARTS[text] in ("", following)
            and before not in ("AS", ".")
        )
        depth += (token.text == "(") - (token.text == ")")
        if is_part:
            if text in parts:
                raise _error(f"{text} is given twice", place, token, "say it once")
            name, parts[text] = text, []
        elif name:
            parts[name].append(token)
        else:
            raise _error(
                f"{token.text} does not begin a part of MATCH_RECOGNIZE",
                place,
                token,
                f"for example {EXAMPLE}",
            )
    _check(parts, word, place)
    return parts


def _check(parts: dict[str, list[Token]], word: Token, place: Place) -> None:
    """What must be there, and what is not understood."""
    for name in ("ORDER BY", "PATTERN"):
        if not parts.get(name):
            raise _error(f"MATCH_RECOGNIZE has no {name}", place, word, f"for example {EXAMPLE}")
    if "SUBSET" in parts:
        raise _error(
            "SUBSET is not supported",
            place,
            parts["SUBSET"][0] if parts["SUBSET"] else word,
            "name the symbols one by one",
        )
    for name, rest in (("ONE", "ROW PER MATCH"), ("ALL", "ROWS PER MATCH")):
        if name in parts:
            said = " ".join(token.text.upper() for token in parts[name])
            if said != rest:
                raise _error(
                    f"{name} {said} is not a way to put matches out",
                    place,
                    parts[name][0],
                    "use ONE ROW PER MATCH or ALL ROWS PER MATCH",
                )


def _closing(tokens: list[Token], opening: int, place: Place) -> int:
    depth = 0
    for index in range(opening, len(tokens)):
        depth += (tokens[index].text == "(") - (tokens[index].text == ")")
        if depth == 0:
            return index
    raise _error("this bracket is not closed", place, tokens[opening], "add the missing )")


def _alias(tokens: list[Token], index: int) -> tuple[Token | None, int]:
    """The alias that may follow, and where the text goes on."""
    names = ("VAR", "IDENTIFIER")
    after_as = index < len(tokens) and tokens[index].text.upper() == "AS"
    at = index + after_as
    if at < len(tokens) and tokens[at].token_type.name in names:
        return tokens[at], at + 1
    return None, index


def _items(tokens: list[Token]) -> Iterator[list[Token]]:
    """The parts between commas that stand in no bracket."""
    item: list[Token] = []
    depth = 0
    for token in tokens:
        depth += (token.text in ("(", "[", "{")) - (token.text in (")", "]", "}"))
        if token.text == "," and depth == 0:
            yield item
            item = []
        else:
            item.append(token)
    if item:
        yield item


def _expression(tokens: list[Token], place: Place) -> exp.Expr:
    """What the tokens say, with their positions."""
    text = blanked(place.text, tokens[0].start, tokens[-1].end + 1)
    # FINAL and RUNNING become a part of the function's name, which has the same length.
    text = _WHOLE.sub(lambda found: found[1] + "_" * len(found[2]), text)
    try:
        return sqlglot.parse_one(text, read="duckdb")
    except (ParseError, TokenError) as error:
        raise syntax_error(error, place.text, place.source) from None


def _ordered(tokens: list[Token], place: Place) -> exp.Ordered:
    words = [token.text.upper() for token in tokens]
    nulls_first = words[-2:] == ["NULLS", "FIRST"]
    if words[-2:-1] == ["NULLS"]:
        tokens, words = tokens[:-2], words[:-2]
    is_descending = words[-1:] == ["DESC"]
    if words[-1:] in (["DESC"], ["ASC"]):
        tokens = tokens[:-1]
    return exp.Ordered(this=_expression(tokens, place), desc=is_descending, nulls_first=nulls_first)


def _measure(tokens: list[Token], place: Place) -> exp.Alias:
    words = [token.text.upper() for token in tokens]
    if len(tokens) < 3 or words[-2] != "AS":
        raise _error(
            "a measure needs a name", place, tokens[0], "for example MEASURES last(a.ts) AS until"
        )
    name = exp.to_identifier(tokens[-1].text, quoted=True)
    name.meta.update(start=tokens[-1].start, end=tokens[-1].end)
    return exp.Alias(this=_expression(tokens[:-2], place), alias=name)


def _definition(tokens: list[Token], place: Place) -> exp.Alias:
    if len(tokens) < 3 or tokens[1].text.upper() != "AS":
        raise _error(
            "a symbol is defined by AS and a condition", place, tokens[0], "for example a AS x > 1"
        )
    name = exp.to_identifier(tokens[0].text, quoted=True)
    name.meta.update(start=tokens[0].start, end=tokens[0].end)
    return exp.Alias(this=_expression(tokens[2:], place), alias=name)


def _span(tokens: list[Token], place: Place) -> exp.Var | None:
    """Words that are read later, with their position."""
    if not tokens:
        return None
    start, end = tokens[0].start, tokens[-1].end
    node = exp.Var(this=" ".join(token.text for token in tokens))
    node.meta.update(start=start, end=end)
    return node


def _error(message: str, place: Place, token: Token, hint: str) -> DefinitionError:
    at = Place(place.text, token.start, token.end + 1, place.source)
    return DefinitionError(message, place=at, hint=hint)
