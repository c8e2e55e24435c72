"""A producer that does not rest: it sends a batch until it is acknowledged, and then the next.

It has a name and numbers its batches, so that whatever it sends again is appended once. Now and
then it sends one again that was acknowledged. It knows of what it may not know: the rows of the
batch in hand, and how many of those that it sent in vain came as duplicates.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import closing
from http.client import HTTPConnection

from crashes import sales
from crashes.process import NotAnsweredError, Process, asked

PRODUCER = "till"
_AGAIN_EVERY = 7
_PAUSE_SECONDS = 0.01


class Sender:
    """Sends the batches of a seed to one life of the pipeline after the other."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.answers = sales.Answers()
        self.number = 0
        self.duplicate: Counter[str] = Counter()
        self.perhaps_duplicate: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._go = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def next(self) -> sales.Batch:
        """The batch that is not acknowledged yet."""
        return sales.batch(self.seed, self.number)

    def start(self, process: Process) -> None:
        """Begin to send, without rest, in a thread."""
        self._go.set()
        self._thread = threading.Thread(target=self._run, args=(process,))
        self._thread.start()

    def stop(self) -> None:
        """End after the request in hand."""
        self._go.clear()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def acknowledged(self, batch: sales.Batch) -> None:
        """Note that a batch is taken."""
        self.answers.take(batch)
        self.number += 1

    def deliver(self, process: Process, batch: sales.Batch) -> None:
        """Send a batch until it is acknowledged.

        Raises:
            NotAnsweredError: The process is gone.
        """
        with closing(process.connection()) as connection:
            self._send(connection, batch, is_new=True)
        self.acknowledged(batch)

    def _run(self, process: Process) -> None:
        with closing(process.connection()) as connection:
            self._send_all(connection)

    def _send_all(self, connection: HTTPConnection) -> None:
        batch = self.next
        while self._go.is_set():
            try:
                self._send(connection, batch, is_new=True)
                self.acknowledged(batch)
                if batch.number % _AGAIN_EVERY == 0 and self._go.is_set():
                    self._send(connection, batch, is_new=False)
                batch = self.next
            except NotAnsweredError:
                time.sleep(_PAUSE_SECONDS)

    def _send(self, connection: HTTPConnection, batch: sales.Batch, *, is_new: bool) -> None:
        path, rows = f"/topics/{batch.topic}", len(batch.good)
        self.perhaps_duplicate[batch.topic] += rows
        status, receipt = asked(
            connection,
            "POST",
            path,
            batch.body,
            producer=PRODUCER,
            sequence=batch.number,
        )
        self.perhaps_duplicate[batch.topic] -= rows
        if status not in (200, 422):
            # It said that it could not: what it took of it is not known.
            self.perhaps_duplicate[batch.topic] += rows
            raise NotAnsweredError(f"{status} {receipt}")
        self.duplicate[batch.topic] += receipt["duplicate"]
        told = receipt["accepted"], receipt["rejected"]
        if told != (batch.accepted, batch.rejected) or (not is_new and not receipt["duplicate"]):
            self.wrong.append(f"batch {batch.number} was sent, and the receipt says {receipt}")
