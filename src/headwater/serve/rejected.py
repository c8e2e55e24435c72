"""A topic's rejected rows: read them, and send them again when they, or the topic, were mended."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from headwater.runtime.status import Resent
from headwater.serve.api import FAILURES, Api
from headwater.serve.body import form_of, inflated, read_body
from headwater.serve.failures import RequestError
from headwater.serve.formats import Format, response, wanted
from headwater.serve.models import RejectedSent, RejectedWanted
from headwater.serve.pools import Work

_READ: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The rows, each with `_offset` and `_sent_again`; `record` is base64.",
        "content": {
            "application/x-ndjson": {"schema": {"type": "string"}},
            "application/vnd.apache.arrow.stream": {"schema": {"type": "string"}},
        },
    }
}
_SENT: dict[str, Any] = {
    "requestBody": {
        "required": False,
        "description": "Repaired rows, in any form in which rows are sent; or nothing.",
        "content": {
            "application/x-ndjson": {"schema": {"type": "string"}},
            "application/json": {"schema": {"type": "object"}},
            "text/csv": {"schema": {"type": "string"}},
        },
    }
}


def rejected_routes(api: Api) -> APIRouter:
    """The endpoints under /topics/{name}/rejected."""
    routes = APIRouter(prefix="/topics/{name}/rejected", tags=["Topics"])

    @routes.get("", summary="Read rejected rows", responses={**FAILURES, **_READ})
    async def rejected(
        request: Request,
        name: Annotated[str, Path(description="A topic or table")],
        wish: Annotated[RejectedWanted, Query()],
    ) -> Response:
        """What a topic did not take, with the reason and the bytes.

        To read on, ask again from the last `_offset` + 1.
        """
        spelling = wanted(
            request, wish.format, (Format.NDJSON, Format.ARROW, Format.JSON, Format.CSV)
        )

        def work() -> Response:
            return response(api.service.rejected(name, wish.offset_from, wish.limit), spelling)

        return await api.pools.run(Work.READ, work)

    @routes.post("", summary="Send rejected rows again", responses=FAILURES, openapi_extra=_SENT)
    async def send_rejected(
        request: Request,
        name: Annotated[str, Path(description="A topic or table")],
        wish: Annotated[RejectedSent, Query()],
    ) -> Resent:
        """Send rejected rows again: each is handed on once, however often this is asked for.

        Without a body all that wait are sent as they came. With one, its rows take the place of
        those from `from` to before `to`. What is rejected again waits again.
        """
        chunks = await read_body(request, api.body_bytes_max)
        content_type = request.headers.get("content-type", "")
        encoding = request.headers.get("content-encoding", "").strip().lower()

        def work() -> Resent:
            body = inflated(chunks, encoding, api.body_bytes_max)
            chunks.clear()
            offsets = _offsets(wish, has_rows=bool(body))
            return api.service.send_rejected(
                name,
                body or None,
                offsets=offsets,
                form=form_of(content_type, body) if body else None,
                partition=wish.partition,
            )

        return await api.pools.run(Work.SEND, work)

    return routes


def _offsets(wish: RejectedSent, *, has_rows: bool) -> tuple[int, int] | None:
    if wish.offset_from is not None and wish.offset_to is not None and has_rows:
        return wish.offset_from, wish.offset_to
    if has_rows or wish.offset_from is not None or wish.offset_to is not None:
        raise RequestError(
            400,
            "request",
            "repaired rows and the offsets of those that they stand for belong together",
            hint="send rows with ?from=0&to=100, or neither rows nor offsets",
        )
    return None
