"""The documentation is true: its examples run, and what can be named is named.

- A `python` block is run; blocks of a page share their names. A `text` block right behind one is
  what it prints.
- A `sql` block of CREATE statements is declared and planned, all of a page in one pipeline; a
  SELECT is answered over it.
- A `headwater` line in a `sh` block is one that the command line takes.
- Endpoints, metrics, options, commands and public methods each stand on their page.
"""

from __future__ import annotations

import importlib.util
import inspect
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import typer.main

from headwater.cli.main import app as command_line
from headwater.remote.remote import Remote
from headwater.run.app import App
from headwater.run.live import Live
from headwater.runtime.consumer import Batch, Consumer
from headwater.serve import metrics
from headwater.serve.app import create_app
from headwater.sql.statements import TOPIC_OPTIONS, VIEW_OPTIONS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!http)([^)#]+)(?:#([^)]*))?\)")


def blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def pages_with(language: str) -> list[Any]:
    found = [page for page in PAGES if any(name == language for name, _ in blocks(page))]
    return [pytest.param(page, id=page.name) for page in found]


@pytest.mark.parametrize("page", pages_with("python"))
def test_python_examples_run_and_print_what_is_shown(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "example"}
    all_blocks = blocks(page)
    for number, (language, text) in enumerate(all_blocks):
        if language != "python":
            continue
        printed = StringIO()
        with redirect_stdout(printed):
            exec(compile(text, f"{page.name}, block {number}", "exec"), names)
        follower = all_blocks[number + 1] if number + 1 < len(all_blocks) else ("", "")
        if printed.getvalue() or (follower[0] == "text" and _is_next_to(page, text, follower[1])):
            assert printed.getvalue() == follower[1]


def _is_next_to(page: Path, first: str, second: str) -> bool:
    return f"{first}```\n\n```text\n{second}" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", pages_with("sql"))
def test_sql_examples_are_a_pipeline_that_starts_and_answers(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app, questions = App("docs"), []
    for language, text in blocks(page):
        if language == "sql" and text.lstrip().upper().startswith("CREATE"):
            app.sql(text, source=page.name)
        elif language == "sql":
            questions.append(text)

    with app.start(listen=None) as live:
        for question in questions:
            live.query(question.strip().removesuffix(";"))


def headwater_lines() -> Iterator[Any]:
    for page in PAGES:
        for language, text in blocks(page):
            for line in text.splitlines() if language == "sh" else ():
                _, found, arguments = line.partition("headwater ")
                if found:
                    yield pytest.param(arguments, id=arguments)


@pytest.mark.parametrize("arguments", list(headwater_lines()))
def test_commands_in_the_docs_are_ones_that_the_command_line_takes(arguments: str) -> None:
    name, *rest = shlex.split(arguments.partition(" | ")[0])
    command = typer.main.get_command(command_line).commands[name]  # type: ignore[attr-defined]

    command.make_context(name, rest)


def test_the_reference_of_the_command_line_is_what_the_program_says() -> None:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "tools" / "cli_reference.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    written = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")

    assert written == module.reference(), "run: python tools/cli_reference.py"


def test_every_endpoint_is_documented() -> None:
    page = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
    paths: dict[str, dict[str, Any]] = create_app(None, title="docs").openapi()["paths"]  # type: ignore[arg-type]

    missing = [
        f"{method.upper()} {path}"
        for path, methods in paths.items()
        for method in methods
        if f"`{method.upper()} {path}`" not in page
    ]

    assert not missing


def test_every_metric_is_documented_with_its_meaning() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    every = (
        *metrics.PIPELINE,
        *metrics.TOPIC,
        *metrics.PRODUCER,
        *metrics.VIEW,
        *metrics.SINK,
        *metrics.CONSUMER,
    )

    assert not [m.name for m in every if f"`headwater_{m.name}` |" not in page]
    assert not [m.name for m in every if f"| {m.help} |" not in page]


@pytest.mark.parametrize("of", [App, Live, Remote, Consumer, Batch])
def test_every_public_method_and_its_arguments_are_documented(of: type) -> None:
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    name = of.__name__.lower()
    missing = []
    for method, value in vars(of).items():
        if method.startswith("_") or method in ("pipeline", "compile", "send_bytes"):
            continue
        words = list(inspect.signature(value).parameters)[1:] if inspect.isfunction(value) else []
        missing += [f"{method}({word})" for word in words if not re.search(rf"\b{word}\b", page)]
        missing += [] if f"{name}.{method}" in page else [method]

    assert not missing


def test_every_option_of_a_definition_is_documented() -> None:
    page = (ROOT / "docs" / "sql.md").read_text(encoding="utf-8")

    assert not [name for name in (*TOPIC_OPTIONS, *VIEW_OPTIONS) if f"`{name}`" not in page]


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        found = page.parent / target
        assert found.exists(), f"{page.name} links to {target}"
        if anchor:
            heads = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [
                re.sub(r"[^\w ]", "", h).strip().lower().replace(" ", "-") for h in heads
            ]


def test_the_first_pipeline_of_the_readme_is_an_example_that_can_be_run() -> None:
    first = next(text for language, text in blocks(ROOT / "README.md") if language == "python")
    example = (ROOT / "examples" / "clicks.py").read_text(encoding="utf-8")

    assert first.strip() in example


@pytest.mark.parametrize("example", ["clicks.py", "flights.py"])
def test_examples_can_be_explained(example: str) -> None:
    code = "from headwater.cli.main import main; main()"
    shown = subprocess.run(
        [sys.executable, "-c", code, "explain", str(ROOT / "examples" / example)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.strip()
