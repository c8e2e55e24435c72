"""Make the golden folder of today's formats, once.

    PYTHONPATH=tests python -m golden.write 2

A folder that is there is never written again: what does not read it any more needs a new format
number, and a reader for the old one.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

from golden.shop import Shop, told, write

FOLDERS = Path(__file__).parent / "folders"


def main() -> None:
    """The command line."""
    folder = FOLDERS / sys.argv[1]
    if folder.exists():
        sys.exit(f"{folder} is there already: a golden folder is written once")
    data = folder / "data"
    data.mkdir(parents=True)
    write(data)
    shop = Shop(data, is_evolved=True)
    answers = told(shop)
    shop.close()
    written_by = {name: version(name) for name in ("pyarrow", "duckdb")}
    text = json.dumps({"written_by": written_by, "answers": answers}, indent=1)
    (folder / "told.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
