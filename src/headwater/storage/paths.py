"""What a path on a `Disk` may look like.

Paths are relative to the data folder, with forward slashes. Names of topics and views, which users
choose, become parts of paths: a path that would leave the folder is refused here, for every disk
alike.
"""

from __future__ import annotations

from headwater.errors import StateError


def checked(path: str) -> str:
    """Return the path of a file.

    Raises:
        StateError: It is empty, absolute, or has a part that is empty, `.` or `..`.

    """
    if "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise StateError(
            f"the path {path!r} does not stay inside the data folder",
            hint="use a relative path of plain names, for example topics/clicks/0.arrow",
        )
    return path


def checked_folder(path: str) -> str:
    """Return the path of a folder without a final slash; `""` is the data folder itself."""
    trimmed = path.removesuffix("/")
    return checked(trimmed) if trimmed else ""


def folder_of(path: str) -> str:
    """The folder that holds a file."""
    return path.rpartition("/")[0]
