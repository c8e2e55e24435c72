"""Find the pipeline that a file declares.

A Python file is run as a module (its `if __name__ == "__main__"` does not hold) and must leave one
`hw.App`, or one that is called `app`. A SQL file is a pipeline of the file's name.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headwater.errors import DefinitionError, HeadwaterError, Place

if TYPE_CHECKING:
    from headwater.run.app import App

AppFile = Annotated[
    Path,
    typer.Argument(metavar="APP", help="The pipeline: a .py file with an hw.App, or a .sql file."),
]


def load(file: Path) -> App:
    """The pipeline that `file` declares.

    Raises:
        DefinitionError: There is no such file, it fails, or it does not declare one pipeline.

    """
    if not file.is_file():
        raise DefinitionError(
            f"there is no file {file}", hint="name a .py or .sql file that declares a pipeline"
        )
    if file.suffix == ".sql":
        return _load_sql(file)
    if file.suffix == ".py":
        return _load_python(file)
    raise DefinitionError(
        f"{file} is neither Python nor SQL", hint="name a .py file with an hw.App, or a .sql file"
    )


def _load_sql(file: Path) -> App:
    from headwater.run.app import App

    app = App(file.stem)
    app.sql(file.read_text(encoding="utf-8"), source=str(file))
    return app


def _load_python(file: Path) -> App:
    from headwater.run.app import App

    names = _run(file)
    apps = {name: value for name, value in names.items() if isinstance(value, App)}
    if isinstance(apps.get("app"), App):
        return apps["app"]
    if len(set(map(id, apps.values()))) == 1:
        return next(iter(apps.values()))
    found = f"has several pipelines: {', '.join(apps)}" if apps else "declares no pipeline"
    raise DefinitionError(
        f"{file} {found}", hint='call the one to use `app`, as in app = hw.App("shop")'
    )


def _run(file: Path) -> dict[str, object]:
    """Run a Python file as a module; what it leaves, by name."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec and spec.loader, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    # As Python does for a script: the file's neighbours can be imported, and what looks itself up
    # by its module's name (dataclasses do) finds it.
    sys.path.insert(0, str(file.resolve().parent))
    sys.modules.setdefault(spec.name, module)
    try:
        spec.loader.exec_module(module)
    except HeadwaterError:
        raise
    except Exception as error:
        raise _told(file, error) from error
    return vars(module)


def _told(file: Path, error: Exception) -> DefinitionError:
    """An author's exception, at the place in the author's file."""
    text = file.read_text(encoding="utf-8", errors="replace")
    if isinstance(error, SyntaxError) and error.filename == str(file):
        line, message = error.lineno or 1, f"SyntaxError: {error.msg}"
    else:
        frames = traceback.extract_tb(error.__traceback__)
        line = next((f.lineno for f in reversed(frames) if f.filename == str(file)), None) or 1
        message = f"{type(error).__name__}: {error}"
    return DefinitionError(message, place=_line_place(text, line, str(file)))


def _line_place(text: str, line: int, source: str) -> Place:
    """The whole of a line, without its indent."""
    lines = text.splitlines(keepends=True)
    start = sum(map(len, lines[: line - 1]))
    content = lines[line - 1] if line <= len(lines) else ""
    indent = len(content) - len(content.lstrip())
    return Place(text, start + indent, start + max(len(content.rstrip()), indent + 1), source)
