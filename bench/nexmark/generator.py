"""Nexmark's events: people, auctions and bids of an auction house, from a seed.

Of 50 events one is a new person, three are new auctions and 46 are bids, as published (Tucker and
others, "NEXMark: A Benchmark for Queries over Data Streams"; Apache Beam and Apache Flink document
the later form). Event n happens at n / rate seconds. Ids count up; those that rows refer to are
skewed: half of all bids are for the one auction in a hundred that is hot, three quarters of bids
are by the hot bidder and of auctions by the hot seller; the rest is even over the newest.

Events are made in blocks, each from its own seed, so any part of a stream is the same whatever
was made before it, and whatever its length. Columns are numpy and Arrow throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bench.nexmark import text

Numbers = npt.NDArray[np.int64]

GROUP, AUCTIONS = 50, 3
BLOCK_EVENTS = 100_000
FIRST_ID = 1_000
CATEGORIES = range(10, 15)
# One of so many neighbouring ids is hot.
HOT_EVERY = 100
HOT_AUCTION, HOT_BIDDER, HOT_SELLER = 1 / 2, 3 / 4, 3 / 4
STATES = ("AZ", "CA", "ID", "OR", "WA", "WY")
CITIES = ("Phoenix", "Fresno", "Boise", "Portland", "Seattle", "Cheyenne", "Bend", "Kent")
BIG_CHANNELS = ("Apple", "Google", "Facebook", "Baidu")
CHANNELS = 10_000


@dataclass(frozen=True, slots=True)
class Config:
    """What the stream looks like.

    Args:
        rate: Events a second of event time.
        shuffle: Rows change places within stretches of so much event time.
        in_flight: About so many of the newest auctions take bids.
        active: So many of the newest people bid and sell.

    """

    seed: int = 1
    rate: int = 10_000
    start: datetime = datetime(2024, 7, 14, 23, 50, tzinfo=UTC)
    shuffle: timedelta = timedelta(0)
    in_flight: int = 100
    active: int = 1_000


def blocks(events: int) -> range:
    """The numbers of the blocks that so many events are in."""
    return range(-(-events // BLOCK_EVENTS))


def block(config: Config, number: int, events: int) -> dict[str, pa.Table]:
    """The rows of one block, per topic, in the order of their arrival.

    Args:
        events: How many events the stream has; those from there on are left out.

    """
    rng = np.random.default_rng([config.seed, number])
    first = number * BLOCK_EVENTS
    numbers = np.arange(first, first + BLOCK_EVENTS)
    place = numbers % GROUP
    parts = {
        "person": numbers[place == 0],
        "auction": numbers[(place > 0) & (place <= AUCTIONS)],
        "bid": numbers[place > AUCTIONS],
    }
    made = {
        "person": _people(config, parts["person"], rng),
        "auction": _auctions(config, parts["auction"], rng),
        "bid": _bids(config, parts["bid"], rng),
    }
    return {name: _arrived(config, parts[name], rows, events, rng) for name, rows in made.items()}


def _arrived(
    config: Config, numbers: Numbers, rows: pa.Table, events: int, rng: np.random.Generator
) -> pa.Table:
    """The rows of the first `events` events, shuffled within stretches of time."""
    order = rng.random(len(numbers))
    stretch = int(config.shuffle.total_seconds() * config.rate)
    kept = numbers < events
    if stretch:
        return rows.take(pa.array(np.lexsort((order, numbers // stretch, ~kept))[: kept.sum()]))
    return rows.slice(0, int(kept.sum()))


def _people(config: Config, numbers: Numbers, rng: np.random.Generator) -> pa.Table:
    rows = len(numbers)
    state = rng.integers(0, len(STATES), rows)
    return pa.table(
        {
            "id": FIRST_ID + numbers // GROUP,
            "name": text.joined(" ", text.names(rng, rows), text.names(rng, rows)),
            "email_address": text.joined(
                "@", text.words(rng, rows, 5, 9), text.words(rng, rows, 5)
            ),
            "credit_card": text.digits(rng, rows, 16),
            "city": text.picked(CITIES, rng.integers(0, len(CITIES), rows)),
            "state": text.picked(STATES, state),
            "date_time": _times(config, numbers),
            "extra": text.words(rng, rows, 40, 60),
        }
    )


def _auctions(config: Config, numbers: Numbers, rng: np.random.Generator) -> pa.Table:
    rows = len(numbers)
    initial = _prices(rng, rows)
    # An auction is open for as long as the auctions in flight take to be made, on average.
    horizon_us = config.in_flight * GROUP // AUCTIONS * 1_000_000 // config.rate
    length = 1 + (rng.random(rows) * 2 * horizon_us).astype(np.int64)
    times = _times(config, numbers)
    people = numbers // GROUP
    return pa.table(
        {
            "id": FIRST_ID + numbers // GROUP * AUCTIONS + numbers % GROUP - 1,
            "item_name": text.words(rng, rows, 10, 20),
            "description": text.words(rng, rows, 60, 100),
            "initial_bid": initial,
            "reserve": initial + _prices(rng, rows),
            "date_time": times,
            "expires": pc.add(times, pa.array(length, pa.duration("us"))),
            "seller": FIRST_ID + _skewed(rng, people, config.active, HOT_SELLER, 0),
            "category": CATEGORIES[0] + rng.integers(0, len(CATEGORIES), rows),
            "extra": text.words(rng, rows, 100, 200),
        }
    )


def _bids(config: Config, numbers: Numbers, rng: np.random.Generator) -> pa.Table:
    rows = len(numbers)
    auctions = numbers // GROUP * AUCTIONS + AUCTIONS - 1
    people = numbers // GROUP
    names, urls = _channels(config.seed)
    channel = rng.integers(0, CHANNELS, rows)
    is_big = rng.random(rows) < 0.5
    channel[is_big] = rng.integers(0, len(BIG_CHANNELS), int(is_big.sum()))
    return pa.table(
        {
            "auction": FIRST_ID + _skewed(rng, auctions, config.in_flight, HOT_AUCTION, 0),
            "bidder": FIRST_ID + _skewed(rng, people, config.active, HOT_BIDDER, 1),
            "price": _prices(rng, rows),
            "channel": names.take(pa.array(channel)),
            "url": urls.take(pa.array(channel)),
            "date_time": _times(config, numbers),
            "extra": text.words(rng, rows, 10, 30),
        }
    )


def _times(config: Config, numbers: Numbers) -> pa.Array:
    start = int(config.start.timestamp()) * 1_000_000
    return pa.array(start + numbers * 1_000_000 // config.rate, pa.timestamp("us"))


def _prices(rng: np.random.Generator, rows: int) -> Numbers:
    """From a unit to a million of them, in cents, all orders of magnitude alike."""
    return np.round(100 * 10 ** (6 * rng.random(rows))).astype(np.int64)


def _skewed(
    rng: np.random.Generator, newest: Numbers, recent: int, hot: float, shift: int
) -> Numbers:
    """Ids up to the newest: with probability `hot` the hot one, else one of the recent."""
    drawn = newest - (rng.random(len(newest)) * np.minimum(recent, newest + 1)).astype(np.int64)
    hot_id = np.minimum(newest // HOT_EVERY * HOT_EVERY + shift, newest)
    return np.where(rng.random(len(newest)) < hot, hot_id, drawn)


def _channels(seed: int) -> tuple[pa.Array, pa.Array]:
    """The channels and the address that each sends its visitors to; nine of ten say its number."""
    rng = np.random.default_rng([seed, 1 << 32])
    small = text.numbered("channel-", np.arange(len(BIG_CHANNELS), CHANNELS))
    names = pa.concat_arrays([pa.array(BIG_CHANNELS), small])
    folders = [text.words(rng, CHANNELS, 3, 6) for _ in range(3)]
    root = pa.array(["https://www.nexmark.com"] * CHANNELS)
    page = pa.array(["item.htm?query=1"] * CHANNELS)
    address = text.joined("/", root, *folders, page)
    with_id = text.joined("", address, text.numbered("&channel_id=", np.arange(CHANNELS)))
    says = pa.array((rng.random(CHANNELS) < 0.9) & (np.arange(CHANNELS) >= len(BIG_CHANNELS)))
    return names, pc.if_else(says, with_id, address)
