"""The API on a port: uvicorn on a thread and a loop of its own.

The process's signals stay with whoever starts the server. `start` returns when the port listens,
and `stop` when no request runs any more: open streams are ended, other requests get a moment to
finish.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

import uvicorn

from headwater.errors import ConnectorError
from headwater.serve.app import create_app
from headwater.serve.body import BODY_BYTES_MAX
from headwater.serve.service import Service

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8484
_FINISH_SECONDS_MAX = 2
# Longer than most producers pause between batches: a connection that the server closes while the
# client writes to it is an error that the client must handle.
_KEEP_ALIVE_SECONDS = 75
# uvicorn counts its ticks in tenths of a second, and renews the Date header each tenth tick.
_TICKS_A_SECOND = 10


class Server:
    """Serves one pipeline. Started and stopped once.

    Args:
        host: The address to listen at; the default is reached from this machine only.
        port: The port; 0 takes a free one, and `url` tells which.
        names: More host names under which the server is reached, for example behind a proxy.

    """

    def __init__(
        self,
        service: Service,
        host: str = DEFAULT_HOST,
        port: int = DEFAULT_PORT,
        *,
        names: frozenset[str] = frozenset(),
        body_bytes_max: int = BODY_BYTES_MAX,
    ) -> None:
        self._service = service
        self._host = host
        self._port = port
        self._names = names
        self._body_bytes_max = body_bytes_max
        self._uvicorn: _Uvicorn | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where the live page is."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self._host, self._host)  # noqa: S104
        return f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"

    @property
    def address(self) -> str:
        """`HOST:PORT`, with the port that it got."""
        return f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"

    def start(self) -> None:
        """Listen; return when requests are answered.

        Raises:
            ConnectorError: The port is taken, or the address is not this machine's.

        """
        assert self._thread is None, "a server is started once"
        listener = _listen(self._host, self._port)
        self._port = listener.getsockname()[1]
        app = create_app(
            self._service,
            title=self._service.status().pipeline,
            host=self._host,
            host_names=self._names | _own_names(self._host),
            body_bytes_max=self._body_bytes_max,
        )
        self._uvicorn = _Uvicorn(app, app.state.followers.close)
        self._thread = threading.Thread(
            target=self._uvicorn.run_on, args=(listener,), name="headwater-serve", daemon=True
        )
        self._thread.start()
        self._uvicorn.listening.wait()
        assert self._uvicorn.started, "the server ended before it listened"

    def stop(self) -> None:
        """End streams, let requests finish for a moment, and free the port. May be called again."""
        if self._uvicorn is None or self._thread is None:
            return
        self._uvicorn.request_stop()
        self._thread.join()


class _Uvicorn(uvicorn.Server):
    """uvicorn that tells when it listens, and ends open streams when it is told to stop."""

    def __init__(self, app: object, end_streams: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,  # type: ignore[arg-type] # FastAPI is an ASGI app
                log_config=None,
                # What goes wrong in a request is reported by the app; uvicorn would report it
                # again.
                log_level=logging.CRITICAL,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ws="none",
                lifespan="on",
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=_FINISH_SECONDS_MAX,
            )
        )
        self.listening = threading.Event()
        self._end_streams = end_streams
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told = asyncio.Event()

    def run_on(self, listener: socket.socket) -> None:
        """Serve until told to stop."""
        try:
            self.run([listener])
        finally:
            self.listening.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        self.listening.set()

    async def main_loop(self) -> None:
        """Tick until told to stop, and stop when told: the inherited one notices a tick later."""
        ticks = 0
        while not await self.on_tick(ticks):
            ticks += _TICKS_A_SECOND
            with suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), 1.0)

    def request_stop(self) -> None:
        """Ask the loop to end; from any thread, any number of times."""
        self.should_exit = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end_streams)
            self._loop.call_soon_threadsafe(self._told.set)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot_listen(host, port, error) from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise _cannot_listen(host, port, error) from None
    return listener


def _cannot_listen(host: str, port: int, error: OSError) -> ConnectorError:
    if error.errno == errno.EADDRINUSE:
        return ConnectorError(
            f"port {port} of {host} is taken by another process",
            hint=f"--listen {host}:0 takes a free port",
        )
    return ConnectorError(
        f"cannot listen at {host}:{port}: {error.strerror or error}",
        hint=f"--listen {DEFAULT_HOST}:{DEFAULT_PORT}",
    )


def _own_names(host: str) -> frozenset[str]:
    """The machine's names, where the server listens at all of its addresses."""
    if host not in ("0.0.0.0", "::", ""):  # noqa: S104
        return frozenset()
    return frozenset({socket.gethostname().lower(), socket.getfqdn().lower()})
