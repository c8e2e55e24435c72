"""`headwater run`, as a process of its own: started, asked, stopped, started again."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

from headwater.cli.client import Client

CODE = "from headwater.cli.main import main; main()"
SHOP = """
    CREATE TOPIC sales (item VARCHAR, price DECIMAL(9, 2));
    CREATE VIEW totals AS SELECT item, sum(price) AS total FROM sales GROUP BY item;
"""
ROWS = b'{"item": "tea", "price": "2.50"}\n{"item": "tea", "price": "1.50"}\n'


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", CODE, *map(str, arguments)]


@contextmanager
def running(*arguments: object) -> Iterator[tuple[Client, subprocess.Popen[str]]]:
    """A pipeline in the background, stopped with Ctrl-C at the end."""
    started = command("run", *arguments, "--listen", "127.0.0.1:0")
    process = subprocess.Popen(started, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        lines = []
        while not (found := re.search(r"http://\S+", "".join(lines))):
            lines.append(process.stderr.readline())
            assert lines[-1], f"it ended: {lines}"
        yield Client(found[0]), process
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=30)
        assert process.returncode == 0, rest
        assert "Traceback" not in rest
    finally:
        process.kill()
        process.communicate()


def totals(client: Client) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = client.get("/views/totals")["rows"]
    return rows


def test_a_pipeline_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    shop = tmp_path / "shop.sql"
    shop.write_text(SHOP)

    for round_ in (1, 2):
        with running(shop, "--data", tmp_path / "data") as (client, _):
            receipt = client.post("/topics/sales", ROWS, "application/x-ndjson")
            assert (receipt["accepted"], receipt["offset_first"]) == (2, 2 * (round_ - 1))

    with running(shop, "--data", tmp_path / "data") as (client, _):
        assert totals(client) == [{"item": "tea", "total": Decimal("8.00")}]


def test_a_second_process_on_the_folder_is_refused(tmp_path: Path) -> None:
    shop = tmp_path / "shop.sql"
    shop.write_text(SHOP)

    with running(shop, "--data", tmp_path / "data") as (_, process):
        second = subprocess.run(
            command("run", shop, "--data", tmp_path / "data", "--listen", "127.0.0.1:0"),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    assert second.returncode == 1
    assert f"in use by process {process.pid}" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_bounded_run_is_a_batch_job(tmp_path: Path) -> None:
    shop, rows = tmp_path / "shop.sql", tmp_path / "sales.ndjson"
    shop.write_text(SHOP + f"CREATE SINK lake FROM totals INTO parquet (path = '{tmp_path}/lake');")
    rows.write_bytes(ROWS)

    ended = subprocess.run(
        command("run", shop, "--bounded", "--data", tmp_path / "data", "--input", f"sales={rows}"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert list((tmp_path / "lake").glob("*.parquet"))


def test_an_input_that_names_no_topic_is_a_usage_error(tmp_path: Path) -> None:
    shop = tmp_path / "shop.sql"
    shop.write_text(SHOP)

    ended = subprocess.run(
        command("run", shop, "--input", "sales.csv"), capture_output=True, timeout=60, check=False
    )

    assert ended.returncode == 2
