"""Write docs/cli.md from the definition of the command line.

    python tools/cli_reference.py

A test compares the file with what this makes, so the reference is never behind the program.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import typer.main

from headwater.cli.main import app

TARGET = Path(__file__).parent.parent / "docs" / "cli.md"

HEAD = """# The command line

{about}

| command | does |
|---|---|
{commands}

A command that fails prints what is wrong, where, and a hint that can be typed, and exits with 1; a
wrong use exits with 2. `-h` and `--help` explain every command.

<!-- Made by tools/cli_reference.py from the program itself. -->
"""


def reference() -> str:
    """The whole page."""
    group = typer.main.get_command(app)
    commands: dict[str, Any] = group.commands  # type: ignore[attr-defined]
    rows = (f"| `headwater {name}` | {_lines(command)[0]} |" for name, command in commands.items())
    about = "\n".join(_lines(group))
    head = HEAD.format(about=about, commands="\n".join(rows))
    return head + "".join(_command(name, command) for name, command in commands.items())


def _command(name: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    usage = " ".join(_argument(argument) for argument in arguments)
    parts = [f"\n## {name}\n", f"`headwater {name} [OPTIONS] {usage}`".replace(" `", "`"), ""]
    parts += [*_lines(command), ""]
    if arguments or options:
        parts += ["| | | default |", "|---|---|---|"]
        parts += [f"| `{_argument(a)}` | {_help(a)} | |" for a in arguments]
        parts += [f"| {_names(o)} | {_help(o)} | {_default(o)} |" for o in options]
    return "\n".join(parts) + "\n"


def _lines(command: Any) -> list[str]:
    return inspect.cleandoc(command.help or "").splitlines()


def _argument(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    return name if argument.required else f"[{name}]"


def _names(option: Any) -> str:
    names = [*option.opts, *option.secondary_opts]
    value = f" {option.metavar}" if option.metavar else ""
    return ", ".join(f"`{name}{value}`" for name in names)


def _help(parameter: Any) -> str:
    return " ".join((parameter.help or "").split())


def _default(option: Any) -> str:
    if option.default in (None, (), False) or option.secondary_opts:
        return ""
    return f"`{option.default}`"


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
