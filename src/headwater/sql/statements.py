"""SQL text with many statements, as definitions.

    CREATE TOPIC name (columns, WATERMARK FOR ts AS ts - INTERVAL '30 seconds') [WITH (...)]
    CREATE TABLE name (columns, PRIMARY KEY (...)) [WITH (...)]
    CREATE VIEW name [WITH (...)] AS SELECT ... [EMIT CHANGES | EMIT FINAL | EMIT ON WINDOW CLOSE]
    CREATE SINK name FROM view INTO connector (option = value, ...)

The text is cut into tokens once (sqlglot's, DuckDB's dialect, so that strings and comments are what
DuckDB takes them for). A statement is read from its tokens; columns and queries are handed on as
spans of the whole text, so that every error knows its line in the file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sqlglot
from sqlglot.errors import TokenError
from sqlglot.tokenizer_core import Token

from headwater.errors import DefinitionError, Place
from headwater.plan.life import Life
from headwater.plan.pipeline import HOUR_US, Definition, SinkDefinition
from headwater.schema.ddl import Declared, parse_columns
from headwater.schema.size import parse_size
from headwater.sql.declare import TopicSettings, microseconds, view_in
from headwater.sql.places import blanked, hint_for, syntax_error

TOPIC_OPTIONS = (
    "idle",
    "future_max",
    "partitions",
    "delay",
    "watermark_by",
    "ready",
    "newest_by",
    "deleted_by",
    "retention",
    "retention_bytes",
    "archive",
    "compact",
    "tombstones_for",
)
# Those that can be wrong in most ways: an error underlines the first of them that is set.
_TRICKY = (
    "watermark_by",
    "ready",
    "newest_by",
    "deleted_by",
    "retention",
    "archive",
    "tombstones_for",
    "compact",
)
VIEW_OPTIONS = ("lateness", "accumulation")


def parse(text: str, source: str = "SQL") -> tuple[Definition, ...]:
    """The definitions in `text`, in order.

    Args:
        text: Statements that end in semicolons; the last one need not.
        source: What the text is to its author, for messages: a file's name.

    Raises:
        DefinitionError: A statement cannot be read or is wrong. The place is in `text`.

    """
    try:
        tokens = sqlglot.tokenize(text, read="duckdb")
    except TokenError as error:
        raise syntax_error(error, text, source) from None
    return tuple(_statement(_Words(part, text, source)) for part in _split(tokens))


def _split(tokens: list[Token]) -> list[list[Token]]:
    """The tokens of each statement, without the semicolons between them."""
    parts: list[list[Token]] = [[]]
    for token in tokens:
        if token.text == ";" and token.token_type.name == "SEMICOLON":
            parts.append([])
        else:
            parts[-1].append(token)
    return [part for part in parts if part]


@dataclass(slots=True)
class _Words:
    """The tokens of one statement, read from left to right."""

    tokens: list[Token]
    text: str
    source: str
    position: int = 0

    @property
    def here(self) -> Token | None:
        """The next token, or None at the end."""
        return self.tokens[self.position] if self.position < len(self.tokens) else None

    def is_next(self, word: str) -> bool:
        """Whether the next token is this word or sign."""
        here = self.here
        return here is not None and here.text.upper() == word and here.token_type.name != "STRING"

    def take(self, word: str) -> bool:
        """Step over the word if it is next."""
        found = self.is_next(word)
        self.position += found
        return found

    def expect(self, word: str, example: str) -> None:
        """Step over the word, which must be next."""
        if not self.take(word):
            raise self.error(f"expected {word}", example)

    def next(self, what: str, example: str) -> Token:
        """Step over one token, whatever it is."""
        here = self.here
        if here is None or here.text in ("(", ")", ",", "="):
            raise self.error(f"expected {what}", example)
        self.position += 1
        return here

    def brackets(self, example: str) -> tuple[int, int]:
        """Step over `( ... )`; the span of what is inside."""
        opening = self.here
        self.expect("(", example)
        depth = 1
        while self.here is not None:
            token = self.here
            self.position += 1
            depth += (token.text == "(") - (token.text == ")")
            if depth == 0:
                assert opening is not None
                return opening.end + 1, token.start
        assert opening is not None
        raise DefinitionError(
            "this bracket is not closed", place=self.place(opening), hint="add the missing )"
        )

    def place(self, first: Token | None = None, last: Token | None = None) -> Place:
        """The span from one token to another; by default the next one."""
        first = first or self.here or self.tokens[-1]
        return Place(self.text, first.start, (last or first).end + 1, self.source)

    def error(self, message: str, example: str) -> DefinitionError:
        """What was expected here and is not."""
        here = self.here
        found = f", not {here.text}" if here is not None else " after this"
        return DefinitionError(message + found, place=self.place(), hint=f"for example {example}")


def _statement(words: _Words) -> Definition:
    example = "CREATE TOPIC clicks (ad BIGINT, ts TIMESTAMP)"
    words.expect("CREATE", example)
    kinds: dict[str, Callable[[_Words], Definition]] = {
        "TOPIC": _topic,
        "TABLE": _table,
        "VIEW": _view,
        "SINK": _sink,
    }
    here = words.here
    kind = here.text.upper() if here is not None else ""
    if kind not in kinds:
        hint = hint_for(kind, kinds, "what can be created")
        raise DefinitionError(
            f"expected TOPIC, TABLE, VIEW or SINK{f', not {here.text}' if here else ''}",
            place=words.place(),
            hint=hint,
        )
    words.position += 1
    return kinds[kind](words)


def _topic(words: _Words) -> Definition:
    return _relation(words, "topic")


def _table(words: _Words) -> Definition:
    return _relation(words, "table")


def _relation(words: _Words, kind: str) -> Definition:
    example = f"CREATE {kind.upper()} {kind}_name (id BIGINT PRIMARY KEY, name VARCHAR)"
    name = words.next("a name", example)
    place = words.place(name)
    start, end = words.brackets(example)
    options = _options(words, TOPIC_OPTIONS)
    _end(words, "WITH (partitions = 2)")
    parsed = _columns(words, start, end)
    if kind == "table" and not parsed.key:
        raise DefinitionError(
            f"table {name.text} has no primary key",
            place=place,
            hint="add PRIMARY KEY to a column, or create a TOPIC",
        )
    column, delay_us = parsed.watermark or (None, 0)
    # Which senders there are is the setting that can be wrong in most ways: it is underlined.
    wrong = (options.place(option) for option in _TRICKY)
    where = next((found for found in wrong if found is not None), place)
    return TopicSettings(name.text, where).build(
        parsed.schema,
        parsed.key,
        column,
        options.duration("delay", delay_us) or 0,
        idle_us=options.duration("idle", None),
        future_max_us=options.duration("future_max", HOUR_US) or 0,
        partitions=options.integer("partitions", 1),
        watermark_by=options.text("watermark_by"),
        ready=options.share("ready"),
        newest_by=options.text("newest_by"),
        deleted_by=options.text("deleted_by"),
        life=Life(
            retention_us=options.duration("retention", None),
            retention_bytes=options.size("retention_bytes"),
            archive=options.text("archive"),
            is_compact=options.truth("compact"),
            tombstones_us=options.duration("tombstones_for", None),
        ),
    )


def _columns(words: _Words, start: int, end: int) -> Declared:
    """The column list at this span; an error in it is placed in the whole text."""
    try:
        return parse_columns(blanked(words.text, start, end), words.source)
    except DefinitionError as error:
        found = error.place
        place = (
            Place(words.text, found.start, found.end, words.source)
            if found is not None
            else Place(words.text, start, max(end, start + 1), words.source)
        )
        raise DefinitionError(error.message, place=place, hint=error.hint) from None


def _view(words: _Words) -> Definition:
    example = "CREATE VIEW totals AS SELECT count(*) AS n FROM clicks"
    name = words.next("a name", example)
    options = _options(words, VIEW_OPTIONS)
    words.expect("AS", example)
    if words.here is None:
        raise words.error("expected a query", example)
    origin = words.place(words.here, words.tokens[-1])
    try:
        return view_in(
            name.text,
            origin,
            lateness=options.text("lateness"),
            accumulation=options.text("accumulation") or "retracting",
        )
    except DefinitionError as error:
        if error.place is not None and error.place != origin:
            raise
        place = options.place("accumulation") or options.place("lateness") or origin
        raise DefinitionError(error.message, place=place, hint=error.hint) from None


def _sink(words: _Words) -> Definition:
    example = "CREATE SINK lake FROM spend INTO parquet (path = 'lake/spend')"
    name = words.next("a name", example)
    words.expect("FROM", example)
    view = words.next("a view", example)
    words.expect("INTO", example)
    connector = words.next("a connector", example)
    options = _Options(words, {})
    if words.is_next("("):
        options = _option_list(words, None)
    _end(words, example)
    return SinkDefinition(name.text, view.text, connector.text.lower(), options.texts())


def _end(words: _Words, example: str) -> None:
    if words.here is not None:
        raise words.error("expected the end of the statement", example)


def _options(words: _Words, known: tuple[str, ...]) -> _Options:
    if not words.take("WITH"):
        return _Options(words, {})
    return _option_list(words, known)


def _option_list(words: _Words, known: tuple[str, ...] | None) -> _Options:
    """`( name = value, ... )`. With `known`, a name that is not among them is refused."""
    example = f"({known[0] if known else 'path'} = '...')"
    found: dict[str, tuple[str, Place]] = {}
    words.expect("(", example)
    while not words.take(")"):
        name = words.next("an option's name", example)
        option = name.text.lower()
        if known is not None and option not in known:
            raise DefinitionError(
                f"there is no option {name.text}",
                place=words.place(name),
                hint=hint_for(option, known, "the options are"),
            )
        if option in found:
            raise DefinitionError(
                f"option {option} is given twice", place=words.place(name), hint="say it once"
            )
        words.expect("=", example)
        value = words.next("a value", example)
        found[option] = (value.text, words.place(value))
        if not words.is_next(")"):
            words.expect(",", example)
    return _Options(words, found)


@dataclass(frozen=True, slots=True)
class _Options:
    """The settings of a WITH clause, each with its place."""

    words: _Words
    found: dict[str, tuple[str, Place]]

    def texts(self) -> dict[str, str]:
        """All of them, as text."""
        return {name: value for name, (value, _) in self.found.items()}

    def text(self, name: str) -> str | None:
        """The setting as written, or None."""
        return self.found[name][0] if name in self.found else None

    def place(self, name: str) -> Place | None:
        """Where its value stands."""
        return self.found[name][1] if name in self.found else None

    def duration(self, name: str, default: int | None) -> int | None:
        """The setting in microseconds."""
        if name not in self.found:
            return default
        value, place = self.found[name]
        try:
            return microseconds(value, name)
        except DefinitionError as error:
            raise DefinitionError(error.message, place=place, hint=error.hint) from None

    def size(self, name: str) -> int | None:
        """The setting in bytes."""
        if name not in self.found:
            return None
        value, place = self.found[name]
        try:
            return parse_size(value)
        except DefinitionError as error:
            raise DefinitionError(error.message, place=place, hint=error.hint) from None

    def share(self, name: str) -> float:
        """The setting as a share of 1, which it is by default. Its bounds are not checked."""
        if name not in self.found:
            return 1.0
        value, place = self.found[name]
        try:
            return float(value)
        except ValueError:
            raise DefinitionError(
                f"{name} is {value}, not a share", place=place, hint=f"{name} = 0.95"
            ) from None

    def truth(self, name: str) -> bool:
        """Whether the setting is there and true."""
        if name not in self.found:
            return False
        value, place = self.found[name]
        if value.lower() not in ("true", "false"):
            raise DefinitionError(
                f"{name} is {value}, not true or false", place=place, hint=f"{name} = true"
            )
        return value.lower() == "true"

    def integer(self, name: str, default: int) -> int:
        """The setting as a whole number."""
        if name not in self.found:
            return default
        value, place = self.found[name]
        if not value.isdigit() or int(value) < 1:
            raise DefinitionError(
                f"{name} is {value}, not a whole number from 1 on",
                place=place,
                hint=f"{name} = 1",
            )
        return int(value)
