"""The row of a key: read it, and delete it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from headwater.errors import DefinitionError
from headwater.runtime.status import Receipt
from headwater.schema.encode import to_ndjson
from headwater.serve.api import FAILURES, Api
from headwater.serve.failures import not_found
from headwater.serve.models import RefusedReceipt
from headwater.serve.pools import Work
from headwater.serve.receipts import answer

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
_KEY = "The columns of the primary key by their names: `?merchant=7&id=42`"
_KEYS: dict[str, Any] = {
    "parameters": [
        {
            "name": "key",
            "in": "query",
            "required": True,
            "description": _KEY,
            "style": "form",
            "explode": True,
            "schema": {"type": "object", "additionalProperties": {"type": "string"}},
        }
    ]
}

_VERSION = (
    "; and the column that `newest_by` names, if there is one: `&updated=2026-01-01T12:00:00`"
)
_KEYS_TO_DELETE: dict[str, Any] = {
    "parameters": [{**_KEYS["parameters"][0], "description": _KEY + _VERSION}]
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

    @routes.delete(
        "/row",
        summary="Delete the row of a key",
        response_model=Receipt,
        responses={**FAILURES, 422: {"model": RefusedReceipt, "description": "It was rejected."}},
        openapi_extra=_KEYS_TO_DELETE,
    )
    async def delete(
        request: Request, name: Annotated[str, Path(description="A table with `deleted_by`")]
    ) -> Response:
        """Delete the row of a key. The answer comes when that is durable.

        It is a row like any other, of which the column that `deleted_by` names is true: it has an
        offset, and deletions of many keys can be sent to the table as rows. Whether there was a
        row does not matter.
        """
        values = dict(request.query_params)
        return answer(await api.pools.run(Work.SEND, api.service.delete, name, values))

    return routes
