"""The generator keeps to the published proportions, and to its seed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bench.nexmark.generator import Config, block, blocks
from bench.nexmark.pipeline import sends

EVENTS = 150_000
CONFIG = Config()


def whole(config: Config, events: int = EVENTS) -> dict[str, pa.Table]:
    made = [block(config, number, events) for number in blocks(events)]
    return {name: pa.concat_tables([part[name] for part in made]) for name in made[0]}


def test_of_fifty_events_one_is_a_person_and_three_are_auctions() -> None:
    rows = {name: table.num_rows for name, table in whole(CONFIG).items()}

    assert rows == {"person": EVENTS // 50, "auction": EVENTS * 3 // 50, "bid": EVENTS * 46 // 50}


def test_ids_count_up_and_are_there_before_they_are_referred_to() -> None:
    rows = whole(CONFIG)
    person, auction, bid = rows["person"], rows["auction"], rows["bid"]

    assert person["id"].to_pylist() == list(range(1_000, 1_000 + person.num_rows))
    assert auction["id"].to_pylist() == list(range(1_000, 1_000 + auction.num_rows))
    for refers, named, known in (
        (auction, "seller", person),
        (bid, "bidder", person),
        (bid, "auction", auction),
    ):
        ids = np.asarray(refers[named]) - 1_000
        times = np.asarray(known["date_time"].cast(pa.int64()))
        assert ids.min() >= 0
        assert (times[ids] <= np.asarray(refers["date_time"].cast(pa.int64()))).all()


def test_half_of_the_bids_are_for_hot_auctions() -> None:
    bid = whole(CONFIG)["bid"]

    is_hot = (np.asarray(bid["auction"]) - 1_000) % 100 == 0
    by_hot = (np.asarray(bid["bidder"]) - 1_000) % 100 == 1

    assert 0.49 < is_hot.mean() < 0.52
    assert 0.74 < by_hot.mean() < 0.77


def test_a_longer_stream_begins_as_a_shorter_one() -> None:
    shuffled = replace(CONFIG, shuffle=timedelta(milliseconds=500))
    for config in (CONFIG, shuffled):
        short, long = whole(config, 40_000), whole(config, 240_000)
        for name, rows in short.items():
            ids = long[name].filter(
                pc.less_equal(long[name]["date_time"], pc.max(rows["date_time"]))
            )
            assert ids.sort_by("date_time").equals(rows.sort_by("date_time"))


def test_another_seed_is_another_stream() -> None:
    assert not whole(CONFIG, 1_000)["bid"].equals(whole(replace(CONFIG, seed=2), 1_000)["bid"])


def test_a_shuffled_row_is_never_later_than_the_shuffle() -> None:
    shuffle = timedelta(seconds=1)
    ordered, shuffled = whole(CONFIG), whole(replace(CONFIG, shuffle=shuffle))
    for name, rows in shuffled.items():
        times = np.asarray(rows["date_time"].cast(pa.int64()))
        behind = np.maximum.accumulate(times) - times

        assert 900_000 < behind.max() <= 1_000_000
        assert rows.sort_by("date_time").equals(ordered[name].combine_chunks())


def test_sends_bring_every_row_once_and_in_order() -> None:
    sent = list(sends(CONFIG, EVENTS, 7_000))
    for name, rows in whole(CONFIG).items():
        parts = [part for topic, part in sent if topic == name]
        assert pa.concat_tables(parts).combine_chunks().equals(rows.combine_chunks())
        assert max(part.num_rows for part in parts) <= 7_000
