"""Answer one SELECT."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from headwater.errors import RecordError
from headwater.serve.api import FAILURES, Api
from headwater.serve.body import read_body
from headwater.serve.failures import RequestError
from headwater.serve.formats import Format, response, wanted
from headwater.serve.models import RowsAnswer, SqlQuestion
from headwater.serve.pools import Work

SQL_BYTES_MAX = 1024 * 1024

_TEXT: dict[str, Any] = {"schema": {"type": "string"}}
_EXAMPLE = "SELECT carrier, count(*) AS n FROM departures GROUP BY carrier ORDER BY n DESC"
_ASKED: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "One SELECT, as JSON or as plain text.",
        "content": {
            "application/json": {
                "schema": SqlQuestion.model_json_schema(),
                "example": {"sql": _EXAMPLE},
            },
            "text/plain": {"schema": {"type": "string"}, "example": _EXAMPLE},
        },
    }
}
_ANSWERED: dict[int | str, dict[str, Any]] = {
    200: {
        "model": RowsAnswer,
        "description": "The rows, in the format that Accept asks for.",
        "content": {
            "application/x-ndjson": _TEXT,
            "text/csv": _TEXT,
            "application/vnd.apache.arrow.stream": _TEXT,
        },
    }
}


def sql_routes(api: Api) -> APIRouter:
    """The endpoint /sql."""
    routes = APIRouter(tags=["Questions"])

    @routes.post(
        "/sql",
        summary="Ask with SQL",
        responses={**FAILURES, **_ANSWERED},
        openapi_extra=_ASKED,
    )
    async def ask(request: Request) -> Response:
        """Answer one read-only SELECT over topics, tables, views and what they left out.

        That is `name$rejected`, `name$late` and `name$failed`.

        It sees what the last committed epoch left, and has no access to files or the network.
        """
        spelling = wanted(request, None, (Format.JSON, Format.NDJSON, Format.ARROW, Format.CSV))
        body = b"".join(await read_body(request, SQL_BYTES_MAX))
        sql = _question(body, request.headers.get("content-type", ""))

        def work() -> Response:
            return response(api.service.query(sql), spelling)

        return await api.pools.run(Work.SQL, work)

    return routes


def _question(body: bytes, content_type: str) -> str:
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "application/json" or (not media_type and body.lstrip().startswith(b"{")):
        return _from_json(body)
    # curl says the third of these when nobody told it better.
    if media_type not in ("", "text/plain", "application/x-www-form-urlencoded", "application/sql"):
        raise RequestError(
            415,
            "unsupported",
            f"a question of type {media_type} cannot be read",
            hint='send {"sql": "SELECT ..."} as application/json, or the SELECT as text/plain',
        )
    try:
        sql = body.decode()
    except UnicodeDecodeError as error:
        raise RecordError(f"the question is not UTF-8 text: {error.reason}") from None
    if not sql.strip():
        raise RecordError("the question is empty", hint="send one SELECT")
    return sql


def _from_json(body: bytes) -> str:
    try:
        return SqlQuestion.model_validate_json(body).sql
    except ValidationError as error:
        wrong = error.errors()[0]
        place = ".".join(str(part) for part in wrong["loc"])
        message = f"{place}: {wrong['msg']}" if place else wrong["msg"]
        raise RequestError(400, "request", message, hint='send {"sql": "SELECT ..."}') from None
