"""Who may ask: the page's own origin and programs, never another web site.

The API has no password: whoever reaches the port may use it, and by default only this machine
does. But a browser on this machine also runs other people's pages. Two checks keep those out: the
Host header must name this server (else a domain that is re-pointed at 127.0.0.1 would pass for
it), and a request that changes or asks anything must not come from another origin. No CORS header
is ever sent.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headwater.serve.failures import RequestError, answer_of

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_WILDCARDS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared with, never bound
_READS = frozenset({"GET", "HEAD", "OPTIONS"})

# The page loads its own files and talks to its own server, and nothing else.
_HEADERS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}


class Guards:
    """Refuse requests for other hosts and from other origins; add the security headers.

    Args:
        host: The address the server is bound to. Where it is a wildcard, every address of the
            machine is this server: then a Host that is an IP address is taken as well, because
            only a name can be re-pointed.
        names: More host names under which the server is reached.

    """

    def __init__(self, app: ASGIApp, *, host: str, names: frozenset[str] = frozenset()) -> None:
        self._app = app
        self._hosts = LOOPBACK | {host.lower().strip("[]")} | {name.lower() for name in names}
        self._any_address = host.strip("[]") in _WILDCARDS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope["method"], Headers(scope=scope))
        if refusal is None:
            await self._app(scope, receive, send_guarded)
        else:
            await answer_of(refusal)(scope, receive, send_guarded)

    def _refusal(self, method: str, headers: Headers) -> RequestError | None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            return RequestError(
                403,
                "forbidden",
                f"this server does not answer for the host {host!r}",
                hint=f"use one of: {', '.join(sorted(self._hosts - {''}))}",
            )
        if method not in _READS and _is_foreign(headers, host):
            origin = headers.get("origin", "another site")
            return RequestError(
                403,
                "forbidden",
                f"a page of {origin} may not write to or question this server",
                hint="only pages that this server itself serves, and programs, may",
            )
        return None

    def _is_ours(self, host: str) -> bool:
        name = host_name(host)
        return name in self._hosts or (self._any_address and _is_address(name))


def host_name(host: str) -> str:
    """The name in a Host header, without its port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _is_foreign(headers: Headers, host: str) -> bool:
    """Does a browser say that a page of another origin made this request?"""
    if headers.get("sec-fetch-site", "same-origin") in ("cross-site", "same-site"):
        return True
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2].lower() != host.lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
