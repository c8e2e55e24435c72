"""The files of the live page and of the API's own documentation.

They are read once, when the app is made. No build step, nothing from another host: the page works
without a network.
"""

from __future__ import annotations

from hashlib import sha256
from importlib.resources import files

from fastapi import APIRouter, Request, Response

_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
_PATHS = {"index.html": "/", "docs.html": "/docs"}


def page_routes() -> APIRouter:
    """The endpoints / and /docs, and the files under /page."""
    routes = APIRouter(include_in_schema=False)
    for file in files("headwater.serve").joinpath("page").iterdir():
        kind = file.name.rpartition(".")[2]
        if kind in _TYPES:
            path = _PATHS.get(file.name, f"/page/{file.name}")
            _add(routes, path, file.read_bytes(), _TYPES[kind])
    return routes


def _add(routes: APIRouter, path: str, body: bytes, media_type: str) -> None:
    # The browser asks each time whether the file is still the one it has: an upgrade shows at once.
    tag = f'"{sha256(body).hexdigest()[:16]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}

    async def serve(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type=media_type, headers=headers)

    routes.add_api_route(path, serve, methods=["GET", "HEAD"])
