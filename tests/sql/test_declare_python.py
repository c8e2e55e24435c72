"""What a function's signature or annotations may say, and what is refused where it is said."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest

from headwater.errors import DefinitionError
from headwater.sql.declare_python import function


def test_types_come_from_a_signature() -> None:
    found = function(lambda a, b: a, "(a DECIMAL(9, 2), b VARCHAR[]) -> STRUCT(x BIGINT)", "f")

    assert found.parameters.ddl() == "a DECIMAL(9,2), b VARCHAR[]"
    assert str(found.returns) == "STRUCT(x BIGINT)"


def test_types_come_from_annotations_of_python_or_of_sql() -> None:
    def f(a, b, at, ok): ...  # type: ignore[no-untyped-def]

    annotations = {"a": float, "b": "INTEGER[]", "at": datetime, "ok": "bool"}
    f.__annotations__ = {**annotations, "return": "'DECIMAL(9, 2)'"}

    found = function(f)

    assert found.name == "f"
    assert found.parameters.ddl() == 'a DOUBLE, b INTEGER[], "at" TIMESTAMP, ok BOOLEAN'
    assert str(found.returns) == "DECIMAL(9,2)"


def arrays(v: pa.Array) -> pa.Array:
    return v


@pytest.mark.parametrize(
    ("call", "signature", "name", "message"),
    [
        (lambda v: v, "v BIGINT -> BIGINT", "f", "this is no signature"),
        (lambda v: v, "(v BIGINTS) -> BIGINT", "f", "BIGINTS"),
        (lambda v: v, "(v BIGINT) -> NOTHING", "f", "NOTHING"),
        (lambda v: v, "(v BIGINT, w BIGINT) -> BIGINT", "f", "does not take what its signature"),
        (lambda v: v, None, "f", "the type of the parameter v of function f is not said"),
        (arrays, None, "f", "pa.Array"),
        (lambda: 1, "() -> BIGINT", "f", "function f has no parameters"),
        (lambda v: v, "(v BIGINT) -> BIGINT", "sum", "sum cannot be a function"),
        (lambda v: v, "(v BIGINT) -> BIGINT", "tumble", "tumble cannot be a function"),
        (lambda v: v, "(v BIGINT) -> BIGINT", None, "<lambda> cannot be a function"),
        (lambda v: v, "(v BIGINT) -> BIGINT", "a b", "a b cannot be a function"),
    ],
)
def test_what_cannot_be_a_function_is_refused(
    call: Any, signature: str | None, name: str | None, message: str
) -> None:
    with pytest.raises(DefinitionError, match=message):
        function(call, signature, name)
