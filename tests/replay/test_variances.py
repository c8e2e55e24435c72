"""Variances of whole numbers that are large beside their spread, where a batch loses digits."""

from __future__ import annotations

import statistics
from collections import defaultdict
from fractions import Fraction

import pytest

from headwater.sql import declare
from replay.engine import stepped

_COUNTS = "(SELECT ad, visitor, count(*) AS c FROM clicks GROUP BY ad, visitor)"


@pytest.mark.parametrize("seed", range(4))
def test_variances_are_exact_where_rows_are_withdrawn(seed: int) -> None:
    views = (
        declare.view("counts", f"SELECT ad, c FROM {_COUNTS}"),
        declare.view(
            "spreads",
            "SELECT ad, stddev(c::INTEGER + 2000000000) AS dev, "
            f"var_pop(c::INTEGER + 2000000000) AS var FROM {_COUNTS} GROUP BY ad",
        ),
    )
    contents = stepped(views, seed)
    values: dict[object, list[Fraction]] = defaultdict(list)
    for (ad, count), times in contents["counts"].items():
        values[ad] += [Fraction(count + 2_000_000_000)] * times

    found = {ad: (dev, var) for ad, dev, var in contents["spreads"]}

    assert found.keys() == values.keys()
    assert any(len(some) > 1 for some in values.values())
    # Contents have nine digits of a float.
    for ad, some in values.items():
        dev, var = found[ad]
        assert var == pytest.approx(float(statistics.pvariance(some)), rel=1e-8, abs=0)
        if len(some) == 1:
            assert dev is None
        else:
            assert dev == pytest.approx(float(statistics.variance(some)) ** 0.5, rel=1e-8, abs=0)
