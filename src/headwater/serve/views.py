"""What a view holds, and how it changes."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response
from starlette.responses import StreamingResponse

from headwater.serve.api import FAILURES, Api
from headwater.serve.formats import Format, response, wanted
from headwater.serve.models import ChangesWanted, ContentWanted, RowsAnswer
from headwater.serve.offsets import view_offset
from headwater.serve.pools import Work

_TEXT: dict[str, Any] = {"schema": {"type": "string"}}
_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {
        "model": RowsAnswer,
        "description": "The rows.",
        "content": {
            "application/x-ndjson": _TEXT,
            "text/csv": _TEXT,
            "application/vnd.apache.arrow.stream": _TEXT,
        },
    }
}
_CHANGES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events, or a page of changes.",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": 'id: 42\ndata: {"carrier": "UA", "n": 7, "_weight": 1, "_epoch": 9, '
                '"_offset": 41}\n\n',
            },
            "application/x-ndjson": _TEXT,
            "application/vnd.apache.arrow.stream": _TEXT,
        },
    }
}


def view_routes(api: Api) -> APIRouter:
    """The endpoints under /views."""
    routes = APIRouter(prefix="/views/{name}", tags=["Views"])

    @routes.get("", summary="Read a view", responses={**FAILURES, **_CONTENT})
    async def content(
        request: Request,
        name: Annotated[str, Path(description="A view or table")],
        wish: Annotated[ContentWanted, Query()],
    ) -> Response:
        """What a view or table holds after the last committed epoch."""
        spelling = wanted(
            request, wish.format, (Format.JSON, Format.NDJSON, Format.ARROW, Format.CSV)
        )

        def work() -> Response:
            return response(api.service.content(name, wish.limit), spelling)

        return await api.pools.run(Work.READ, work)

    @routes.get("/changes", summary="Follow a view", responses={**FAILURES, **_CHANGES})
    async def changes(
        request: Request,
        name: Annotated[str, Path(description="A view")],
        wish: Annotated[ChangesWanted, Query()],
        last_event_id: Annotated[
            str | None, Header(description="Resumes a stream: the id of the last event seen")
        ] = None,
    ) -> Response:
        """Every change of a view, in order: `_weight` is 1 for a row added, -1 for one withdrawn.

        As server-sent events the stream does not end: it waits for the next change. Each event's
        id is the offset to resume from, and a browser's EventSource resumes by itself.
        """
        offered = (Format.SSE, Format.NDJSON, Format.ARROW, Format.JSON, Format.CSV)
        spelling = wanted(request, wish.format, offered)
        resumed = last_event_id or ""
        offset = int(resumed) if resumed.isdigit() else wish.offset_from
        first = await api.pools.run(Work.STATUS, view_offset, api.service, name, offset)
        if spelling is not Format.SSE:

            def work() -> Response:
                return response(api.service.changes(name, first, wish.limit, 0.0), spelling)

            return await api.pools.run(Work.READ, work)
        page = await api.followers.first_page(name, first)
        return StreamingResponse(
            api.followers.events(name, page),
            media_type=Format.SSE.value,
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    return routes
