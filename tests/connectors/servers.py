"""A PostgreSQL of the tests' own: in a temporary folder, on a Unix socket, as an ordinary user."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psycopg

# The system's user whom Debian's package makes: the server refuses to run as root.
_USERS = ("postgres", "nobody")


def programs() -> Path | None:
    """The folder with `initdb` and `pg_ctl`, of the newest version; None where there is none."""
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version)
    return versions[-1].parent if versions else None


def _version(initdb: Path) -> int:
    return int(initdb.parent.parent.name)


class PostgresServer:
    """A server that can be stopped and started. Use it in a `with` statement."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        # A socket's path has at most 107 bytes, so not in pytest's folders.
        self.folder = Path(tempfile.mkdtemp(prefix="hw-pg-"))
        self.dsn = f"host={self.folder} user=headwater dbname=postgres"

    def __enter__(self) -> PostgresServer:
        if os.getuid() == 0:
            user = next(name for name in _USERS if _has_user(name))
            shutil.chown(self.folder, user)
            self._as_user = [
                "setpriv",
                f"--reuid={user}",
                f"--regid={_group(user)}",
                "--clear-groups",
            ]
        else:
            self._as_user = []
        self._run("initdb", "-D", "data", "-A", "trust", "-U", "headwater", "-E", "UTF8", "-N")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        # Nothing that must outlive a power cut is kept here.
        options = f"-k {self.folder} -c listen_addresses='' -c fsync=off"
        self._run("pg_ctl", "-D", "data", "-w", "-o", options, "-l", "log", "start")

    def stop(self) -> None:
        """Stop at once; clients are cut off in the middle of what they do."""
        self._run("pg_ctl", "-D", "data", "-m", "immediate", "-w", "stop", is_checked=False)

    def execute(self, statement: str) -> list[Any]:
        """Run a statement, as somebody else than the sink."""
        with psycopg.connect(self.dsn, autocommit=True) as store:
            answer = store.execute(statement)  # type: ignore[call-overload]
            return answer.fetchall() if answer.description else []

    def _run(self, program: str, *arguments: str, is_checked: bool = True) -> None:
        command = [*self._as_user, str(self._programs / program), *arguments]
        # The server inherits what it is given: a pipe would stay open as long as it runs.
        with (self.folder / "output").open("ab") as output:
            subprocess.run(
                command, cwd=self.folder, stdout=output, stderr=output, check=is_checked, timeout=60
            )


def _has_user(name: str) -> bool:
    import pwd

    return any(user.pw_name == name for user in pwd.getpwall())


def _group(name: str) -> int:
    import pwd

    return pwd.getpwnam(name).pw_gid
