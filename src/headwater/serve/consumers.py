"""Consumer groups over HTTP: read from where a group stands, and say what is done.

An answer with rows also says, in headers in every format, where the group stood and the position to
commit. As JSON it has the body of that commit ready, in `commit`.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import TypeAdapter

from headwater.errors import StateError
from headwater.runtime.consumer import Commit, Portion, Wish
from headwater.runtime.status import ConsumerStatus
from headwater.serve.api import FAILURES, Api
from headwater.serve.formats import Format, response, wanted
from headwater.serve.models import (
    CommitWanted,
    ConsumerAnswer,
    ConsumerWanted,
    ReleaseWanted,
    SeekWanted,
)
from headwater.serve.pools import Work

_ONE = TypeAdapter(ConsumerStatus)
_ALL = TypeAdapter(tuple[ConsumerStatus, ...])
_OFFERED = (Format.JSON, Format.NDJSON, Format.ARROW, Format.CSV)
_TEXT: dict[str, Any] = {"schema": {"type": "string"}}
_NUMBER = {"schema": {"type": "integer"}}
_READ: dict[int | str, dict[str, Any]] = {
    200: {
        "model": ConsumerAnswer,
        "description": "The rows, perhaps none, and the position to commit.",
        "headers": {
            "Headwater-Partition": {"description": "Of which partition they are", **_NUMBER},
            "Headwater-Committed": {"description": "Where the group stood in it", **_NUMBER},
            "Headwater-From": {"description": "Where the reading began", **_NUMBER},
            "Headwater-Position": {"description": "The position to commit", **_NUMBER},
            "Headwater-End": {"description": "The offset after the last row", **_NUMBER},
            "Headwater-Lost": {"description": "Rows that retention removed before", **_NUMBER},
        },
        "content": {
            "application/x-ndjson": _TEXT,
            "text/csv": _TEXT,
            "application/vnd.apache.arrow.stream": _TEXT,
        },
    }
}
_MADE: dict[int | str, dict[str, Any]] = {
    200: {"model": ConsumerStatus, "description": "Where the group stands."}
}
_DONE: dict[int | str, dict[str, Any]] = {
    **_MADE,
    409: {**FAILURES["default"], "description": "Something else has happened since."},
}
_GONE: dict[int | str, dict[str, Any]] = {204: {"description": "It is done."}}
Group = Annotated[str, Path(description="The consumer group")]
Name = Annotated[str, Path(description="A view, topic or table")]


def consumer_routes(api: Api) -> APIRouter:
    """The endpoints under /consumers."""
    routes = APIRouter(prefix="/consumers", tags=["Consumers"])
    _add_groups(routes, api)
    _add_reading(routes, api)
    _add_placing(routes, api)
    return routes


def _add_reading(routes: APIRouter, api: Api) -> None:
    where = "/{group}/{name}"

    @routes.get(where, summary="Consume rows", responses={**FAILURES, **_READ})
    async def read(
        request: Request, group: Group, name: Name, wish: Annotated[ConsumerWanted, Query()]
    ) -> Response:
        """The next rows after where the group stands; it stays there until they are committed.

        Of a topic with several partitions an answer has rows of one.
        """
        spelling = wanted(request, wish.format, _OFFERED)

        def work() -> Response:
            portion = api.service.consumers.read(group, name, _wish(wish))
            return _portion(portion, wish.member, spelling)

        return await api.pools.run(Work.CONSUME, work)

    @routes.post(f"{where}/commit", summary="Commit a position", responses={**FAILURES, **_DONE})
    async def commit(group: Group, name: Name, body: CommitWanted) -> Response:
        """All rows before the position are done. Durable when it is answered; may be said again."""
        done = Commit(body.position, body.partition, body.start, body.member)

        def work() -> Response:
            return _status(api.service.consumers.commit(group, name, done))

        return await api.pools.run(Work.COMMIT, work)

    @routes.post(
        f"{where}/release", summary="Let go", status_code=204, responses={**FAILURES, **_GONE}
    )
    async def release(group: Group, name: Name, body: ReleaseWanted) -> Response:
        """Let other members have what one has in hand."""

        def work() -> Response:
            api.service.consumers.release(group, name, body.member)
            return Response(status_code=204)

        return await api.pools.run(Work.COMMIT, work)


def _add_groups(routes: APIRouter, api: Api) -> None:
    where = "/{group}/{name}"

    @routes.get(
        "",
        summary="List consumer groups",
        response_model=tuple[ConsumerStatus, ...],
        responses=FAILURES,
    )
    async def consumers() -> Response:
        """Where every group stands, and how far behind it is."""
        found = await api.pools.run(Work.STATUS, api.service.consumers.all)
        return Response(_ALL.dump_json(found), media_type="application/json")

    @routes.put(where, summary="Make a consumer group", responses={**FAILURES, **_MADE})
    async def create(
        group: Group,
        name: Name,
        start: Annotated[
            str,
            Query(alias="from", description="`start`, `now`, or a time: rows that came since"),
        ] = "start",
    ) -> Response:
        """Let a group read a relation. One that does already stays where it is."""

        def work() -> Response:
            return _status(api.service.consumers.create(group, name, start))

        return await api.pools.run(Work.COMMIT, work)


def _add_placing(routes: APIRouter, api: Api) -> None:
    where = "/{group}/{name}"

    @routes.post(f"{where}/seek", summary="Put a group elsewhere", responses={**FAILURES, **_DONE})
    async def seek(group: Group, name: Name, body: SeekWanted) -> Response:
        """Put a group elsewhere, also back. What its members have in hand cannot be committed."""

        def work() -> Response:
            seeking = api.service.consumers.seek
            if body.start:
                return _status(seeking(group, name, body.start))
            return _status(seeking(group, name, partition=body.partition, position=body.position))

        return await api.pools.run(Work.COMMIT, work)

    @routes.delete(
        where, summary="Remove a group", status_code=204, responses={**FAILURES, **_GONE}
    )
    async def remove(group: Group, name: Name) -> Response:
        """Forget where a group stands."""

        def work() -> Response:
            api.service.consumers.remove(group, name)
            return Response(status_code=204)

        return await api.pools.run(Work.COMMIT, work)


def _wish(wanted_: ConsumerWanted) -> Wish:
    return Wish(
        rows_max=wanted_.limit,
        wait_seconds=wanted_.wait,
        partition=wanted_.partition,
        after=tuple(int(place) for place in wanted_.after.split(",") if place),
        newest=wanted_.newest or bool(wanted_.key),
        key=tuple(name.strip() for name in wanted_.key.split(",") if name.strip()),
        member=wanted_.member,
        lease_seconds=wanted_.lease,
    )


def _status(status: ConsumerStatus) -> Response:
    return Response(_ONE.dump_json(status), media_type="application/json")


def _portion(portion: Portion | None, member: str | None, spelling: Format) -> Response:
    if portion is None:
        raise StateError("the pipeline is being stopped", hint="ask again when it has started")
    answer = response(portion.rows, spelling)
    told = {
        "partition": portion.partition,
        "committed": portion.committed,
        "from": portion.start,
        "position": portion.position,
        "end": portion.end,
        "lost": portion.lost,
    }
    headers = {f"Headwater-{name.title()}": str(value) for name, value in told.items()}
    headers["Cache-Control"] = "no-store"
    if spelling is not Format.JSON:
        answer.headers.update(headers)
        return answer
    commit: dict[str, Any] = {
        "partition": portion.partition,
        "position": portion.position,
        "from": portion.committed,
    }
    if member is not None:
        commit["member"] = member
    head = json.dumps({**told, "commit": commit}).encode()
    body = head[:-1] + b"," + bytes(answer.body)[1:]
    return Response(body, media_type=Format.JSON.value, headers=headers)
