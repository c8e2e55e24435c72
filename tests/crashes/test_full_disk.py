"""A disk that is really full: refused clearly, nothing acknowledged is lost, and it goes on."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import pytest

from crashes import laws
from crashes.conftest import Mount
from crashes.kill import SHOP
from crashes.process import Process, asked
from crashes.sender import PRODUCER, Sender

BALLAST = 13 << 20


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_a_full_disk_refuses_rows_and_goes_on_by_itself(
    kind: str, mounted: Mount, tmp_path: Path
) -> None:
    disk = mounted(kind, 16)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(BALLAST))
    sender = Sender(3)
    process = Process(SHOP, disk / "data", tmp_path)
    try:
        process.wait_ready()
        refused = fill(process, sender)

        assert refused["kind"] == "no_room"
        assert "No space left on device" in refused["message"]
        assert "make room (df -h" in refused["hint"]
        # What was acknowledged is there and can be read; the batch in hand is not.
        assert process.ask("GET", "/healthz")["status"] == "unwell"
        assert process.rows("SELECT sum(n) FROM per_shop")[0][0] > 0
        totals = {topic["name"]: topic for topic in process.ask("GET", "/status")["topics"]}
        assert totals["sales"]["rows"] == sender.answers.accepted["sales"]

        ballast.unlink()
        wait_for_room(process)
        for _ in range(10):
            sender.deliver(process, sender.next)
        laws.check(process, sender, tmp_path)
        laws.check_rows(process, sender)
        assert "Traceback" not in process.said()
        assert process.stop() == 0, process.said()
    finally:
        process.kill()


def test_a_full_disk_is_no_obstacle_to_read_and_to_end(mounted: Mount, tmp_path: Path) -> None:
    disk = mounted("tmpfs", 3)
    sender = Sender(3)
    process = Process(SHOP, disk / "data", tmp_path)
    try:
        process.wait_ready()
        fill(process, sender)
        process.kill()

        process = Process(SHOP, disk / "data", tmp_path)
        process.wait_ready()
        rows = process.rows("SELECT count(*) FROM sales")[0][0]
        assert rows == sender.answers.accepted["sales"]
        assert process.stop() == 1
        said = process.said()
        assert "make room (df -h" in said
        assert "Traceback" not in said
    finally:
        process.kill()


def fill(process: Process, sender: Sender) -> dict[str, str]:
    """Send until it is refused; return the error."""
    with closing(process.connection()) as connection:
        while True:
            batch = sender.next
            who = {"producer": PRODUCER, "sequence": batch.number}
            path = f"/topics/{batch.topic}"
            status, answer = asked(connection, "POST", path, batch.body, **who)
            if status == 507:
                return answer["error"]
            assert status in (200, 422), answer
            sender.acknowledged(batch)


def wait_for_room(process: Process) -> None:
    """Wait until the pipeline is open again, at its old address."""
    end = time.monotonic() + 60
    while "there is room again" not in process.said() or process.said().count("live page") < 2:
        assert time.monotonic() < end, process.said()
        time.sleep(0.02)
