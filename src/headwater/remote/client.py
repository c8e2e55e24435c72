"""Requests to a running pipeline: the one place where a connection to one is opened.

Every request opens a connection of its own: on the loopback that costs a fraction of a millisecond,
and no batch is ever sent twice because an idle connection had been closed. Errors of the server
come back as the `HeadwaterError`s that they were there.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

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

DEFAULT_URL = "http://127.0.0.1:8484"
PIECE_BYTES = 1 << 20

# A request that is refused before a pipeline sees it has a kind of its own: it is as wrong as a
# definition is.
KINDS = {
    "conflict": ConflictError,
    "not_found": NotFoundError,
    "record": RecordError,
    "connector": ConnectorError,
    "no_room": NoRoomError,
    "state": StateError,
    "bug": HeadwaterError,
}


def path(*parts: str) -> str:
    """The path of an endpoint; each part may hold any character."""
    return "".join("/" + quote(part, safe="") for part in parts)


class Client:
    """Asks one running pipeline.

    Args:
        url: Where it listens, such as `http://127.0.0.1:8484`; with a path, behind a proxy.

    """

    def __init__(self, url: str = DEFAULT_URL) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        try:
            port = parts.port
        except ValueError:
            port = None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConnectorError(
                f"{url} is no URL of a pipeline", hint=f"it looks like {DEFAULT_URL}"
            )
        self.url = url
        self._path = parts.path.rstrip("/")
        self._host, self._port = parts.hostname, port
        self._is_secure = parts.scheme == "https"

    def get(self, where: str, **params: object) -> Any:
        """The JSON that a GET answers."""
        with self._answer("GET", _with(where, params)) as response:
            return _told(response)

    def post(self, where: str, body: bytes, content_type: str, **params: object) -> Any:
        """The JSON that a POST answers. A receipt of rows is one also when no row was taken."""
        headers = {"Content-Type": content_type}
        with self._answer("POST", _with(where, params), body, headers) as response:
            return _told(response)

    def put(self, where: str, **params: object) -> Any:
        """The JSON that a PUT answers."""
        with self._answer("PUT", _with(where, params)) as response:
            return _told(response)

    def delete(self, where: str) -> None:
        """Have something removed."""
        with self._answer("DELETE", where) as response:
            _done(response)

    def tell(self, where: str, value: object) -> None:
        """Post a JSON value; what is answered is of no interest, unless it is refused."""
        body, headers = json.dumps(value).encode(), {"Content-Type": "application/json"}
        with self._answer("POST", where, body, headers) as response:
            _done(response)

    def read(
        self, where: str, media_type: str, **params: object
    ) -> tuple[Mapping[str, str], bytes]:
        """The headers and the body that a GET answers, as the server spells it in `media_type`."""
        headers = {"Accept": media_type}
        with self._answer("GET", _with(where, params), None, headers) as response:
            if response.status >= http.client.BAD_REQUEST:
                _told(response)
            return dict(response.headers), response.read()

    def ask(self, sql: str, media_type: str) -> Iterator[bytes]:
        """The answer to one SELECT, as the server spells it in `media_type`, piece by piece."""
        headers = {"Content-Type": "text/plain; charset=utf-8", "Accept": media_type}
        with self._answer("POST", "/sql", sql.encode(), headers) as response:
            if response.status >= http.client.BAD_REQUEST:
                _told(response)
            while piece := response.read(PIECE_BYTES):
                yield piece

    def lines(self, where: str, **params: object) -> Iterator[bytes]:
        """The lines of a GET's body, as they come; the body may have no end."""
        with self._answer("GET", _with(where, params)) as response:
            if response.status >= http.client.BAD_REQUEST:
                _told(response)
            for line in response:
                yield line.rstrip(b"\r\n")

    @contextmanager
    def _answer(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        connection = self._connection()
        try:
            connection.connect()
        except OSError as error:
            raise ConnectorError(
                f"nothing answers at {self.url} ({error.strerror or error})",
                hint="start a pipeline: headwater run app.py, or headwater demo; "
                "or say where one listens: --to URL",
            ) from None
        try:
            connection.request(method, self._path + target, body, headers or {})
            yield connection.getresponse()
        except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
            raise ConnectorError(
                f"{self.url} broke off: {error or type(error).__name__}",
                hint="look at what the running pipeline prints",
            ) from None
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self._is_secure:
            return http.client.HTTPSConnection(self._host, self._port)
        return http.client.HTTPConnection(self._host, self._port)


def _with(where: str, params: dict[str, object]) -> str:
    """The path with a query string. `from_` is the parameter `from`, which Python reserves."""
    given = {name.rstrip("_"): value for name, value in params.items() if value is not None}
    return f"{where}?{urlencode(given)}" if given else where


def parsed(text: bytes) -> Any:
    """JSON whose numbers keep all the digits that they were sent with."""
    return json.loads(text, parse_float=Decimal)


def _done(response: http.client.HTTPResponse) -> None:
    if response.status >= http.client.BAD_REQUEST:
        _told(response)
    response.read()


def _told(response: http.client.HTTPResponse) -> Any:
    body = response.read()
    try:
        answer = parsed(body)
        if response.status < http.client.BAD_REQUEST or "accepted" in answer:
            return answer
        told = answer["error"]
        message = str(told["message"])
    except (ValueError, KeyError, TypeError):
        start = body[:200].decode(errors="replace").strip()
        raise ConnectorError(
            f"no pipeline answers there, but something else: {response.status} {start}",
            hint=f"say where a pipeline listens, such as --to {DEFAULT_URL}",
        ) from None
    at = told.get("place")
    place = Place(at["text"], at["start"], at["end"], at["source"]) if at else None
    raise KINDS.get(told.get("kind"), DefinitionError)(message, place=place, hint=told.get("hint"))
