"""`headwater run` as a process of its own, to be asked, stopped and killed."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pyarrow as pa

CODE = "from headwater.cli.main import main; main()"
START_SECONDS_MAX = 60.0
ASK_SECONDS_MAX = 60.0
_POLL_SECONDS = 0.005


class NotAnsweredError(Exception):
    """The process did not answer: what was sent may have been taken."""


class Process:
    """One life of a pipeline.

    Args:
        app: The file that declares it.
        data: Its data folder.
        folder: Where it runs, and writes its output to a file.
        options: More options of `headwater run`.

    """

    def __init__(self, app: Path, data: Path, folder: Path, *options: str) -> None:
        self.output = folder / "output.txt"
        self._from = self.output.stat().st_size if self.output.exists() else 0
        self.started_at = time.monotonic()
        arguments = ["run", str(app), "--data", str(data), "--listen", "127.0.0.1:0", *options]
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-c", CODE, *arguments],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                cwd=folder,
            )
        self.url = ""

    def said(self) -> str:
        """All that it has written."""
        with self.output.open("rb") as output:
            output.seek(self._from)
            return output.read().decode()

    def wait_ready(self) -> float:
        """Wait until it answers; how many seconds after its start that was.

        Raises:
            AssertionError: It ended, or takes too long.
        """
        while not (found := re.search(r"(http://\S+?)/?\n", self.said())):
            assert self.is_alive(), f"it ended by itself:\n{self.said()}"
            assert time.monotonic() - self.started_at < START_SECONDS_MAX, self.said()
            time.sleep(_POLL_SECONDS)
        self.url = found[1]
        self.ask("GET", "/healthz")
        return time.monotonic() - self.started_at

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def kill(self) -> None:
        """End it at once, wherever it is."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """End it as Ctrl-C does; return its exit code."""
        self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(timeout=START_SECONDS_MAX)
        finally:
            self.kill()

    def wait_ended(self) -> int:
        """Wait until it ends by itself; return its exit code."""
        try:
            return self._process.wait(timeout=START_SECONDS_MAX)
        finally:
            self.kill()

    def connection(self) -> http.client.HTTPConnection:
        """A connection to it."""
        parts = urlsplit(self.url)
        return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=ASK_SECONDS_MAX)

    def ask(self, method: str, path: str, body: bytes | None = None, **query: object) -> Any:
        """The JSON that it answers.

        Raises:
            NotAnsweredError: It does not.
            AssertionError: It refuses.
        """
        with closing(self.connection()) as connection:
            status, answer = asked(connection, method, path, body, **query)
        assert status == 200, f"{method} {path}: {status} {answer}"
        return answer

    def arrow(self, path: str, offset: int) -> pa.Table:
        """Rows from an offset on."""
        query = urlencode({"from": offset, "limit": 500_000, "format": "arrow"})
        with closing(self.connection()) as connection:
            connection.request("GET", f"{path}?{query}")
            answer = connection.getresponse()
            body = answer.read()
        assert answer.status == 200, body
        return pa.ipc.open_stream(body).read_all()

    def rows(self, sql: str) -> list[list[Any]]:
        """The answer to a question in SQL."""
        answer = self.ask("POST", "/sql", json.dumps({"sql": sql}).encode())
        return [list(row.values()) for row in answer["rows"]]


def asked(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    **query: object,
) -> tuple[int, Any]:
    """Status and JSON of one request.

    Raises:
        NotAnsweredError: There was no answer, or a part of one.
    """
    kind = "application/json" if path == "/sql" else "application/x-ndjson"
    where = f"{path}?{urlencode(query)}" if query else path
    try:
        connection.request(method, where, body, {"Content-Type": kind} if body else {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        connection.close()
        raise NotAnsweredError(str(error)) from error
