"""Secrets that a setting names, and that no message may show.

A connection string may hold a password. It is written as `${NAME}`, and read from the environment
when the sink is made: the definition, and all that is stored or shown of it, has the name alone. A
message of the store's client goes through `Secrets.hidden` before anybody sees it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from headwater.errors import DefinitionError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def expanded(text: str, environment: Mapping[str, str], *, sink: str) -> str:
    """A setting with the values of the variables that it names.

    Raises:
        DefinitionError: One of them is not set.
    """
    for name in _VARIABLE.findall(text):
        if name not in environment:
            raise DefinitionError(
                f"sink {sink} reads the variable {name}, which is not set",
                hint=f"export {name}=...",
            )
    return _VARIABLE.sub(lambda found: environment[found[1]], text)


class Secrets:
    """Texts that must not be shown.

    Args:
        texts: Empty ones count for nothing.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        # The longest first: one may be a part of another.
        self._texts = sorted({text for text in texts if text}, key=len, reverse=True)

    def __repr__(self) -> str:
        return "Secrets(...)"

    def hidden(self, message: str) -> str:
        """The message with stars in their place."""
        for text in self._texts:
            message = message.replace(text, "***")
        return message
