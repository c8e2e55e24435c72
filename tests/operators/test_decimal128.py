from __future__ import annotations

from decimal import Context, Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import RecordError
from headwater.operators import decimal128

KIND = pa.decimal128(38, 0)
values_of = st.lists(
    st.tuples(*[st.integers(-(10**37), 10**37) | st.sampled_from([0, -1, 2**64, -(2**64)])] * 2)
)


def decimals(values: list[int]) -> pa.Array:
    return pa.array([Decimal(v) for v in values], KIND)


@given(values_of)
def test_sums_are_exact(pairs: list[tuple[int, int]]) -> None:
    left, right = decimals([a for a, _ in pairs]), decimals([b for _, b in pairs])

    total = decimal128.add(decimal128.limbs(left), decimal128.limbs(right))

    assert [int(v) for v in decimal128.array(total, KIND).to_pylist()] == [a + b for a, b in pairs]


def test_a_slice_of_an_array_is_read_at_its_place() -> None:
    values = decimals([1, 2, 3]).slice(1, 1)

    assert decimal128.array(decimal128.limbs(values), KIND).to_pylist() == [
        Context(prec=38).create_decimal(2)
    ]


def test_what_does_not_fit_into_128_bits_is_refused() -> None:
    largest = np.array([[-1, np.iinfo(np.int64).max]])

    with pytest.raises(RecordError, match="128 bits"):
        decimal128.add(largest, np.array([[1, 0]]))
