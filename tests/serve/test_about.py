from __future__ import annotations

import re

import httpx
import pytest

from serve.memory import MemoryService

SAMPLE = re.compile(
    r'^(?P<name>[a-z_]+)\{(?P<labels>(?:[a-z]+="(?:[^"\\\n]|\\.)*",?)*)\} (?P<value>\S+)$'
)


def test_status_is_the_whole_pipeline(client: httpx.Client) -> None:
    status = client.get("/status").json()

    assert status["pipeline"] == "shop"
    assert [topic["name"] for topic in status["topics"]] == ["clicks", "campaigns"]
    assert status["topics"][0]["columns"][0] == ["ad", "BIGINT"]
    assert [view["inputs"] for view in status["views"]] == [["clicks"], ["per_ad", "campaigns"]]
    assert [sink["state"] for sink in status["sinks"]] == ["running", "disk full"]


def test_health_names_the_epoch(client: httpx.Client, service: MemoryService) -> None:
    assert client.get("/healthz").json() == {"status": "ok", "epoch": 0}

    service.problems = ("the sink ledger is paused",)

    assert client.get("/healthz").json()["status"] == "unwell"


def test_every_line_of_metrics_is_a_sample_of_a_declared_metric(client: httpx.Client) -> None:
    client.post("/topics/clicks", json=[{"ad": 7, "visitor": "a", "ts": "2026-01-01T00:00:00"}])

    answer = client.get("/metrics")

    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.text.endswith("\n")
    declared: dict[str, str] = {}
    for line in answer.text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert kind == ("counter" if name.endswith("_total") else "gauge")
            declared[name] = kind
        elif not line.startswith("# HELP "):
            sample = SAMPLE.match(line)
            assert sample, line
            assert sample["name"] in declared
            float(sample["value"])


@pytest.mark.parametrize(
    "line",
    [
        'headwater_epoch{pipeline="shop"} 1',
        'headwater_topic_rows_total{topic="clicks",kind="topic"} 1',
        'headwater_topic_rejected_rows_total{topic="clicks",kind="topic"} 1',
        'headwater_topic_watermark_seconds{topic="clicks",kind="topic"} 1767225600.0',
        'headwater_view_changes_total{view="per_ad"} 1',
        'headwater_sink_lag_rows{sink="ledger",source="per_campaign"} 9',
        'headwater_sink_running{sink="ledger",source="per_campaign"} 0',
        'headwater_sink_running{sink="lake",source="per_ad"} 1',
    ],
)
def test_metrics_say_what_the_status_says(client: httpx.Client, line: str) -> None:
    good = {"ad": 7, "visitor": "a", "ts": "2026-01-01T00:00:00"}
    client.post("/topics/clicks", json=[good, {}])

    assert line in client.get("/metrics").text.splitlines()


def test_a_watermark_that_is_not_known_is_left_out(client: httpx.Client) -> None:
    lines = client.get("/metrics").text.splitlines()

    assert not [line for line in lines if line.startswith("headwater_topic_watermark_seconds{")]


def test_a_label_is_escaped(client: httpx.Client, service: MemoryService) -> None:
    service.name = 'a "b"\\c\nd'

    assert 'headwater_epoch{pipeline="a \\"b\\"\\\\c\\nd"} 0' in client.get("/metrics").text
