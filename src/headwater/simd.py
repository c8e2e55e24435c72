"""How numpy sorts on AMD's Zen 4.

numpy sorts numbers with AVX-512 where the processor has it. On Zen 4 the instruction that this
rests on, a compressing store to memory, is microcode, and the sort takes five times as long as the
one for AVX2: 51 ms and 11 ms for a million 64-bit numbers, 83 and 33 ms for `argsort` (numpy 2.4).
Which sort is used can only be said before numpy is loaded, in the environment: so it is said when
`headwater` is imported, if nobody has said anything else. Child processes inherit it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping

DISABLED = "NPY_DISABLE_CPU_FEATURES"
_ENABLED = "NPY_ENABLE_CPU_FEATURES"
# What numpy calls its AVX-512 code; older versions have other names for it, and warn of this one.
_AVX512 = "X86_V4"
_NUMPY_MIN = (2, 4)
# Zen 3 and Zen 4 are of one family; of these only Zen 4 has AVX-512.
_ZEN4 = {"vendor_id": "AuthenticAMD", "cpu family": "25"}
_FLAG = "avx512f"
_CPUINFO = "/proc/cpuinfo"
_READ_BYTES = 1 << 13


def settle(environment: MutableMapping[str, str] = os.environ) -> None:
    """Have numpy sort in the quicker way, if it is not loaded yet."""
    if "numpy" in sys.modules or DISABLED in environment or _ENABLED in environment:
        return
    if is_zen4(beginning(_CPUINFO)) and numpy_version() >= _NUMPY_MIN:
        environment[DISABLED] = _AVX512


def is_zen4(cpuinfo: str) -> bool:
    """Whether a text like Linux's `/proc/cpuinfo` begins with such a processor."""
    first = cpuinfo.partition("\n\n")[0].splitlines()
    pairs = (line.partition(":") for line in first)
    fields = {name.strip(): value.strip() for name, _, value in pairs}
    is_family = all(fields.get(name) == value for name, value in _ZEN4.items())
    return is_family and _FLAG in fields.get("flags", "").split()


def numpy_version() -> tuple[int, ...]:
    """Of the installed numpy, which has it in a file: to ask for its metadata takes 70 ms."""
    from importlib.util import find_spec

    found = find_spec("numpy")
    folder = found.submodule_search_locations if found is not None else None
    text = beginning(os.path.join(folder[0], "version.py")) if folder else ""  # noqa: PTH118
    version = text.partition('version = "')[2].partition('"')[0].split(".")
    return tuple(int(number) for number in version[:2] if number.isdecimal())


def beginning(path: str) -> str:
    """The first bytes of a file as text; nothing where there is none."""
    try:
        # Not with `pathlib`, which it takes longer to import than all that is done here.
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read(_READ_BYTES).decode(errors="replace")
    except OSError:
        return ""
