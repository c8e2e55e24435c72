"""A sink's definition is checked before anything runs, and other packages may add kinds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import headwater as hw
from headwater.errors import DefinitionError
from headwater.plan.pipeline import SinkDefinition
from headwater.run.connect import CONNECTORS, checked_options

ROOT = Path(__file__).parent.parent.parent


def shop(sink: str) -> hw.App:
    app = hw.App("shop")
    app.topic("sales", "item VARCHAR, price BIGINT")
    app.view("totals", "SELECT item, sum(price) AS total FROM sales GROUP BY item")
    app.sql(f"CREATE SINK kept FROM totals INTO {sink}")
    return app


@pytest.mark.parametrize(
    ("sink", "message", "hint"),
    [
        ("paper (path = 'x')", "no connector paper", "there are: delta, duckdb, parquet"),
        ("duckdb (file = 'x')", "has no option file", "its options are: every, key, mode, path"),
        ("duckdb (table = 'x')", "has no path", "path = 'totals.duckdb'"),
        ("postgres (table = 'x')", "has no dsn or dsn_env", "dsn = 'postgresql://"),
        ("duckdb (path = 'x', mode = 'upside')", "mode is upside", "one of: content, changes"),
        ("duckdb (path = 'x', rows_max = 'many')", "rows_max is many", "a whole number"),
        ("duckdb (path = 'x', key = 'item, day')", "no column day", "its columns are: item, total"),
        ("duckdb (path = '${NOT_SET_HERE}')", "NOT_SET_HERE, which is not set", "export NOT_SET"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(
    sink: str, message: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(DefinitionError) as failure:
        shop(sink).start(tmp_path, listen=None)

    assert message in failure.value.message
    assert hint in str(failure.value.hint)


@pytest.mark.parametrize(
    "settings",
    [
        hw.sinks.Parquet("x"),
        hw.sinks.DuckDB("x"),
        hw.sinks.Postgres("dbname=x"),
        hw.sinks.Delta("x"),
    ],
)
def test_python_and_sql_have_the_same_options_and_defaults(
    settings: hw.sinks.SinkSettings,
) -> None:
    said = settings.options()
    given = {name: value for name, value in said.items() if name in ("path", "dsn")}

    by_python = checked_options(SinkDefinition("s", "v", settings.connector, said))
    by_sql = checked_options(SinkDefinition("s", "v", settings.connector, given))

    assert by_python == by_sql


def test_every_option_is_documented() -> None:
    page = (ROOT / "docs" / "sinks.md").read_text(encoding="utf-8")

    options = {option for connector in CONNECTORS.values() for option in connector.defaults}
    assert not [option for option in options if f"`{option}`" not in page]
    assert not [name for name in CONNECTORS if f"INTO {name} (" not in page]


def test_a_client_that_is_not_installed_is_named_with_what_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "headwater.connectors.postgres", raising=False)

    with pytest.raises(DefinitionError, match="psycopg, which is not installed") as failure:
        shop("postgres (dsn = 'dbname=x')").start(tmp_path, listen=None)
    assert failure.value.hint == "pip install 'headwater[postgres]'"


def test_a_package_offers_a_sink_by_an_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    information = tmp_path / "paper-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: paper\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[headwater.sinks]\npaper = paper:connector\n")
    (tmp_path / "paper.py").write_text(
        "from headwater.run.connect import Connector\n"
        "written = []\n"
        "class Paper:\n"
        "    def position(self): return sum(table.num_rows for table in written)\n"
        "    def write(self, changes, offset_from, offset_to): written.append(changes)\n"
        "    def close(self): pass\n"
        "connector = Connector(lambda followed, options: Paper(),\n"
        "    {'size': 'A4', 'rows_max': '10', 'every': '1 ms'}, {}, 'burn it')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    with shop("paper (size = 'A5')").start(tmp_path / "data", listen=None) as live:
        live.send("sales", [{"item": "tea", "price": 2}])
        live.settle()

    import paper  # type: ignore[import-not-found]

    assert [row["total"] for table in paper.written for row in table.to_pylist()] == [2]
