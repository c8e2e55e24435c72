"""Plain data comes back as it was; what would not is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.operators.plain_data import decoded, encoded

plain = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.datetimes()
    | st.datetimes(timezones=st.just(UTC))
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
)
values = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.sampled_from(["$", "a"]), inner, max_size=3)
        | st.dictionaries(plain, inner, max_size=3)
    ),
    max_leaves=8,
)


def kinds(value: Any) -> Any:
    """The value with the type of each part, so that 1, 1.0 and True differ."""
    if isinstance(value, dict):
        return [(kinds(k), kinds(v)) for k, v in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [kinds(item) for item in value]
    return type(value), str(value), value


@given(value=values)
def test_what_comes_back_is_what_was_given(value: Any) -> None:
    assert kinds(decoded(encoded(value))) == kinds(value)


def test_examples() -> None:
    value = {
        "at": datetime(2026, 1, 2, tzinfo=UTC),
        7: [(date(2026, 1, 2), time(3, 4)), timedelta(days=-1)],
        "sum": Decimal("1.50"),
        "id": UUID(int=5),
        "": b"\x00",
    }

    assert decoded(encoded(value)) == value
    assert list(decoded(encoded(value))) == list(value)


@pytest.mark.parametrize(
    "value",
    [{1}, object(), [lambda: 1], datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=2)))],
)
def test_what_would_not_come_back_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot be kept"):
        encoded(value)
