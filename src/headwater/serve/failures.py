"""What the API answers when it refuses: one shape for every endpoint.

    {"error": {"kind", "message", "hint", "place": {...} | null}}

It is the same object that the command line prints. The framework's own refusals (no such path,
wrong method, a parameter of the wrong type) take this shape too, and a bug of ours says that it
is one, without a traceback.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headwater.errors import (
    ConflictError,
    ConnectorError,
    DefinitionError,
    HeadwaterError,
    NoRoomError,
    NotFoundError,
    Place,
    RecordError,
    StateError,
)
from headwater.serve.models import ErrorAnswer, ErrorDetail, PlaceDetail

_LOG = logging.getLogger("headwater.serve")

# What a branch of the tree of errors is called, and the status it is answered with.
_BRANCHES: tuple[tuple[type[HeadwaterError], str, int], ...] = (
    (NotFoundError, "not_found", 404),
    (ConflictError, "conflict", 409),
    (DefinitionError, "definition", 400),
    (RecordError, "record", 400),
    (ConnectorError, "connector", 503),
    (NoRoomError, "no_room", 507),
    (StateError, "state", 503),
    (HeadwaterError, "error", 500),
)


class RequestError(DefinitionError):
    """A request that is refused before the pipeline sees it.

    Args:
        status: The HTTP status of the answer.
        kind: One word for the answer's `kind`.

    """

    def __init__(self, status: int, kind: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.kind = kind


def not_found(error: HeadwaterError) -> RequestError:
    """The same error, answered with 404."""
    return RequestError(404, "not_found", error.message, hint=error.hint)


def detail_of(error: HeadwaterError) -> ErrorDetail:
    """The error as the API spells it."""
    return ErrorDetail(
        kind=_branch(error)[0],
        message=error.message,
        hint=error.hint,
        place=_place(error.place) if error.place else None,
    )


def answer_of(error: HeadwaterError) -> Response:
    """The whole answer to a request that failed with `error`."""
    body = ErrorAnswer(error=detail_of(error)).model_dump_json()
    return Response(body, status_code=_branch(error)[1], media_type="application/json")


def install(
    app: FastAPI, refine: Callable[[Request, HeadwaterError], Awaitable[HeadwaterError]]
) -> None:
    """Give every failure of `app` the one shape.

    Args:
        refine: Looks once more at a pipeline's error, with the request it belongs to.

    """

    async def on_headwater(request: Request, error: Exception) -> Response:
        assert isinstance(error, HeadwaterError)
        return answer_of(await refine(request, error))

    app.add_exception_handler(HeadwaterError, on_headwater)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_validation)


def _branch(error: HeadwaterError) -> tuple[str, int]:
    if isinstance(error, RequestError):
        return error.kind, error.status
    return next((kind, status) for type_, kind, status in _BRANCHES if isinstance(error, type_))


def _place(place: Place) -> PlaceDetail:
    return PlaceDetail(
        source=place.source,
        text=place.text,
        line=place.line,
        start=place.start,
        end=place.end,
        underlined=place.underlined(),
    )


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    if error.status_code == 404:
        refusal = RequestError(
            404, "not_found", f"there is nothing at {path}", hint="/docs lists every endpoint"
        )
    elif error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        refusal = RequestError(
            405, "method", f"{path} does not answer {request.method}", hint=f"use {allowed}"
        )
    else:
        refusal = RequestError(error.status_code, "request", str(error.detail))
    answer = answer_of(refusal)
    answer.headers.update(error.headers or {})
    return answer


async def _on_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    wrong = error.errors()[0]
    name = str(wrong["loc"][-1])
    message = f"{name}: {wrong['msg'][:1].lower()}{wrong['msg'][1:]}, got {wrong.get('input')!r}"
    hint = f"/docs says what {request.url.path} takes"
    return answer_of(RequestError(400, "request", message, hint=hint))


class BugBarrier:
    """Answer a bug of ours as one: the traceback goes to the log, and the connection stays open.

    This is the one place that catches everything, because past it stands only the network.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        is_answered = False

        async def send_noting(message: Message) -> None:
            nonlocal is_answered
            is_answered = True
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        except Exception as error:
            if scope["type"] != "http":
                raise
            _LOG.error("%s %s failed", scope["method"], scope["path"], exc_info=error)
            if is_answered:
                raise  # half an answer is out: only a broken connection tells the client
            await answer_of(_bug(error))(scope, receive, send)


def _bug(error: Exception) -> RequestError:
    return RequestError(
        500,
        "bug",
        f"Headwater failed in a way it does not know: {type(error).__name__}",
        hint="the server's error output has the traceback; please report it",
    )
