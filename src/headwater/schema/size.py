"""Sizes as people write them, to whole bytes."""

from __future__ import annotations

import re
from decimal import Decimal

from headwater.errors import DefinitionError

_UNITS = {"": 1, "b": 1, "byte": 1} | {
    f"{prefix}{end}": base**power
    for end, base in (("b", 1_000), ("ib", 1_024))
    for power, prefix in enumerate("kmgt", 1)
}
_SIZE = re.compile(r"\s*([0-9][0-9_]*(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")
_SIZE_MAX = 2**62
_EXAMPLES = "for example '10 GB', '500 MB' or '2 TiB'"


def parse_size(value: str | int) -> int:
    """The bytes of a size.

    >>> parse_size("10 GB"), parse_size("1.5 KiB"), parse_size(4096)
    (10000000000, 1536, 4096)

    Args:
        value: A number of bytes, or a number and a unit: of 1,000 (kB) or of 1,024 (KiB).

    Raises:
        DefinitionError: It is not a size, or is no whole byte.

    """
    if isinstance(value, int) and not isinstance(value, bool):
        size = Decimal(value)
    else:
        match = _SIZE.fullmatch(str(value))
        unit = match[2].lower() if match else ""
        if match is None or unit.removesuffix("s") not in _UNITS:
            raise DefinitionError(f"{value!r} is not a size in bytes", hint=_EXAMPLES)
        size = Decimal(match[1]) * _UNITS[unit.removesuffix("s")]
    if not 1 <= size <= _SIZE_MAX:
        raise DefinitionError(f"the size {value!s} is not from 1 byte to 4 EiB", hint=_EXAMPLES)
    return int(size)
