"""How the command line begins and ends: help, usage errors, failures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from headwater.cli.main import app

COMMANDS = ("run", "explain", "demo", "send", "query", "tail", "status")
# A port that is reserved and where nothing listens.
NOWHERE = "http://127.0.0.1:1"


def headwater(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    code = "from headwater.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"])

    assert shown.exit_code == 0
    assert "Usage:" in shown.output


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from headwater.cli.main import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "heavy = ('pyarrow', 'duckdb', 'numpy', 'fastapi', 'sqlglot')\n"
        "print([name for name in heavy if name in sys.modules])"
    )

    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    assert loaded.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [
        ("query", "SELECT 1", "--to", NOWHERE),
        ("status", "--to", NOWHERE),
        ("tail", "spend", "--to", NOWHERE),
        ("send", "clicks", "--to", NOWHERE),
    ],
)
def test_without_a_pipeline_a_command_says_how_to_start_one(arguments: tuple[str, ...]) -> None:
    ended = headwater(*arguments, stdin='{"a": 1}\n')

    assert ended.returncode == 1
    assert f"nothing answers at {NOWHERE}" in ended.stderr
    assert "hint: start a pipeline: headwater run app.py" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not ended.stdout


def test_an_url_that_is_none_is_refused() -> None:
    ended = headwater("status", "--to", "ftp://x")

    assert ended.returncode == 1
    assert ended.stderr.startswith("ftp://x is no URL")


@pytest.mark.parametrize("arguments", [("nonsense",), ("query",), ("tail", "x", "--limit", "0")])
def test_a_wrong_use_exits_with_2(arguments: tuple[str, ...]) -> None:
    assert headwater(*arguments).returncode == 2


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    ended = headwater("explain", str(tmp_path / "none.py"))

    assert ended.returncode == 1
    assert f"there is no file {tmp_path / 'none.py'}" in ended.stderr


def test_the_version_is_the_packages() -> None:
    assert headwater("--version").stdout.startswith("headwater 0.")
