"""The row of a key."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from headwater.errors import DefinitionError
from headwater.schema.encode import to_ndjson
from headwater.serve.api import FAILURES, Api
from headwater.serve.failures import not_found
from headwater.serve.pools import Work

_ROW: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The row, as one object.",
        "content": {
            "application/json": {
                "schema": {"type": "object"},
                "example": {"id": 42, "merchant": 7, "price": 19.9},
            }
        },
    }
}
_KEYS: dict[str, Any] = {
    "parameters": [
        {
            "name": "key",
            "in": "query",
            "required": True,
            "description": "The columns of the primary key by their names: `?merchant=7&id=42`",
            "style": "form",
            "explode": True,
            "schema": {"type": "object", "additionalProperties": {"type": "string"}},
        }
    ]
}


def table_routes(api: Api) -> APIRouter:
    """The endpoints under /tables."""
    routes = APIRouter(prefix="/tables/{name}", tags=["Tables"])

    @routes.get(
        "/row",
        summary="Read the row of a key",
        responses={**FAILURES, **_ROW},
        openapi_extra=_KEYS,
        response_class=Response,
    )
    async def row(request: Request, name: Annotated[str, Path(description="A table")]) -> Response:
        """The row of a key after the last committed epoch, quick whatever the table's size.

        404 where there is none.
        """
        key = dict(request.query_params)

        def work() -> Response:
            found = api.service.row(name, key)
            if found is None:
                shown = ", ".join(f"{column} = {value}" for column, value in key.items())
                raise not_found(DefinitionError(f"{name} has no row of {shown}"))
            return Response(to_ndjson(found).strip(), media_type="application/json")

        return await api.pools.run(Work.READ, work)

    return routes
