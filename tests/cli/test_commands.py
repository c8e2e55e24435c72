"""The commands that talk to a pipeline, against a real one over HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet
from typer.testing import CliRunner, Result

from headwater.cli.client import Client
from headwater.cli.main import app as command_line
from headwater.connectors import files
from headwater.errors import ConnectorError, DefinitionError, HeadwaterError
from headwater.run.app import App
from headwater.run.live import Live

SHOP = """
    CREATE TOPIC sales (item VARCHAR NOT NULL, price DECIMAL(9, 2), ts TIMESTAMP,
                        WATERMARK FOR ts AS ts - INTERVAL '1 minute') WITH (partitions = 2);
    CREATE TABLE items (item VARCHAR PRIMARY KEY, category VARCHAR);
    CREATE VIEW totals AS SELECT item, count(*) AS n, sum(price) AS total FROM sales GROUP BY item;
    CREATE VIEW hours AS
    SELECT window_start, count(*) AS n FROM TUMBLE(sales, ts, INTERVAL '1 hour')
    GROUP BY window_start, window_end EMIT FINAL;
"""
ROWS = b"""\
{"item": "tea", "price": "2.50", "ts": "2026-01-01T10:00:00"}
{"item": "milk", "price": "1.00", "ts": "2026-01-01T10:00:01"}
{"item": "tea", "price": "2.50", "ts": "2026-01-01T10:00:02"}
"""
Run = Callable[..., Result]


@pytest.fixture
def live() -> Iterator[Live]:
    shop = App("shop")
    shop.sql(SHOP)
    with shop.start(listen="127.0.0.1:0") as running:
        yield running


@pytest.fixture
def run(live: Live) -> Run:
    """Runs a command against the shop; an error of ours is raised."""

    def invoke(*arguments: str, stdin: bytes = b"") -> Result:
        result = CliRunner().invoke(command_line, [*arguments, "--to", live.url or ""], input=stdin)
        if isinstance(result.exception, HeadwaterError):
            raise result.exception
        live.settle()
        return result

    return invoke


def test_rows_from_stdin_are_taken_and_counted(run: Run, live: Live) -> None:
    sent = run("send", "sales", stdin=ROWS)

    assert (sent.exit_code, sent.stdout) == (0, "sales: 3 accepted\n")
    assert live.query("SELECT * FROM totals ORDER BY item")["n"].to_pylist() == [1, 2]


@pytest.mark.parametrize("suffix", [".ndjson", ".json", ".csv", ".parquet", ".arrow"])
def test_files_of_every_kind_are_sent(run: Run, live: Live, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"items{suffix}"
    table = pa.table({"item": ["tea", "milk"], "category": ["drinks", None]})
    if suffix == ".parquet":
        parquet.write_table(table, file)
    elif suffix == ".arrow":
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    else:
        rows = table.to_pylist()
        texts = {
            ".ndjson": "".join(json.dumps(row) + "\n" for row in rows),
            ".json": json.dumps(rows),
            ".csv": "item,category\ntea,drinks\nmilk,\n",
        }
        file.write_text(texts[suffix])

    sent = run("send", "items", str(file))

    assert (sent.exit_code, sent.stdout) == (0, "items: 2 accepted\n")
    found = live.query("SELECT item, category FROM items ORDER BY item DESC")
    assert found.to_pylist() == table.to_pylist()


def test_rejected_rows_are_told_by_their_number_in_the_whole_input(
    run: Run, live: Live, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(files, "BATCH_BYTES", 100)
    file = tmp_path / "sales.ndjson"
    wrong = [{"item": None, "price": 1}, {"item": "tea", "price": "a lot"}]
    lines = b"".join(json.dumps(row | {"ts": "2026-01-01"}).encode() + b"\n" for row in wrong)
    file.write_bytes(ROWS + lines + ROWS)

    sent = run("send", "sales", str(file))

    assert sent.exit_code == 1
    assert sent.stdout == "sales: 6 accepted, 2 rejected\n"
    told = [line for line in sent.stderr.splitlines() if line.startswith("  row")]
    assert [line.split(":")[0] for line in told] == ["  row 4", "  row 5"]
    assert "a lot" in told[1]
    assert "sales$rejected" in sent.stderr
    assert live.query("SELECT count(*) AS n FROM sales$rejected")["n"].to_pylist() == [2]


def test_a_batch_of_which_nothing_is_taken_is_told_in_the_same_way(run: Run) -> None:
    sent = run("send", "sales", stdin=b'{"item": "tea"}\n')

    assert (sent.exit_code, sent.stdout) == (1, "sales: 0 accepted, 1 rejected\n")
    assert "row 1: price: column price is missing" in sent.stderr


def test_an_unknown_topic_is_refused_with_the_near_one(run: Run) -> None:
    with pytest.raises(DefinitionError, match="sale") as failure:
        run("send", "sale", stdin=ROWS)

    assert "sales" in str(failure.value.hint)


def test_a_question_is_answered_in_every_format(run: Run) -> None:
    run("send", "sales", stdin=ROWS)
    question = "SELECT item, n, total FROM totals ORDER BY item"

    answers = {f: run("query", question, "--format", f).stdout for f in ("csv", "ndjson", "json")}
    table = run("query", question).stdout

    assert answers["csv"].replace('"', "") == "item,n,total\nmilk,1,1.00\ntea,2,5.00\n"
    assert [json.loads(line)["n"] for line in answers["ndjson"].splitlines()] == [1, 2]
    assert [row["item"] for row in json.loads(answers["json"])["rows"]] == ["milk", "tea"]
    assert [line.rstrip() for line in table.splitlines()] == [
        "item  n  total",
        "milk  1   1.00",
        "tea   2   5.00",
        "2 rows",
    ]


def test_a_question_can_come_from_stdin(run: Run) -> None:
    assert run("query", "-", "--format", "ndjson", stdin=b"SELECT 1 AS n").stdout == '{"n":1}\n'


def test_a_wrong_question_says_what_is_wrong(run: Run) -> None:
    with pytest.raises(DefinitionError, match="total_") as failure:
        run("query", "SELECT * FROM total_")

    assert "totals" in str(failure.value.hint)


def test_tail_shows_a_views_changes_signed(run: Run, live: Live) -> None:
    for line in ROWS.splitlines():
        live.send("sales", line)
        live.settle()

    shown = run("tail", "totals", "--from", "0", "--no-follow").stdout

    assert [line.rstrip() for line in shown.splitlines()] == [
        "  item  n  total",
        "+ tea   1   2.50",
        "+ milk  1   1.00",
        "- tea   1   2.50",
        "+ tea   2   5.00",
    ]


def test_tail_shows_the_last_rows_unless_told_where_to_begin(run: Run, live: Live) -> None:
    live.send("items", [{"item": f"{n:02}", "category": "x"} for n in range(30)])

    assert len(run("tail", "items", "--no-follow").stdout.splitlines()) == 11
    assert len(run("tail", "items", "--from", "5", "--no-follow").stdout.splitlines()) == 26


def test_tail_follows_until_the_limit(run: Run, live: Live) -> None:
    live.send("sales", ROWS)
    live.settle()

    assert len(run("tail", "totals", "--limit", "2").stdout.splitlines()) == 3
    assert len(run("tail", "sales", "--limit", "2").stdout.splitlines()) == 3


def test_tail_reads_every_partition(run: Run, live: Live) -> None:
    live.send("sales", ROWS, partition=0)
    live.send("sales", ROWS, partition=1)

    assert len(run("tail", "sales", "--from", "0", "--no-follow").stdout.splitlines()) == 7


def test_tail_of_an_unknown_name_lists_what_there_is(run: Run) -> None:
    with pytest.raises(DefinitionError) as failure:
        run("tail", "nothing")

    assert failure.value.hint == "there are: totals, hours, sales, items"


def test_status_says_what_a_window_waits_for(run: Run, live: Live) -> None:
    for partition in (0, 1):
        live.send("sales", ROWS, partition=partition)
    live.settle()

    shown = run("status").stdout

    for word in ("shop", "sales", "items", "totals", "hours", "2026-01-01"):
        assert word in shown
    assert "hours waits for" in shown


def test_status_is_json_for_programs(run: Run) -> None:
    told = json.loads(run("status", "--json").stdout)

    assert [view["name"] for view in told["views"]] == ["totals", "hours"]


def test_something_else_than_a_pipeline_is_told_from_one() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{other.server_port}"
        result = CliRunner().invoke(command_line, ["status", "--to", url])
        other.shutdown()

    assert isinstance(result.exception, ConnectorError)
    assert "no pipeline answers there, but something else" in str(result.exception)


def test_consumers_are_listed_put_elsewhere_and_removed(live: Live, run: Run) -> None:
    run("send", "sales", "--format", "ndjson", stdin=ROWS)
    live.consumers.create("audit", "totals", "now")

    run("consumers", "billing", "sales", "--reset", "start")
    listed = run("consumers").stdout.splitlines()

    assert [line.split()[:4] for line in listed[1:]] == [
        ["audit", "totals", "2", "0"],
        ["billing", "sales", "0", "0"],
    ]
    assert "billing" in run("status").stdout
    (told,) = json.loads(
        run("consumers", "billing", "SALES", "--reset", "2", "--json").stdout,
    )
    assert (told["positions"], told["lag"]) == ([2, 0], 1)
    assert "audit" not in run("consumers", "audit", "totals", "--remove").stdout
    assert run("consumers", "billing", "--remove").exit_code == 2


# Under a name.


def test_a_file_sent_again_under_its_name_goes_on_where_it_was(
    run: Run, live: Live, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(files, "BATCH_BYTES", 100)
    file = tmp_path / "sales.ndjson"
    file.write_bytes(ROWS)
    first = run("send", "sales", str(file), "--producer", "till")
    file.write_bytes(ROWS + ROWS)
    grown = run("send", "sales", str(file), "--producer", "till")
    same = run("send", "sales", str(file), "--producer", "till")

    size = len(ROWS)
    assert first.stdout == "sales: 3 accepted\n"
    assert grown.stdout == f"sales: 3 accepted; the first {size} bytes were sent before\n"
    assert same.stdout == f"sales: 0 accepted; the first {2 * size} bytes were sent before\n"
    assert live.query("SELECT count(*) AS n FROM sales")["n"].to_pylist() == [6]


def test_a_send_that_was_killed_goes_on(
    run: Run, live: Live, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(files, "BATCH_BYTES", 100)
    file = tmp_path / "sales.csv"
    rows = [f"item{n},{n},2026-01-01T10:00:00\n" for n in range(40)]
    file.write_text("item,price,ts\n" + "".join(rows))
    post = Client.post

    def killed_after(count: int) -> Callable[..., object]:
        left = iter(range(count))

        def send(*arguments: object, **more: object) -> object:
            answer = post(*arguments, **more)  # type: ignore[arg-type]
            if next(left, None) is None:
                raise KeyboardInterrupt  # taken by the pipeline, and the answer is lost
            return answer

        return send

    for count in (0, 2, 5):
        monkeypatch.setattr(Client, "post", killed_after(count))
        monkeypatch.setattr(files, "BATCH_BYTES", 90 + count)
        run("send", "sales", str(file), "--producer", "till")
    monkeypatch.setattr(Client, "post", post)
    ended = run("send", "sales", str(file), "--producer", "till")

    assert "sent before" in ended.stdout
    assert live.rows("sales")["item"].to_pylist() == [f"item{n}" for n in range(40)]


def test_another_file_under_the_same_name_is_refused(run: Run, live: Live, tmp_path: Path) -> None:
    file = tmp_path / "sales.ndjson"
    file.write_bytes(ROWS)
    run("send", "sales", str(file), "--producer", "till")
    file.write_bytes(ROWS.replace(b"tea", b"jam") + ROWS)

    with pytest.raises(DefinitionError, match="does not begin with what was sent before"):
        run("send", "sales", str(file), "--producer", "till")

    assert live.query("SELECT count(*) AS n FROM sales")["n"].to_pylist() == [3]


def test_the_status_shows_who_sends_and_that_the_counts_add_up(run: Run, live: Live) -> None:
    line = ROWS.splitlines()[0]
    for sequence in (4, 4, 9):
        live.send("sales", line + b"\nnone\n", producer="till", sequence=sequence, partition=1)

    shown = [row.split() for row in run("status").stdout.splitlines()]

    assert ["sales", "2", "2", "2"] in [row[:4] for row in shown]
    assert ["till", "sales/1", "6", "2", "2", "2", "9"] in [row[:7] for row in shown]


# Rejected rows.

BAD = b"""\
{"item": "tea", "price": "a lot", "ts": null}
{"item": "jam", "price": "much", "ts": null}
{"item": "jam", "price":
"""


def test_rejected_rows_are_grouped_by_reason_and_listed(run: Run, live: Live) -> None:
    live.send("sales", BAD + ROWS)

    shown = run("rejected", "sales").stdout

    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert lines[0] == "sales: 3 rejected rows wait, of 3"
    assert any(line.startswith("2 price") for line in lines)
    assert any("0" in line and '"a lot"' in line for line in lines)
    assert "--send" in shown
    assert run("rejected", "items").stdout == "items: 0 rejected rows wait, of 0\n"


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_rejected_rows_are_exported_mended_and_sent_once(
    run: Run, live: Live, tmp_path: Path, form: str
) -> None:
    csv = b'item,price,ts\ntea,a lot,\n"j,m",much,\n'
    file = tmp_path / f"bad.{form}"
    live.send("sales", csv if form == "csv" else BAD, form=form, partition=1)
    count = 2 if form == "csv" else 3

    told = run("rejected", "sales", "--export", str(file)).stdout
    if form == "csv":
        assert file.read_bytes() == csv
    else:
        assert file.read_bytes() == BAD
    file.write_bytes(file.read_bytes().replace(b"a lot", b"2.50"))
    arguments = told.splitlines()[-1].partition("headwater ")[2].split()
    assert arguments[-4:] == ["--offsets", f"0:{count}", "--partition", "1"]
    first, second = run(*arguments), run(*arguments)

    assert first.stdout == f"sales: 1 accepted, {count - 1} rejected again\n"
    assert first.exit_code == 1
    assert second.stdout == f"sales: 0 accepted, 0 rejected again, {count} were sent before\n"
    assert live.rows("sales", partition=1)["item"].to_pylist() == ["tea"]
    left = run("rejected", "sales").stdout
    assert left.startswith(f"sales: {count - 1} rejected rows wait, of {2 * count - 1}\n")


def test_rejected_rows_are_sent_again_as_they_came(run: Run, live: Live) -> None:
    live.send("sales", BAD)

    sent = run("rejected", "sales", "--send")

    assert sent.exit_code == 1
    assert sent.stdout == "sales: 0 accepted, 3 rejected again\n"
    assert run("rejected", "sales").stdout.startswith("sales: 3 rejected rows wait, of 6\n")
    assert run("rejected", "items", "--send").stdout == "items: 0 accepted, 0 rejected again\n"


def test_what_is_asked_of_rejected_rows_and_cannot_be_is_told(
    run: Run, live: Live, tmp_path: Path
) -> None:
    for partition in (0, 1):
        live.send("sales", BAD, partition=partition)
    file = str(tmp_path / "bad.ndjson")

    for arguments, match in (
        (["none"], "there is no topic or view none"),
        (["sales", "--export", file], "several partitions: 0, 1"),
        (["sales", "--repaired", file, "--offsets", "0:1"], "say what to send"),
        (["sales", "--send", "--repaired", file], "belong together"),
        (["sales", "--send", "--repaired", file, "--offsets", "x"], "no FROM:TO"),
        (["sales", "--send", "--repaired", file, "--offsets", "0:1"], "cannot be read"),
        (["totals", "--send"], "totals is a view"),
    ):
        with pytest.raises(DefinitionError, match=match):
            run("rejected", *arguments)


def test_rows_that_make_a_function_raise_are_listed_with_what_it_raised() -> None:
    app = App("poison")
    app.topic("sales", "n BIGINT")

    @app.function("(n BIGINT) -> BIGINT")
    def careful(values: pa.Array) -> pa.Array:
        if 13 in values.to_pylist():
            raise ValueError("13 is no luck")
        return values

    app.view("lucky", "SELECT careful(n) AS n FROM sales")
    with app.start(listen="127.0.0.1:0") as live:
        live.send("sales", [{"n": n} for n in (1, 13, 2, 13)])
        live.settle()
        arguments = ["rejected", "lucky", "--to", live.url or ""]
        shown = CliRunner().invoke(command_line, arguments).stdout

        assert live.query("FROM lucky")["n"].to_pylist() == [1, 2]
    assert shown.startswith("lucky: 2 rows failed\n")
    assert "ValueError: … is no luck" in shown
    assert shown.count("ValueError: 13 is no luck") == 2
    assert '{"n":13}' in shown
