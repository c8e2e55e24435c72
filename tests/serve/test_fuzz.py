"""Requests that the API's own document allows, and such that it does not, against a real pipeline.

None is answered with a 5xx, and every answer is one that the document tells of: its status, its
type, its headers, its content.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.generation import GenerationMode

import headwater as hw
from headwater.run.live import Live
from serve.fuzzing import fuzzing

load_all_checks()
_CHECKED = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    ]
)
NAMES = st.sampled_from(["clicks", "ads", "spend", "SPEND", "spend$late", "nowhere", None, None])
GROUPS = st.sampled_from(["billing", "audit", None])


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    app = hw.App("fuzzed")
    app.topic("clicks", "ad BIGINT, cost DOUBLE, ts TIMESTAMP", event_time="ts", partitions=2)
    app.table("ads", "ad BIGINT, name VARCHAR", key="ad")
    app.view(
        "spend", "SELECT name, sum(cost) AS cost FROM clicks JOIN ads USING (ad) GROUP BY name"
    )
    with app.start(listen="127.0.0.1:0") as live:
        live.send("ads", [{"ad": n, "name": f"ad {n}"} for n in range(5)])
        live.send("clicks", [{"ad": n % 5, "cost": 0.5, "ts": "2026-01-01"} for n in range(50)])
        live.settle()
        live.consumers.create("billing", "spend")
        live.consumers.create("audit", "clicks")
        yield live


OPERATIONS = [
    ("POST", "/topics/{name}"),
    ("GET", "/topics/{name}/rows"),
    ("GET", "/topics/{name}/schema"),
    ("POST", "/topics/{name}/schema"),
    ("GET", "/topics/{name}/producers"),
    ("GET", "/topics/{name}/rejected"),
    ("POST", "/topics/{name}/rejected"),
    ("GET", "/tables/{name}/row"),
    ("DELETE", "/tables/{name}/row"),
    ("GET", "/views/{name}"),
    ("GET", "/views/{name}/changes"),
    ("GET", "/consumers"),
    ("PUT", "/consumers/{group}/{name}"),
    ("GET", "/consumers/{group}/{name}"),
    ("POST", "/consumers/{group}/{name}/commit"),
    ("POST", "/consumers/{group}/{name}/release"),
    ("POST", "/consumers/{group}/{name}/seek"),
    ("DELETE", "/consumers/{group}/{name}"),
    ("POST", "/sql"),
    ("GET", "/status"),
    ("GET", "/metrics"),
    ("GET", "/healthz"),
]


# What is asked of them is right, whatever it is.
ALWAYS_RIGHT = ("/consumers", "/status", "/metrics", "/healthz", ("GET", "/topics/{name}/schema"))


def test_every_operation_is_fuzzed(live: Live) -> None:
    paths = httpx.get(f"{live.url}/openapi.json", trust_env=False).json()["paths"]

    told = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert told <= set(OPERATIONS), "add what is new"


def asked() -> Iterator[Any]:
    for method, path in OPERATIONS:
        yield pytest.param(method, path, GenerationMode.POSITIVE, id=f"{method} {path}")
        # What has no parameter, or any text for one, cannot be asked wrongly.
        if path not in ALWAYS_RIGHT and method != "DELETE" and (method, path) not in ALWAYS_RIGHT:
            yield pytest.param(method, path, GenerationMode.NEGATIVE, id=f"{method} {path}, wrong")


@pytest.mark.parametrize(("method", "path", "mode"), list(asked()))
def test_every_answer_is_one_that_the_document_tells_of(
    live: Live, method: str, path: str, mode: GenerationMode
) -> None:
    schema = schemathesis.openapi.from_url(f"{live.url}/openapi.json")
    cases = schema[path][method].as_strategy(generation_mode=mode)

    @fuzzing(12)
    @given(case=cases, name=NAMES, group=GROUPS)
    def ask(case: Any, name: str | None, group: str | None) -> None:
        for key, value in (("name", name), ("group", group)):
            if value is not None and key in (case.path_parameters or {}):
                case.path_parameters[key] = value
        hurried(case, path)
        response = case.call(timeout=30)
        case.validate_response(response, checks=_CHECKED)

    ask()


def hurried(case: Any, path: str) -> None:
    """Streams do end, and nobody waits a minute."""
    query = case.query if isinstance(case.query, dict) else {}
    if path.endswith("/changes") and query.get("format") in (None, "sse"):
        query["format"] = "ndjson"
        case.query = query
    if "wait" in query and str(query["wait"]).replace(".", "").isdigit():
        query["wait"] = 0.01
