"""The HTTP API over a running pipeline, as an ASGI app.

The endpoints are thin: they read the request, call the service on a thread, and spell the answer.
What blocks never blocks the loop, and each kind of work has threads of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from headwater.serve.about import about_routes
from headwater.serve.api import Api
from headwater.serve.body import BODY_BYTES_MAX
from headwater.serve.consumers import consumer_routes
from headwater.serve.failures import BugBarrier, install
from headwater.serve.follow import Followers
from headwater.serve.guards import Guards
from headwater.serve.pages import page_routes
from headwater.serve.pools import Pools
from headwater.serve.questions import sql_routes
from headwater.serve.rejected import rejected_routes
from headwater.serve.schemas import schema_routes
from headwater.serve.service import Service
from headwater.serve.tables import table_routes
from headwater.serve.topics import topic_routes
from headwater.serve.views import view_routes

_DESCRIPTION = (
    "Rows in, live answers out. Every error has one shape: "
    '`{"error": {"kind", "message", "hint", "place"}}`.'
)
_CLOSE_SECONDS_MAX = 2.0


def create_app(
    service: Service,
    *,
    title: str,
    host: str = "127.0.0.1",
    host_names: frozenset[str] = frozenset(),
    body_bytes_max: int = BODY_BYTES_MAX,
) -> FastAPI:
    """The API and the live page of a running pipeline.

    Args:
        title: The pipeline's name.
        host: The address the app is served at; requests for other hosts are refused.
        host_names: More names under which it is reached, for example behind a proxy.
        body_bytes_max: The largest body a sender may send, and the most it may inflate to.

    """
    pools = Pools()
    followers = Followers(service, pools)
    api = Api(service, pools, followers, body_bytes_max)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        followers.close()
        pools.close(_CLOSE_SECONDS_MAX)

    app = FastAPI(
        title=title,
        description=_DESCRIPTION,
        version=version("headwater"),
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.followers = followers
    app.add_middleware(BugBarrier)  # the one added last is the outermost
    app.add_middleware(Guards, host=host, names=host_names)
    install(app, api.refine)
    made = (
        *(topic_routes, schema_routes, rejected_routes, table_routes, view_routes),
        *(consumer_routes, sql_routes, about_routes),
    )
    for routes in made:
        app.include_router(routes(api))
    app.include_router(page_routes())
    return app
