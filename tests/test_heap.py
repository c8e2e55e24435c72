"""The heap has room ahead of its use that costs nothing, and gives back what was freed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from headwater.heap import Heap

pytestmark = pytest.mark.skipif(
    not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="this kernel has no huge pages"
)

# Each in a process of its own: they look at how much memory that has.
_PRELUDE = """
import ctypes
from pathlib import Path
import numpy as np
from headwater.heap import Heap
heap = Heap()
heap.settle()
def resident():
    (line,) = (l for l in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in l)
    return int(line.split()[1]) >> 10
def flags_at(address):
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            first, last = (int(bound, 16) for bound in line.split()[0].split("-"))
        elif line.startswith("VmFlags") and first <= address < last:
            return line.split()
"""


def printed(program: str) -> Iterator[str]:
    code = _PRELUDE + dedent(program)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    return iter(done.stdout.split())


def test_of_room_only_the_first_is_touched_and_it_is_made_once() -> None:
    before, after, again, still = printed("""
        print(resident())
        heap.make_room()
        heap.wait()
        print(resident())
        libc = ctypes.CDLL(None)
        libc.sbrk.restype, libc.sbrk.argtypes = ctypes.c_void_p, [ctypes.c_ssize_t]
        print(libc.sbrk(0))
        heap.make_room()
        heap.wait()
        print(libc.sbrk(0))
    """)

    assert 56 < int(after) - int(before) < 72
    assert again == still


def test_what_is_touched_costs_its_first_user_no_faults() -> None:
    ahead, beyond = printed("""
        import resource
        def faults():
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        heap.make_room()
        heap.wait()
        for size in (32, 64):
            before = faults()
            array = np.ones(size << 17)
            print(faults() - before)
    """)

    assert int(ahead) < 4
    assert int(beyond) > int(ahead)


def test_touching_ahead_changes_nothing_that_is_in_use() -> None:
    (is_same,) = printed("""
        heap.make_room()
        arrays = [np.full(1 << 17, n) for n in range(32)]
        for _ in range(20):
            heap.make_room()
        heap.wait()
        print(all((array == n).all() for n, array in enumerate(arrays)))
    """)

    assert is_same == "True"


def test_what_is_allocated_in_it_may_be_huge_pages() -> None:
    without, within = printed("""
        small = [np.ones(1 << 17) for _ in range(4)]
        print("hg" in flags_at(small[-1].ctypes.data))
        heap.make_room()
        arrays = [np.ones(1 << 17) for _ in range(32)]
        print("hg" in flags_at(arrays[-1].ctypes.data))
    """)

    assert (without, within) == ("False", "True")


def test_what_is_freed_is_used_again_and_at_last_given_back() -> None:
    empty, full, kept, given_back = printed("""
        heap.make_room()
        print(resident())
        arrays = [np.ones(20 << 17) for _ in range(20)]
        print(resident())
        del arrays
        print(resident())
        heap.give_back()
        print(resident())
    """)

    assert int(full) - int(empty) > 390
    assert int(full) - int(kept) < 20
    assert int(given_back) - int(empty) < 20


def test_room_is_made_again_when_it_is_used_up() -> None:
    (flag,) = printed("""
        arrays = []
        for _ in range(40):
            heap.make_room()
            arrays += [np.empty(1 << 17) for _ in range(40)]
        print("hg" in flags_at(arrays[-1].ctypes.data))
    """)

    assert flag == "True"


def test_to_give_back_what_was_not_made_does_nothing() -> None:
    Heap().give_back()
