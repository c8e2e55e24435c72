"""The tree of errors: each branch says what the runtime does next.

HeadwaterError
├── DefinitionError   the pipeline or the request is wrong    refuse to start; show the place
│   ├── NotFoundError     it names what is not there
│   └── ConflictError     something else has happened since
├── RecordError       one record is wrong                     reject it with its bytes; go on
├── ConnectorError    the world outside is unwell             retry; then pause that connector
└── StateError        what is stored is not what was written  stop; say how to recover
    └── NoRoomError       the disk is full                        stop; go on when there is room

A message holds the values and the place, and ends with a hint that can be typed. The same object
is what the command line prints and what the HTTP API returns.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """A span of source text: where a definition is wrong.

    Args:
        text: The whole source text, as the user wrote it.
        start: Index of the first character at fault.
        end: Index after the last character at fault; at least `start + 1`.
        source: What the text is to its author: a file's name, or `view spend`.

    """

    text: str
    start: int
    end: int
    source: str = "SQL"

    @property
    def line(self) -> int:
        """The line number of `start`, counted from 1."""
        return self.text.count("\n", 0, self.start) + 1

    def __str__(self) -> str:
        return f"{self.source}, line {self.line}"

    def underlined(self) -> str:
        """The line at fault, and below it a rule under the span."""
        line_start = self.text.rfind("\n", 0, self.start) + 1
        line_end = self.text.find("\n", self.start)
        line = self.text[line_start : line_end if line_end >= 0 else len(self.text)]
        width = max(1, min(self.end, line_start + len(line)) - self.start)
        indent = "".join("\t" if c == "\t" else " " for c in line[: self.start - line_start])
        return f"    {line}\n    {indent}{'─' * width}"


class HeadwaterError(Exception):
    """What went wrong, where, and what to do.

    Args:
        message: What is wrong, with the values. One sentence, no final full stop.
        place: Where in the user's text, if it has a place there.
        hint: What to do, as something that can be typed.

    """

    def __init__(
        self, message: str, *, place: Place | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.place = place
        self.hint = hint

    def __str__(self) -> str:
        head = f"{self.place}: {self.message}" if self.place else self.message
        parts = [head]
        if self.place:
            parts.append(self.place.underlined())
        if self.hint:
            parts.append(f"  hint: {self.hint}")
        return "\n".join(parts)


class DefinitionError(HeadwaterError):
    """The pipeline, or a request, is wrong: refuse it and show the place."""


class NotFoundError(DefinitionError):
    """A request names what is not there."""


class ConflictError(DefinitionError):
    """A request was right when it was made ready, and something else has happened since."""


class RecordError(HeadwaterError):
    """One record is wrong: reject it with its bytes and go on."""


class ConnectorError(HeadwaterError):
    """The world outside is unwell: retry with backoff, then pause that connector."""


class StateError(HeadwaterError):
    """What is stored is not what was written, or the disk refuses: stop and say how to recover."""


class NoRoomError(StateError):
    """The disk is full, or a quota is used up: nothing more is taken until there is room."""
