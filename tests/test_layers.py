"""What may be imported and called where: the doors of the design.

`import-linter` checks who imports whom inside the package. Here stands what it cannot say: the
places where a library of others, a file or a clock may be used. A place is a path prefix under
`src/headwater`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "src" / "headwater"

# The library and the places where it is at home. Operators, the batch answer and connectors build
# the statements that they run as sqlglot trees; a store's client is in its connector; `run` makes
# the temporary folder of a pipeline that was given none.
LIBRARIES = {
    "duckdb": ("operators/", "state/", "replay/", "connectors/duckdb.py"),
    "sqlglot": ("sql/", "plan/", "deploy/", "operators/", "replay/", "connectors/"),
    "psycopg": ("connectors/postgres.py",),
    "deltalake": ("connectors/delta_lake.py",),
    "fastapi": ("serve/",),
    "starlette": ("serve/",),
    "uvicorn": ("serve/",),
    "typer": ("cli/",),
    "rich": ("cli/",),
    "time": ("clock.py",),
    "shutil": ("storage/",),
    "tempfile": ("storage/", "run/"),
    "mmap": ("storage/",),
    "fcntl": ("storage/",),
    "random": (),
}

# Calls that open, sync, rename or delete a file, and the places that may make them. What a
# connector opens are its user's own files (rows to send), never the data folder's.
FILE_CALLS = {
    # What the system says of itself is no data.
    "open": ("storage/", "connectors/files.py", "simd.py"),
    "os.open": ("storage/",),
    "os.fsync": ("storage/",),
    "os.rename": ("storage/",),
    "os.replace": ("storage/",),
    "os.remove": ("storage/",),
    "os.unlink": ("storage/",),
    "write_bytes": ("storage/",),
    "write_text": ("storage/",),
    "unlink": ("storage/",),
}

CLOCK_CALLS = {"datetime.now", "datetime.utcnow", "date.today", "datetime.today"}


def sources() -> list[str]:
    places = (str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))
    # `testing` owns disks, clocks and DuckDBs, and is imported by nothing that ships.
    return sorted(place for place in places if not place.startswith("testing/"))


def imported(tree: ast.AST) -> Iterator[str]:
    """The top-level name of every module that the file imports, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def called(tree: ast.AST) -> Iterator[str]:
    """Every called name: `open`, and for `a.b.c()` both `c` and `b.c`."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name):
            yield node.func.id
        elif isinstance(node.func, ast.Attribute):
            yield node.func.attr if node.func.attr != "open" else ".open"
            if isinstance(node.func.value, ast.Name):
                yield f"{node.func.value.id}.{node.func.attr}"


def outside(place: str, homes: tuple[str, ...]) -> bool:
    return not place.startswith(homes)


@pytest.mark.parametrize("place", sources())
def test_libraries_files_and_clocks_are_used_only_at_home(place: str) -> None:
    tree = ast.parse((PACKAGE / place).read_text(encoding="utf-8"))

    strays = [f"imports {m}" for m in imported(tree) if outside(place, LIBRARIES.get(m, ("",)))]
    calls = set(called(tree))
    strays += [f"calls {c}()" for c in calls if outside(place, FILE_CALLS.get(c, ("",)))]
    strays += [f"calls {c}()" for c in calls & CLOCK_CALLS if outside(place, ("clock.py",))]

    assert not strays


def test_a_stray_is_found() -> None:
    tree = ast.parse("def f():\n    import duckdb.x\n    from time import time\n    open('a')")

    assert set(imported(tree)) == {"duckdb", "time"}
    assert "open" in set(called(tree))
