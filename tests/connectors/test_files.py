"""Rows in files come out in bodies that together hold every record once, cut between records."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from headwater.connectors import files
from headwater.connectors.files import Form, form_of, opened
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
