"""The columns of topics over HTTP: their versions, and the next one."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import TypeAdapter

from headwater.runtime.evolution import Evolution, VersionStatus
from headwater.serve.api import FAILURES, Api
from headwater.serve.models import SchemaWanted
from headwater.serve.pools import Work

_VERSIONS = TypeAdapter(tuple[VersionStatus, ...])
_EVOLUTION = TypeAdapter(Evolution)
Name = Annotated[str, Path(description="A topic or table")]


def schema_routes(api: Api) -> APIRouter:
    """The endpoints under /topics/{name}/schema."""
    routes = APIRouter(prefix="/topics/{name}/schema", tags=["Topics"])

    @routes.get(
        "",
        summary="List versions of the columns",
        response_model=tuple[VersionStatus, ...],
        responses=FAILURES,
    )
    async def versions(name: Name) -> Response:
        """All versions of a topic's columns, oldest first; rows are read with the last."""
        found = await api.pools.run(Work.STATUS, api.service.schemas, name)
        return Response(_VERSIONS.dump_json(found), media_type="application/json")

    @routes.post("", summary="Change columns", response_model=Evolution, responses=FAILURES)
    async def evolve(name: Name, body: SchemaWanted) -> Response:
        """Make the next version of a topic's columns, between two epochs.

        Rows that are there are read with the new columns. Refused, with what would break, where a
        view reads what changes. With `dry_run` it is only said what would change and break.
        """

        def work() -> Evolution:
            return api.service.evolve(
                name,
                add=body.add,
                widen=body.widen,
                rename=body.rename,
                drop=body.drop,
                dry_run=body.dry_run,
            )

        done = await api.pools.run(Work.SEND, work)
        return Response(_EVOLUTION.dump_json(done), media_type="application/json")

    return routes
