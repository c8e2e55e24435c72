"""Send rows to a topic, and read back what it holds."""

from __future__ import annotations

from typing import Annotated, Any

import pyarrow as pa
from fastapi import APIRouter, Path, Query, Request, Response

from headwater.runtime.status import OFFSET_FIRST, ProducerStatus, Receipt
from headwater.serve.api import FAILURES, Api
from headwater.serve.body import form_of, inflated, read_body
from headwater.serve.formats import Format, response, wanted
from headwater.serve.models import RefusedReceipt, RowsSent, RowsWanted
from headwater.serve.offsets import topic_offset
from headwater.serve.pools import Work
from headwater.serve.receipts import answer

_ROW = {"ad": 7, "visitor": "ann", "ts": "2026-01-01T12:00:00Z"}
_SENT: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "Rows: one JSON object, an array of them, one object a line, CSV with a "
        "header line, or an Arrow IPC stream. `Content-Encoding: gzip` is understood.",
        "content": {
            "application/json": {"schema": {"type": "object"}, "example": [_ROW, _ROW]},
            "application/x-ndjson": {
                "schema": {"type": "string"},
                "example": '{"ad": 7, "visitor": "ann"}\n{"ad": 8, "visitor": "bob"}\n',
            },
            "text/csv": {"schema": {"type": "string"}, "example": "ad,visitor\n7,ann\n8,bob\n"},
            "application/vnd.apache.arrow.stream": {
                "schema": {"type": "string", "contentMediaType": "application/octet-stream"}
            },
        },
    }
}
_TAKEN: dict[str, Any] = {
    "description": "All that was accepted is durable; the first 100 of the others are listed.",
    "content": {
        "application/json": {
            "example": {
                "topic": "clicks",
                "accepted": 2,
                "rejected": 1,
                "offset_first": 41,
                "partition": 0,
                "rejections": [
                    {"position": 1, "reason": "'x' is no BIGINT", "column": "ad"},
                ],
                "duplicate": 0,
            }
        }
    },
}
FIRST_OFFSET = "Headwater-First-Offset"
ROWS_GONE = "Headwater-Rows-Gone"
_READ: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The rows, each with `_partition`, `_offset` and `_arrived`.",
        "headers": {
            FIRST_OFFSET: {
                "description": "The first offset that the partition still has",
                "schema": {"type": "integer"},
            },
            ROWS_GONE: {
                "description": "How many rows from `from` on were let go; absent when none were",
                "schema": {"type": "integer"},
            },
        },
        "content": {
            "application/x-ndjson": {
                "schema": {"type": "string"},
                "example": '{"ad": 7, "visitor": "ann", "_partition": 0, "_offset": 41}\n',
            },
            "application/vnd.apache.arrow.stream": {"schema": {"type": "string"}},
        },
    }
}


def topic_routes(api: Api) -> APIRouter:
    """The endpoints under /topics."""
    routes = APIRouter(prefix="/topics/{name}", tags=["Topics"])

    @routes.post(
        "",
        summary="Send rows",
        response_model=Receipt,
        responses={
            **FAILURES,
            200: _TAKEN,
            422: {"model": RefusedReceipt, "description": "Every row was rejected."},
        },
        openapi_extra=_SENT,
    )
    async def send(
        request: Request,
        name: Annotated[str, Path(description="A topic or table")],
        wish: Annotated[RowsSent, Query()],
    ) -> Response:
        """Validate rows and append them to a topic or table.

        The answer comes when the accepted rows are durable. Rows that are malformed or do not fit
        the schema are kept with their bytes and the reason: `SELECT * FROM "name$rejected"`.

        With a `producer` and a `sequence` a batch may be sent again until it is answered: it is
        appended once.
        """
        chunks = await read_body(request, api.body_bytes_max)
        content_type = request.headers.get("content-type", "")
        encoding = request.headers.get("content-encoding", "").strip().lower()

        def work() -> Receipt:
            body = inflated(chunks, encoding, api.body_bytes_max)
            chunks.clear()
            return api.service.send_bytes(
                name,
                body,
                form_of(content_type, body),
                wish.partition,
                producer=wish.producer,
                sequence=wish.sequence,
            )

        return answer(await api.pools.run(Work.SEND, work))

    @routes.get("/rows", summary="Read rows", responses={**FAILURES, **_READ})
    async def rows(
        request: Request,
        name: Annotated[str, Path(description="A topic or table")],
        wish: Annotated[RowsWanted, Query()],
    ) -> Response:
        """Rows of a topic in the order of their offsets, from any offset on.

        To read on, ask again from the last `_offset` + 1. Rows that the topic's retention let go
        are passed over: the headers of the answer say how many, and which is the first there is.
        """
        spelling = wanted(
            request, wish.format, (Format.NDJSON, Format.ARROW, Format.JSON, Format.CSV)
        )

        def work() -> Response:
            first = topic_offset(api.service, name, wish.offset_from, wish.partition)
            found = api.service.rows(name, first, wish.limit, wish.partition)
            page = response(found, spelling)
            page.headers.update(_headers(found, first))
            return page

        return await api.pools.run(Work.READ, work)

    @routes.get("/producers", summary="Who sends", responses=FAILURES)
    async def producers(
        name: Annotated[str, Path(description="A topic or table")],
        producer: Annotated[str | None, Query(description="Only this one")] = None,
    ) -> list[ProducerStatus]:
        """Who has sent to a topic under a name, with the number of its last batch in a partition.

        A producer that starts again goes on from there. Whoever was heard of last is first.
        """
        return await api.pools.run(Work.STATUS, api.service.producers, name, producer)

    return routes


def _headers(rows: pa.Table, asked_from: int) -> dict[str, str]:
    """What is said of rows that are gone."""
    first = (rows.schema.metadata or {}).get(OFFSET_FIRST.encode())
    if first is None:
        return {}
    gone = int(first) - asked_from
    return {FIRST_OFFSET: first.decode()} | ({ROWS_GONE: str(gone)} if gone > 0 else {})
