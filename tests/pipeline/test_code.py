"""A changed function has another fingerprint, and an unchanged one the same in every run."""

from __future__ import annotations

import functools
import math
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headwater.pipeline.code import code_fingerprint

SOURCE = '''
import math
import pyarrow.compute as pc

FACTOR = 1.8
NAMES = {"a", "b", "c", "d"}

def helper(x):
    return x + 1

class Unit:
    def __init__(self, size):
        self.size = size

UNIT = Unit(3)

def made(offset, scale=(1, 2)):
    def convert(celsius, *, digits=2):
        """Say it in Fahrenheit."""
        # A comment.
        known = "x" in NAMES or "y" in {"p", "q", "r"}
        return [math.floor(helper(c * FACTOR) + offset + UNIT.size) for c in celsius if known]
    return convert

convert = made(32)
'''

CHANGES = (
    ("FACTOR = 1.8", "FACTOR = 1.9"),
    ("x + 1", "x + 2"),
    ("self.size = size", "self.size = size * 2"),
    ("Unit(3)", "Unit(4)"),
    ("made(32)", "made(33)"),
    ("digits=2", "digits=3"),
    ("math.floor", "math.ceil"),
    ('"c", "d"', '"c", "e"'),
    ('"q", "r"', '"q", "s"'),
    ("c * FACTOR", "FACTOR * c"),
    ("celsius, *", "kelvin, *"),
    ("def convert", "def converted"),
)


def function(source: str) -> Callable[..., Any]:
    names: dict[str, Any] = {"__name__": "author"}
    exec(source, names)
    return names["convert"]


@pytest.mark.parametrize(("before", "after"), CHANGES)
def test_what_changes_the_answer_changes_the_fingerprint(before: str, after: str) -> None:
    changed = SOURCE.replace(before, after)
    changed = changed.replace("in celsius", "in kelvin") if "kelvin" in after else changed
    changed = (
        changed.replace("return convert\n", "return converted\n") if "def " in after else changed
    )

    assert changed != SOURCE
    assert code_fingerprint(function(changed)) != code_fingerprint(function(SOURCE))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("# A comment.", "# Another,\n        # longer one."),
        ("Say it in Fahrenheit.", "Convert."),
        ("FACTOR = 1.8", "OTHER = 2\nFACTOR = 1.8"),
    ],
)
def test_what_changes_nothing_changes_no_fingerprint(before: str, after: str) -> None:
    changed = SOURCE.replace(before, after)

    assert changed != SOURCE
    assert code_fingerprint(function(changed)) == code_fingerprint(function(SOURCE))


def test_the_fingerprint_is_the_same_in_another_run_of_the_program() -> None:
    script = f"from headwater.pipeline.code import code_fingerprint\n__name__ = 'author'\n{SOURCE}"
    script += "print(code_fingerprint(convert))"
    found = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert len(found) == 1


def test_tables_that_a_function_looks_up_are_part_of_it() -> None:
    def looking_up(values: Any) -> Callable[..., Any]:
        return lambda a: (values, a)

    tables = (
        pa.array([1, 2]),
        pa.array([1, 3]),
        pa.array([1, 2], pa.int8()),
        np.array([1, 2]),
        np.array([1, 3]),
        [1, 2],
        (1, 2),
        {"a": 1},
        {"a": 2},
        functools.partial(math.pow, 2),
        functools.partial(math.pow, 3),
    )

    assert len({code_fingerprint(looking_up(table)) for table in tables}) == len(tables)
    assert code_fingerprint(looking_up(pa.array([1]))) == code_fingerprint(
        looking_up(pa.array([1]))
    )


def test_a_class_is_its_methods_and_its_values() -> None:
    def made(body: str) -> type:
        names: dict[str, Any] = {"__name__": "author"}
        exec(f"class Step:\n{body}", names)
        return names["Step"]

    one = made("    limit = 5\n    def row(self, row, key): return row + self.limit")
    again = made("    limit = 5\n    def row(self, row, key): return row + self.limit")
    other = made("    limit = 6\n    def row(self, row, key): return row + self.limit")
    third = made("    limit = 5\n    def row(self, row, key): return row - self.limit")

    assert code_fingerprint(one) == code_fingerprint(again)
    assert len({code_fingerprint(step) for step in (one, other, third)}) == 3


def test_functions_that_call_each_other_have_one() -> None:
    names: dict[str, Any] = {"__name__": "author"}
    exec("def f(n): return g(n)\ndef g(n): return f(n - 1) if n else 0", names)

    assert code_fingerprint(names["f"]) != code_fingerprint(names["g"])
