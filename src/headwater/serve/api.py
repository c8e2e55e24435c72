"""What every endpoint has at hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import Request

from headwater.errors import ConflictError, DefinitionError, HeadwaterError, NotFoundError
from headwater.runtime.status import Status
from headwater.serve.body import BODY_BYTES_MAX
from headwater.serve.failures import RequestError, not_found
from headwater.serve.follow import Followers
from headwater.serve.models import ErrorAnswer
from headwater.serve.pools import Pools, Work
from headwater.serve.service import Service

# Every endpoint may answer with an error, always of the same shape.
FAILURES: dict[int | str, dict[str, Any]] = {
    "default": {"model": ErrorAnswer, "description": "It was refused, or it failed."}
}


@dataclass(frozen=True, slots=True)
class Api:
    """The service behind the endpoints, and what they share."""

    service: Service
    pools: Pools
    followers: Followers
    body_bytes_max: int = BODY_BYTES_MAX

    async def status(self) -> Status:
        """The pipeline's status."""
        return await self.pools.run(Work.STATUS, self.service.status)

    async def refine(self, request: Request, error: HeadwaterError) -> HeadwaterError:
        """Tell "there is no such name" (404) from other definition errors.

        The service raises the same class for both. Only a request that failed pays for the look.
        """
        name = request.path_params.get("name")
        if (
            name is None
            or isinstance(error, RequestError | NotFoundError | ConflictError)
            or not isinstance(error, DefinitionError)
        ):
            return error
        known = await self.pools.run(Work.STATUS, _names, self.service)
        return error if name.partition("$")[0].lower() in known else not_found(error)


def _names(service: Service) -> set[str]:
    status = service.status()
    names = [topic.name for topic in status.topics] + [view.name for view in status.views]
    return {name.lower() for name in names}
