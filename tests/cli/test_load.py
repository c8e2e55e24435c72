"""A file declares one pipeline; what is wrong in it is shown at its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.cli.load import load
from headwater.errors import DefinitionError

DECLARED = (
    'import headwater as hw\n{name} = hw.App("shop")\n{name}.topic("sales", "item VARCHAR")\n'
)


def write(folder: Path, text: str, name: str = "shop.py") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def topics(file: Path) -> list[str]:
    return [topic.name for topic in load(file).pipeline.topics]


@pytest.mark.parametrize("name", ["app", "shop"])
def test_the_only_app_is_found_whatever_its_name(tmp_path: Path, name: str) -> None:
    assert topics(write(tmp_path, DECLARED.format(name=name))) == ["sales"]


def test_of_several_the_one_called_app_is_meant(tmp_path: Path) -> None:
    file = write(tmp_path, DECLARED.format(name="app") + 'other = hw.App("other")\n')

    assert topics(file) == ["sales"]


def test_a_file_does_not_run_its_own_app(tmp_path: Path) -> None:
    text = DECLARED.format(name="app") + 'if __name__ == "__main__":\n    raise SystemExit(3)\n'

    assert topics(write(tmp_path, text)) == ["sales"]


def test_a_file_can_import_its_neighbour(tmp_path: Path) -> None:
    write(tmp_path, 'COLUMNS = "item VARCHAR"\n', "neighbour_of_shop.py")
    text = "import headwater as hw\nfrom neighbour_of_shop import COLUMNS\n"
    text += 'app = hw.App("shop")\napp.topic("sales", COLUMNS)\n'

    assert topics(write(tmp_path, text)) == ["sales"]


def test_a_sql_file_is_a_pipeline_of_its_name(tmp_path: Path) -> None:
    file = write(tmp_path, "CREATE TOPIC sales (item VARCHAR);", "shop.sql")

    assert load(file).name == "shop"
    assert topics(file) == ["sales"]


def test_an_error_in_a_sql_file_has_its_line(tmp_path: Path) -> None:
    file = write(
        tmp_path, "CREATE TOPIC sales (item VARCHAR);\nCREATE TOPIC x (y NONSENSE);", "a.sql"
    )

    with pytest.raises(DefinitionError) as failure:
        load(file)

    assert str(failure.value).startswith(f"{file}, line 2: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "declares no pipeline"),
        ('import headwater as hw\na, b = hw.App("a"), hw.App("b")\n', "several pipelines: a, b"),
    ],
)
def test_not_one_pipeline_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message) as failure:
        load(write(tmp_path, text))

    assert "call the one to use `app`" in str(failure.value)


def test_an_exception_in_the_file_is_shown_at_its_line(tmp_path: Path) -> None:
    file = write(tmp_path, "def f():\n    return nothing\n\nf()\n")

    with pytest.raises(DefinitionError) as failure:
        load(file)

    assert str(failure.value) == (
        f"{file}, line 2: NameError: name 'nothing' is not defined\n"
        "        return nothing\n"
        "        ──────────────"
    )


def test_a_syntax_error_is_shown_at_its_line(tmp_path: Path) -> None:
    file = write(tmp_path, "x = 1\ny = (\n")

    with pytest.raises(DefinitionError) as failure:
        load(file)

    assert f"{file}, line 2: SyntaxError: '(' was never closed" in str(failure.value)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="neither Python nor SQL"):
        load(write(tmp_path, "", "shop.txt"))
