"""What is said to who sent rows."""

from __future__ import annotations

from fastapi import Response
from pydantic import TypeAdapter

from headwater.runtime.status import Receipt
from headwater.serve.models import ErrorDetail, RefusedReceipt

_RECEIPTS = TypeAdapter(Receipt)


def answer(receipt: Receipt) -> Response:
    """The receipt; an error where no row was accepted and some were rejected."""
    if receipt.accepted or not receipt.rejected:
        return Response(_RECEIPTS.dump_json(receipt), media_type="application/json")
    first = receipt.rejections[0].reason if receipt.rejections else "see the rejected rows"
    error = ErrorDetail(
        kind="record",
        message=(
            f"the row was rejected: {first}"
            if receipt.rejected == 1
            else f"all {receipt.rejected:,} rows were rejected, the first because: {first}"
        ),
        hint=f"they are kept, with their bytes, in {receipt.topic}$rejected",
    )
    refused = RefusedReceipt(error=error, **_RECEIPTS.dump_python(receipt))
    return Response(refused.model_dump_json(), status_code=422, media_type="application/json")
