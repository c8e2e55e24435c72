"""A column list as SQL writes it: names, types, constraints, the primary key and the watermark.

    ad BIGINT, cost DECIMAL(12, 6) NOT NULL DEFAULT 0, id VARCHAR PRIMARY KEY, ts TIMESTAMP,
    name VARCHAR ALIAS title, WATERMARK FOR ts AS ts - INTERVAL '30 seconds', PRIMARY KEY (a, b)

`DEFAULT NULL` says that a record may leave the column out, and `ALIAS` another name that records
may use for it: the one that it had before.

What is not understood is refused with the words at fault underlined: a constraint that is read and
then ignored would be a promise that nobody keeps.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from headwater.errors import DefinitionError
from headwater.schema.duration import parse_duration
from headwater.schema.instants import UnfitError
from headwater.schema.schema import Schema
from headwater.schema.tokens import Cursor, Kind, Token
from headwater.schema.types import Column, DataType, read_type
from headwater.schema.values import value_reader

RESERVED = frozenset(
    f"_{word}" for word in ["weight", "epoch", "offset", "partition", "arrived", "tick", "hash"]
)
_EXAMPLE = "for example id BIGINT PRIMARY KEY, name VARCHAR"
_EVENT_TIMES = ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE")


class Watermark(NamedTuple):
    """The clause `WATERMARK FOR column AS column - INTERVAL ...`.

    Args:
        column: The event-time column, as the column list spells it.
        delay_us: How far the watermark stays behind it.

    """

    column: str
    delay_us: int


@dataclass(frozen=True, slots=True)
class Declared:
    """What a column list says.

    Args:
        key: The primary key's columns, which are NOT NULL; empty for none.
        watermark: None when the list has no such clause.

    """

    schema: Schema
    key: tuple[str, ...] = ()
    watermark: Watermark | None = None


def parse_columns(text: str, source: str = "columns") -> Declared:
    """Read a column list.

    >>> parse_columns("id BIGINT PRIMARY KEY, name VARCHAR").schema.ddl()
    'id BIGINT NOT NULL, name VARCHAR'

    Args:
        source: What the text is to its author, for messages: `topic clicks`.

    Raises:
        DefinitionError: The text is no column list; its place is in `text`.

    """
    return _Reader(Cursor(text, source)).read()


@dataclass(slots=True)
class _Reader:
    """Collects the parts of a list while the cursor moves over it."""

    cursor: Cursor
    columns: dict[str, Column] = field(default_factory=dict)
    names: list[Token] = field(default_factory=list)
    aliases: list[Token] = field(default_factory=list)
    key: list[Token] | None = None
    watermark: tuple[Token, int] | None = None

    def read(self) -> Declared:
        if self.cursor.is_at_end:
            raise self.cursor.error("there are no columns", 0, len(self.cursor.text), _EXAMPLE)
        self._item()
        while self.cursor.takes(","):
            self._item()
        if not self.cursor.is_at_end:
            raise self.cursor.error_here("expected a comma or the end", _EXAMPLE)
        if not self.columns:
            raise self.cursor.error("there are no columns", 0, len(self.cursor.text), _EXAMPLE)
        self._check_aliases()
        key = self._checked_key()
        watermark = self._checked_watermark()
        return Declared(Schema(tuple(self.columns.values())).not_null(key), key, watermark)

    def _item(self) -> None:
        cursor = self.cursor
        if cursor.takes("PRIMARY", "KEY"):
            self._set_key(cursor.last, self._names_in_brackets())
        elif cursor.takes("WATERMARK", "FOR"):
            self._read_watermark(cursor.last)
        else:
            self._column()

    def _column(self) -> None:
        name = self._name("a column's name")
        self._check_name(name)
        data_type = read_type(self.cursor)
        nullable, default, is_optional = True, None, False
        aliases: list[str] = []
        while self.cursor.here.kind is Kind.NAME:
            if self.cursor.takes("NOT", "NULL"):
                nullable = False
            elif self.cursor.takes("NULL"):
                nullable = True
            elif self.cursor.takes("DEFAULT"):
                default = self._default(name, data_type)
                is_optional = default is None
            elif self.cursor.takes("ALIAS"):
                aliases.append(self._alias())
            elif self.cursor.takes("PRIMARY", "KEY"):
                self._set_key(self.cursor.last, [name])
            else:
                raise self.cursor.error_here(
                    f"column {name.text} cannot have this",
                    "a column can be NOT NULL, PRIMARY KEY, have a DEFAULT or an ALIAS",
                )
        column = Column(name.text, data_type, nullable, default, is_optional, tuple(aliases))
        self.columns[name.text.lower()] = column

    def _alias(self) -> str:
        """Another name of a column. That nothing else is called so is checked at the end."""
        token = self._name("the name that it had before")
        self.aliases.append(token)
        return token.text

    def _name(self, what: str) -> Token:
        if not self.cursor.here.is_name:
            raise self.cursor.error_here(f"expected {what}", _EXAMPLE)
        return self.cursor.take()

    def _check_name(self, name: Token) -> None:
        folded = name.text.lower()
        if folded in self.columns:
            raise self._error(
                name,
                f"there are two columns {name.text}",
                "names are compared without regard to case: give one of them another name",
            )
        if folded in RESERVED or folded.startswith("__") or not folded:
            raise self._error(
                name,
                f"{name.text!r} cannot be a column's name",
                f"Headwater keeps {', '.join(sorted(RESERVED))} and what begins with __",
            )

    def _check_aliases(self) -> None:
        taken = set(self.columns)
        for alias in self.aliases:
            if alias.text.lower() in taken:
                raise self._error(
                    alias,
                    f"there are two columns {alias.text}, one of them by its alias",
                    "an alias is a name that no other column has",
                )
            taken.add(alias.text.lower())

    def _default(self, name: Token, data_type: DataType) -> Any:
        start = self.cursor.here
        value = self._literal()
        try:
            if value is not None:
                value_reader(data_type).from_value(value)
        except UnfitError as unfit:
            raise self.cursor.error(
                f"the default of {name.text} does not fit: {unfit}",
                start.start,
                self.cursor.last.end,
                f"write a value of type {data_type}",
            ) from None
        return value

    def _literal(self) -> Any:
        if self.cursor.takes("NULL"):
            return None
        if self.cursor.takes("TRUE"):
            return True
        if self.cursor.takes("FALSE"):
            return False
        sign = "-" if self.cursor.takes("-") else ""
        token = self.cursor.here
        if token.kind is Kind.NUMBER:
            self.cursor.take()
            return int(sign + token.text) if token.text.isdigit() else Decimal(sign + token.text)
        if token.kind is Kind.STRING and not sign:
            return self.cursor.take().text
        raise self.cursor.error_here(
            "expected a plain value", "for example DEFAULT 0, DEFAULT 'none' or DEFAULT TRUE"
        )

    def _names_in_brackets(self) -> list[Token]:
        hint = "for example PRIMARY KEY (a, b)"
        self.cursor.expect("(", hint)
        names = [self._name("a column's name")]
        while self.cursor.takes(","):
            names.append(self._name("a column's name"))
        self.cursor.expect(")", hint)
        return names

    def _set_key(self, word: Token, names: list[Token]) -> None:
        if self.key is not None:
            raise self._error(
                word,
                "there are two primary keys",
                "write PRIMARY KEY (a, b) for one of two columns",
            )
        self.key = names

    def _read_watermark(self, word: Token) -> None:
        hint = "for example WATERMARK FOR ts AS ts - INTERVAL '30 seconds'"
        if self.watermark is not None:
            raise self._error(word, "there are two watermarks", "a topic has one event time")
        name = self._name("the event-time column")
        self.cursor.expect("AS", hint)
        again = self._name("the event-time column again")
        if again.text.lower() != name.text.lower():
            raise self._error(again, f"the watermark of {name.text} must follow it", hint)
        delay_us = 0
        if self.cursor.takes("-"):
            self.cursor.expect("INTERVAL", hint)
            delay_us = self._interval(hint)
        self.watermark = (name, delay_us)

    def _interval(self, hint: str) -> int:
        """Read `'30 seconds'`, `'30' SECOND` or `30 SECONDS`."""
        start = self.cursor.here
        if start.kind not in (Kind.STRING, Kind.NUMBER):
            raise self.cursor.error_here("expected an interval", hint)
        text = self.cursor.take().text
        if self.cursor.here.kind is Kind.NAME:
            text += f" {self.cursor.take().text}"
        try:
            return parse_duration(text)
        except DefinitionError as error:
            raise self.cursor.error(
                error.message, start.start, self.cursor.last.end, error.hint
            ) from None

    def _checked_key(self) -> tuple[str, ...]:
        columns = [self._known(name) for name in self.key or ()]
        for index, column in enumerate(columns):
            token = (self.key or [])[index]
            if column in columns[:index]:
                raise self._error(
                    token, f"the primary key names {column.name} twice", "name it once"
                )
        return tuple(column.name for column in columns)

    def _checked_watermark(self) -> Watermark | None:
        if self.watermark is None:
            return None
        name, delay_us = self.watermark
        column = self._known(name)
        if column.type.sql not in _EVENT_TIMES:
            raise self._error(
                name,
                f"the event time {column.name} is {column.type}, not a TIMESTAMP",
                f"declare it as {column.name} TIMESTAMP",
            )
        return Watermark(column.name, delay_us)

    def _known(self, name: Token) -> Column:
        column = self.columns.get(name.text.lower())
        if column is None:
            raise self._error(
                name, f"there is no column {name.text}", _nearest(name.text, self.columns.values())
            )
        return column

    def _error(self, token: Token, message: str, hint: str) -> DefinitionError:
        return self.cursor.error(message, token.start, token.end, hint)


def _nearest(name: str, columns: Iterable[Column]) -> str:
    names = {column.name.lower(): column.name for column in columns}
    near = difflib.get_close_matches(name.lower(), names, n=1)
    if near:
        return f"did you mean {names[near[0]]}?"
    return f"the columns are: {', '.join(names.values())}"
