"""What is sent to the shop, and what it must answer: computed without it, from the same numbers.

A batch is drawn from the seed and its own number, so that whoever resends one, or checks what came
of it, has the same rows without keeping them. Batches take turns: most are sales, of which some
rows are no sales at all; each fifth moves shops to other cities.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

SHOPS = 40
CITIES = ("Bath", "Hull", "York", "Deal", "Ryde")
START_S = 1_735_689_600  # 2025-01-01
# A batch is so much later than the one before, and its rows so much earlier than that: less than
# the topic's delay, so that no row is late.
_STEP_S = 3
_EARLIER_S = 8

Ints = npt.NDArray[np.int64]
Groups = dict[tuple[object, ...], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch of one producer.

    Args:
        number: Counts the batches of both topics; the producer's sequence.
        body: NDJSON.
        good: Which rows are ones that the topic takes.

    """

    number: int
    topic: str
    body: bytes
    good: npt.NDArray[np.bool_]
    ids: Ints
    shops: Ints
    prices: Ints
    seconds: Ints
    cities: tuple[str, ...] = ()

    @property
    def accepted(self) -> int:
        """How many rows the topic takes."""
        return int(self.good.sum())

    @property
    def rejected(self) -> int:
        """How many it does not."""
        return len(self.good) - self.accepted


def batch(seed: int, number: int) -> Batch:
    """The batch of a number, always the same."""
    rng = np.random.default_rng([seed, number])
    if number % 5 == 1:
        return _moves(rng, number)
    count = int(rng.choice([rng.integers(1, 20), rng.integers(200, 2000)]))
    # All of a shop's sales come early, so that each key has been seen when few are left.
    shops, prices = rng.integers(0, SHOPS, count), rng.integers(1, 100, count)
    seconds = START_S + number * _STEP_S - rng.integers(0, _EARLIER_S, count)
    good = rng.random(count) > 0.01
    return _sales(number, good, shops, prices, seconds)


def last(number: int) -> Batch:
    """The batch after the last: one sale, so late that every window before it is closed."""
    one = np.ones(1, dtype=np.int64)
    return _sales(number, one.astype(np.bool_), one, one, one * (START_S + 10_000_000))


def _sales(
    number: int, good: npt.NDArray[np.bool_], shops: Ints, prices: Ints, seconds: Ints
) -> Batch:
    ids = number * 4096 + np.arange(len(good))
    told = np.where(good, prices.astype(str), '"free"')
    times = seconds.astype("datetime64[s]").astype(str)
    rows = zip(ids.tolist(), shops.tolist(), told.tolist(), times.tolist(), strict=True)
    lines = [f'{{"id":{i},"shop":{s},"price":{p},"ts":"{t}"}}\n' for i, s, p, t in rows]
    return Batch(number, "sales", "".join(lines).encode(), good, ids, shops, prices, seconds)


def _moves(rng: np.random.Generator, number: int) -> Batch:
    shops = rng.choice(SHOPS, int(rng.integers(1, 6)), replace=False)
    cities = tuple(rng.choice(CITIES, len(shops)).tolist())
    lines = [f'{{"shop":{s},"city":"{c}"}}\n' for s, c in zip(shops, cities, strict=True)]
    good = np.ones(len(shops), dtype=np.bool_)
    return Batch(number, "shops", "".join(lines).encode(), good, shops, shops, shops, shops, cities)


@dataclass(slots=True)
class Answers:
    """What the shop answers when it has taken some batches, each once."""

    accepted: dict[str, int] = field(default_factory=lambda: {"sales": 0, "shops": 0})
    rejected: dict[str, int] = field(default_factory=lambda: {"sales": 0, "shops": 0})
    _ids: list[Ints] = field(default_factory=list)
    _counts: Ints = field(default_factory=lambda: np.zeros(SHOPS, dtype=np.int64))
    _totals: Ints = field(default_factory=lambda: np.zeros(SHOPS, dtype=np.int64))
    _cities: dict[int, str] = field(default_factory=dict)
    _minutes: Groups = field(default_factory=dict)
    _newest_s: int = 0

    def take(self, taken: Batch) -> None:
        """Go on with a batch."""
        self.accepted[taken.topic] += taken.accepted
        self.rejected[taken.topic] += taken.rejected
        if taken.topic == "shops":
            self._cities |= dict(zip(taken.shops.tolist(), taken.cities, strict=True))
            return
        shops, prices = taken.shops[taken.good], taken.prices[taken.good]
        seconds = taken.seconds[taken.good]
        self._ids.append(taken.ids[taken.good])
        self._counts += np.bincount(shops, minlength=SHOPS)
        self._totals += np.bincount(shops, prices, SHOPS).astype(np.int64)
        self._newest_s = max(self._newest_s, int(seconds.max(initial=0)))
        for shop, minute, price in zip(
            shops.tolist(), (seconds // 60).tolist(), prices.tolist(), strict=True
        ):
            count, total = self._minutes.get((shop, minute), (0, 0))
            self._minutes[shop, minute] = count + 1, total + price

    def ids(self) -> Ints:
        """The ids of all sales, ascending."""
        return np.sort(np.concatenate([np.zeros(0, dtype=np.int64), *self._ids]))

    def per_shop(self) -> Groups:
        """Count and sum of each shop."""
        return {(shop,): group for shop, group in self._per_shop()}

    def per_city(self) -> Groups:
        """Count and sum of each city, by where its shops are now."""
        found: Groups = {}
        for shop, (count, total) in self._per_shop():
            if shop in self._cities:
                before = found.get((self._cities[shop],), (0, 0))
                found[self._cities[shop],] = before[0] + count, before[1] + total
        return found

    def per_minute(self) -> Groups:
        """Count and sum of each shop in each minute that is over."""
        over = (self._newest_s - 10) // 60
        return {key: group for key, group in self._minutes.items() if key[1] < over}  # type: ignore[operator]

    def _per_shop(self) -> Iterator[tuple[int, tuple[int, int]]]:
        for shop in np.flatnonzero(self._counts).tolist():
            yield shop, (int(self._counts[shop]), int(self._totals[shop]))
