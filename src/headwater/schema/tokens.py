"""Cut the text of a column list into tokens, and walk over them.

The grammar of types and columns is small, and every refusal must underline the exact words at
fault, so tokens carry their span. Nothing here knows what a type is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from headwater.errors import DefinitionError, Place

_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*|/\*.*?\*/)
      | (?P<name>[^\W\d][\w$]*)
      | (?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)
      | "(?P<quoted>(?:[^"]|"")*)"
      | '(?P<string>(?:[^']|'')*)'
      | (?P<sign>[^\w\s"'])
    """,
    re.VERBOSE | re.DOTALL,
)


class Kind(StrEnum):
    """What a token is."""

    NAME = "name"
    QUOTED = "quoted"
    NUMBER = "number"
    STRING = "string"
    SIGN = "sign"
    END = "end"


@dataclass(frozen=True, slots=True)
class Token:
    """A word of the text.

    Args:
        text: Its content, without quotes.
        start: Index of its first character in the source text.
        end: Index after its last character.

    """

    kind: Kind
    text: str
    start: int
    end: int

    @property
    def is_name(self) -> bool:
        """True for a plain or quoted name."""
        return self.kind in (Kind.NAME, Kind.QUOTED)


class Cursor:
    """A position in a text's tokens.

    Args:
        text: What the user wrote.
        source: What it is to its author, for messages.

    """

    def __init__(self, text: str, source: str) -> None:
        self.text = text
        self.source = source
        self._tokens = list(self._cut())
        self._next = 0

    def _cut(self) -> list[Token]:
        tokens: list[Token] = []
        position = 0
        while position < len(self.text):
            match = _TOKEN.match(self.text, position)
            if match is None or match.lastgroup is None:
                raise self.error("this quote is never closed", position, len(self.text))
            if match.lastgroup != "space":
                tokens.append(_token(Kind(match.lastgroup), match))
            position = match.end()
        tokens.append(Token(Kind.END, "", position, position))
        return tokens

    @property
    def here(self) -> Token:
        """The token that comes next."""
        return self._tokens[self._next]

    @property
    def is_at_end(self) -> bool:
        """True when no token is left."""
        return self.here.kind is Kind.END

    @property
    def last(self) -> Token:
        """The token that was taken last."""
        return self._tokens[max(0, self._next - 1)]

    def take(self) -> Token:
        """The next token; the cursor moves past it."""
        token = self.here
        if token.kind is not Kind.END:
            self._next += 1
        return token

    def sees(self, *words: str) -> bool:
        """True when the next tokens are these words or signs, without regard to case."""
        ahead = self._tokens[self._next : self._next + len(words)]
        return len(ahead) == len(words) and all(
            token.kind in (Kind.NAME, Kind.SIGN) and token.text.upper() == word
            for token, word in zip(ahead, words, strict=True)
        )

    def takes(self, *words: str) -> bool:
        """Move past these words if they come next; tell whether they did."""
        if not self.sees(*words):
            return False
        self._next += len(words)
        return True

    def expect(self, word: str, hint: str) -> Token:
        """The next token, which must be `word`.

        Raises:
            DefinitionError: It is another.

        """
        if not self.sees(word):
            raise self.error_here(f"expected {word}", hint)
        return self.take()

    def error_here(self, message: str, hint: str | None = None) -> DefinitionError:
        """An error that underlines the next token and says what it is."""
        token = self.here
        found = f"found {token.text!r}" if token.kind is not Kind.END else "the text ends here"
        return self.error(f"{message}, {found}", token.start, token.end, hint)

    def error(self, message: str, start: int, end: int, hint: str | None = None) -> DefinitionError:
        """An error that underlines a span."""
        place = Place(self.text, start, max(end, start + 1), self.source)
        return DefinitionError(message, place=place, hint=hint)


def _token(kind: Kind, match: re.Match[str]) -> Token:
    text = match.group(kind)
    if kind is Kind.QUOTED:
        text = text.replace('""', '"')
    elif kind is Kind.STRING:
        text = text.replace("''", "'")
    return Token(kind, text, match.start(), match.end())
