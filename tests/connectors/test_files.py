"""Rows in files come out in bodies that together hold every record once, cut between records."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import zlib
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from headwater.connectors import files
from headwater.connectors.files import Form, Sent, form_of, opened
from headwater.errors import DefinitionError


def bodies(path: Path, form: Form | None = None) -> list[bytes]:
    with opened(path, form) as rows:
        return [batch.body for batch in rows.batches]


def tables(path: Path) -> pa.Table:
    return pa.concat_tables(pa.ipc.open_stream(body).read_all() for body in bodies(path))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BATCH_BYTES", 7)
    monkeypatch.setattr(files, "BATCH_ROWS", 3)


@pytest.mark.usefixtures("small_blocks")
def test_ndjson_is_cut_between_lines_and_kept_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "rows.ndjson"
    path.write_bytes(b'{"a": 1}\n\n{"a": 22222222222}\n{broken\n{"a": 3}')

    parts = bodies(path)

    assert len(parts) > 1
    assert [line for part in parts for line in part.split(b"\n") if line] == [
        line for line in path.read_bytes().split(b"\n") if line
    ]


@pytest.mark.usefixtures("small_blocks")
def test_every_csv_body_has_the_header_and_whole_records(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    rows = [["1", "one"], ["2", 'two\nlines, and a "quote"'], ["3", ""], ["4", "\n\n"]]
    with path.open("w", newline="") as out:
        csv.writer(out).writerows([["id", "a\nname"], *rows])

    parts = [list(csv.reader(io.StringIO(body.decode(), newline=""))) for body in bodies(path)]

    assert len(parts) > 1
    assert all(part[0] == ["id", "a\nname"] for part in parts)
    assert [row for part in parts for row in part[1:]] == rows


def test_a_header_without_rows_sends_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("id,name\n")

    assert bodies(path) == []


def test_json_is_one_body(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"a": 1}, {"a": 2}], indent=2))

    assert bodies(path) == [path.read_bytes()]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".arrows", ".feather"])
def test_columnar_files_become_streams_of_the_same_rows(tmp_path: Path, suffix: str) -> None:
    table, path = pa.table({"a": range(10), "b": list("abcdefghij")}), tmp_path / f"rows{suffix}"
    if suffix == ".parquet":
        parquet.write_table(table, path)
    elif suffix == ".arrows":
        with pa.ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table)
    else:
        feather.write_feather(table, path, compression="uncompressed")

    assert tables(path).equals(table)


def test_the_progress_ends_at_the_total(tmp_path: Path) -> None:
    path = tmp_path / "rows.ndjson"
    path.write_bytes(b'{"a": 1}\n' * 5)

    with opened(path, None) as rows:
        assert [batch.taken for batch in rows.batches][-1] == rows.total == 45


def test_a_suffix_that_says_nothing_is_refused_with_the_formats(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"rows\.txt") as failure:
        form_of(tmp_path / "rows.txt", None)
    assert "--format" in str(failure.value.hint)
    assert form_of(tmp_path / "rows.txt", Form.CSV) is Form.CSV
    assert form_of(None, None) is Form.NDJSON


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_a_file_that_is_not_what_its_suffix_says_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(b"these are no columns")

    with pytest.raises(DefinitionError):
        bodies(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="No such file"):
        bodies(tmp_path / "none.csv")


@pytest.mark.usefixtures("small_blocks")
def test_a_stray_quote_does_not_hold_the_rest_of_the_file_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "RECORD_BYTES_MAX", 40)
    path = tmp_path / "rows.csv"
    path.write_text("id,size\n" + '1,5" pipe\n' + "2,none\n" * 50)

    parts = bodies(path)

    assert len(parts) > 3
    assert b"".join(part.removeprefix(b"id,size\n") for part in parts).count(b"\n") == 51


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("suffix", ["arrow", "parquet", "csv", "ndjson"])
def test_progress_ends_at_the_total(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows.{suffix}"
    rows = pa.table({"a": list(range(8))})
    if suffix == "arrow":
        feather.write_feather(rows, path, compression="uncompressed")
    elif suffix == "parquet":
        parquet.write_table(rows, path)
    else:
        path.write_text("a\n1\n2\n3\n4\n5\n" if suffix == "csv" else '{"a": 1}\n{"a": 2}\n')

    with opened(path, None) as source:
        taken = [batch.taken for batch in source.batches]

    assert len(taken) > 1
    assert taken == sorted(taken)
    assert taken[-1] == source.total


@pytest.mark.parametrize(
    ("text", "form"), [(' [{"a": 1}]', "json"), ('{"a": 1}\n', "ndjson"), ("", "ndjson")]
)
def test_what_comes_through_a_pipe_is_looked_at(text: str, form: str) -> None:
    code = (
        "from headwater.connectors.files import opened\n"
        "with opened(None, None) as rows:\n"
        "    print(rows.form, sum(len(batch.body) for batch in rows.batches))\n"
    )
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == [form, str(len(text))]


# Going on where an input was sent to.


def batches(path: Path, sent: Sent | None = None) -> list[files.Batch]:
    with opened(path, None, sent) as rows:
        return list(rows.batches)


def text_of(parts: list[files.Batch], header: bytes) -> bytes:
    return b"".join(part.body.removeprefix(header) for part in parts)


@pytest.mark.parametrize("again", [3, 7, 11, 1000])
@pytest.mark.parametrize("suffix", ["csv", "ndjson"])
def test_text_goes_on_after_any_batch_however_it_is_cut_then(
    suffix: str, again: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = b"id,text\n" if suffix == "csv" else b""
    lines = [b'1,"a\nb"\n', b"\n", b"\n\n", b"2,c\n", b'3,"""\n"\n', b"\n", b"4,d"]
    path = tmp_path / f"rows.{suffix}"
    path.write_bytes(header + b"".join(lines))
    monkeypatch.setattr(files, "BATCH_BYTES", 7)
    whole, before = batches(path), 0
    assert len(whole) > 3

    for number, batch in enumerate(whole):
        monkeypatch.setattr(files, "BATCH_BYTES", again)
        sent = Sent(before, batch.taken, zlib.crc32(batch.body))
        rest = batches(path, sent)
        assert text_of(rest, header) == text_of(whole[number + 1 :], header)
        assert all(part.body.startswith(header) for part in rest)
        assert [part.taken for part in rest[-1:]] == [whole[-1].taken] * (batch != whole[-1])
        before = batch.taken


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("suffix", ["parquet", "arrow", "json"])
def test_other_files_go_on_after_any_batch(suffix: str, tmp_path: Path) -> None:
    table, path = pa.table({"a": range(8)}), tmp_path / f"rows.{suffix}"
    if suffix == "parquet":
        parquet.write_table(table, path)
    elif suffix == "arrow":
        feather.write_feather(table, path, compression="uncompressed")
    else:
        path.write_text(json.dumps(table.to_pylist()))
    whole, before = batches(path), 0

    for number, batch in enumerate(whole):
        sent = Sent(before, batch.taken, zlib.crc32(batch.body))
        assert batches(path, sent) == whole[number + 1 :]
        before = batch.taken


