"""What the pipeline says of itself: status, metrics, health."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from pydantic import TypeAdapter

from headwater.runtime.status import Status
from headwater.serve.api import FAILURES, Api
from headwater.serve.metrics import CONTENT_TYPE, exposition
from headwater.serve.models import Health

_STATUS = TypeAdapter(Status)
_METRICS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Prometheus text format 0.0.4.",
        "content": {
            "text/plain": {
                "schema": {"type": "string"},
                "example": "# HELP headwater_epoch The last committed epoch\n"
                '# TYPE headwater_epoch gauge\nheadwater_epoch{pipeline="flights"} 41\n',
            }
        },
    }
}


def about_routes(api: Api) -> APIRouter:
    """The endpoints /status, /metrics and /healthz."""
    routes = APIRouter(tags=["The pipeline"])

    @routes.get(
        "/status",
        summary="Status",
        response_model=Status,
        response_description="All numbers.",
        responses=FAILURES,
    )
    async def status() -> Response:
        """Everything there is to know of the pipeline, at one moment.

        Times end in `_us`: microseconds since 1970 UTC. `held_by` and `waits_for` say in words
        why a watermark stands and why what a view holds back has not come out.
        """
        body = _STATUS.dump_json(await api.status())
        return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})

    @routes.get(
        "/metrics",
        summary="Metrics",
        response_class=Response,
        responses={**FAILURES, **_METRICS},
    )
    async def metrics() -> Response:
        """The numbers of /status, for Prometheus to scrape."""
        return Response(exposition(await api.status()), media_type=CONTENT_TYPE)

    @routes.get("/healthz", summary="Health", response_description="It lives.", responses=FAILURES)
    async def health() -> Health:
        """The process answers and its pipeline does too."""
        now = await api.status()
        return Health(status="unwell" if now.problems else "ok", epoch=now.epoch)

    return routes