def test_what_has_grown_goes_on_where_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "rows.ndjson"
    path.write_bytes(b'{"a": 1}\n')
    sent = Sent(0, 9, zlib.crc32(path.read_bytes()))
    path.write_bytes(b'{"a": 1}\n{"a": 2}\n')

    assert [batch.body for batch in batches(path, sent)] == [b'{"a": 2}\n']


@pytest.mark.parametrize("suffix", ["csv", "ndjson", "json", "parquet", "arrow"])
def test_another_input_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows.{suffix}"
    if suffix == "parquet":
        parquet.write_table(pa.table({"a": [1]}), path)
    elif suffix == "arrow":
        feather.write_feather(pa.table({"a": [1]}), path, compression="uncompressed")
    else:
        path.write_bytes(b'{"a": 1}\n{"a": 2}\n')

    for sent in (Sent(0, 9, zlib.crc32(b"other")), Sent(0, 1, None), Sent(3, 900, 7)):
        with pytest.raises(DefinitionError, match="does not begin with"):
            batches(path, sent)


def test_a_pipe_goes_on_too() -> None:
    body = b'{"a": 1}\n{"a": 2}\n'
    code = (
        "from headwater.connectors.files import Sent, opened\n"
        f"with opened(None, None, Sent(0, 9, {zlib.crc32(body[:9])})) as rows:\n"
        "    print(b''.join(batch.body for batch in rows.batches).decode())\n"
    )
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, input=body, capture_output=True, check=True)
    assert ended.stdout.strip() == b'{"a": 2}'
