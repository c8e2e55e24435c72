"""Nexmark q0 to q22: what each asks, as Headwater's views and as DuckDB's batch query.

Written from what the queries are published to compute. Where the published one depends on the
clock (q12 counts by processing time, q13 looks its side input up as of now) event time stands in
for it, and a table that does not change: the same rows must give the same answer. Rows are told
apart by their time where a published ORDER BY leaves a choice.
"""

from __future__ import annotations

from dataclasses import dataclass, field

TOPICS = {
    "person": "id BIGINT NOT NULL, name VARCHAR NOT NULL, email_address VARCHAR NOT NULL, "
    "credit_card VARCHAR NOT NULL, city VARCHAR NOT NULL, state VARCHAR NOT NULL, "
    "date_time TIMESTAMP NOT NULL, extra VARCHAR NOT NULL",
    "auction": "id BIGINT NOT NULL, item_name VARCHAR NOT NULL, description VARCHAR NOT NULL, "
    "initial_bid BIGINT NOT NULL, reserve BIGINT NOT NULL, date_time TIMESTAMP NOT NULL, "
    "expires TIMESTAMP NOT NULL, seller BIGINT NOT NULL, category BIGINT NOT NULL, "
    "extra VARCHAR NOT NULL",
    "bid": "auction BIGINT NOT NULL, bidder BIGINT NOT NULL, price BIGINT NOT NULL, "
    "channel VARCHAR NOT NULL, url VARCHAR NOT NULL, date_time TIMESTAMP NOT NULL, "
    "extra VARCHAR NOT NULL",
}
SIDE = "key BIGINT, value VARCHAR NOT NULL"
SIDE_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class View:
    """One declared view.

    Args:
        emit: "final" for windows that come out once they have closed.

    """

    name: str
    query: str
    emit: str = "changes"


@dataclass(frozen=True, slots=True)
class Query:
    """One of the queries.

    Args:
        name: q0 to q22.
        asks: What it computes, in a few words.
        batch: DuckDB's query over tables with the topics' names; None where it is the view's.
        before: Views that the last one reads.

    """

    name: str
    asks: str
    view: str
    batch: str = ""
    emit: str = "changes"
    before: tuple[View, ...] = field(default=())

    @property
    def views(self) -> tuple[View, ...]:
        """All views, the one with the answer last."""
        return (*self.before, View(self.name, self.view, self.emit))

    @property
    def in_batch(self) -> str:
        """The same in plain DuckDB."""
        return self.batch or self.view


# A day's figures of some bids: how many, by whom and for what, in three ranges of price.
_RANKS = """count(*) AS total_bids,
    count(*) FILTER (WHERE price < 10000) AS rank1_bids,
    count(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bids,
    count(*) FILTER (WHERE price >= 1000000) AS rank3_bids"""
_WHO = """count(DISTINCT bidder) AS total_bidders,
    count(DISTINCT bidder) FILTER (WHERE price < 10000) AS rank1_bidders,
    count(DISTINCT bidder) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bidders,
    count(DISTINCT bidder) FILTER (WHERE price >= 1000000) AS rank3_bidders,
    count(DISTINCT auction) AS total_auctions,
    count(DISTINCT auction) FILTER (WHERE price < 10000) AS rank1_auctions,
    count(DISTINCT auction) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_auctions,
    count(DISTINCT auction) FILTER (WHERE price >= 1000000) AS rank3_auctions"""

# A bid counts for an auction while that is open.
_VALID = "b.auction = a.id AND b.date_time BETWEEN a.date_time AND a.expires"
_WINNERS = f"""SELECT a.id, a.seller, b.price, b.date_time
    FROM auction AS a JOIN bid AS b ON {_VALID}
    QUALIFY row_number() OVER (PARTITION BY a.id ORDER BY b.price DESC, b.date_time) = 1"""
_BUCKET = "time_bucket(INTERVAL '10 seconds', date_time)"

QUERIES = (
    Query(
        "q0",
        "all bids",
        "SELECT auction, bidder, price, date_time, extra FROM bid",
    ),
    Query(
        "q1",
        "prices in another currency",
        "SELECT auction, bidder, 0.908 * price AS price, date_time, extra FROM bid",
    ),
    Query(
        "q2",
        "bids for some auctions",
        "SELECT auction, price FROM bid WHERE auction % 123 = 0",
    ),
    Query(
        "q3",
        "who sells what in three states",
        "SELECT p.name, p.city, p.state, a.id FROM auction AS a JOIN person AS p "
        "ON a.seller = p.id WHERE a.category = 10 AND p.state IN ('OR', 'ID', 'CA')",
    ),
    Query(
        "q4",
        "the average winning price of a category",
        f"""SELECT category, avg(final) AS average FROM (
            SELECT a.id, a.category, max(b.price) AS final
            FROM auction AS a JOIN bid AS b ON {_VALID} GROUP BY a.id, a.category
        ) GROUP BY category""",
    ),
    Query(
        "q5",
        "the auctions with most bids of ten seconds, every two",
        """SELECT c.window_start, c.auction, c.bids FROM q5_counts AS c JOIN (
            SELECT window_start, max(bids) AS most FROM q5_counts GROUP BY window_start
        ) AS m ON c.window_start = m.window_start AND c.bids = m.most""",
        """WITH counts AS (
            SELECT auction, count(*) AS bids,
                time_bucket(INTERVAL '2 seconds', date_time) - to_seconds(2 * n) AS window_start
            FROM bid, range(5) AS slides(n) GROUP BY ALL
        ) SELECT window_start, auction, bids FROM counts JOIN (
            SELECT window_start, max(bids) AS most FROM counts GROUP BY window_start
        ) AS m USING (window_start) WHERE bids = most""",
        before=(
            View(
                "q5_counts",
                "SELECT window_start, auction, count(*) AS bids "
                "FROM HOP(bid, date_time, INTERVAL '2 seconds', INTERVAL '10 seconds') "
                "GROUP BY window_start, window_end, auction",
                "final",
            ),
        ),
    ),
    Query(
        "q6",
        "the average price of a seller's last ten auctions",
        f"""SELECT seller, id, avg(price) OVER (
            PARTITION BY seller ORDER BY date_time, id ROWS BETWEEN 10 PRECEDING AND CURRENT ROW
        ) AS average FROM ({_WINNERS})""",
    ),
    Query(
        "q7",
        "the highest bids of ten seconds",
        """SELECT b.auction, b.price, b.bidder, b.date_time, b.extra
        FROM bid AS b JOIN q7_highest AS h ON b.price = h.price
            AND b.date_time >= h.window_start AND b.date_time < h.window_end""",
        f"""SELECT b.auction, b.price, b.bidder, b.date_time, b.extra FROM bid AS b JOIN (
            SELECT {_BUCKET} AS bucket, max(price) AS most FROM bid GROUP BY bucket
        ) AS m ON time_bucket(INTERVAL '10 seconds', b.date_time) = bucket AND b.price = most""",
        before=(
            View(
                "q7_highest",
                "SELECT window_start, window_end, max(price) AS price "
                "FROM TUMBLE(bid, date_time, INTERVAL '10 seconds') "
                "GROUP BY window_start, window_end",
                "final",
            ),
        ),
    ),
    Query(
        "q8",
        "new people who sold something in the same ten seconds",
        """SELECT p.id, p.name, p.window_start FROM (
            SELECT id, name, window_start FROM TUMBLE(person, date_time, INTERVAL '10 seconds')
            GROUP BY id, name, window_start, window_end
        ) AS p JOIN (
            SELECT seller, window_start FROM TUMBLE(auction, date_time, INTERVAL '10 seconds')
            GROUP BY seller, window_start, window_end
        ) AS a ON p.id = a.seller AND p.window_start = a.window_start""",
        f"""SELECT p.id, p.name, p.bucket AS window_start FROM (
            SELECT DISTINCT id, name, {_BUCKET} AS bucket FROM person
        ) AS p JOIN (
            SELECT DISTINCT seller, {_BUCKET} AS bucket FROM auction
        ) AS a ON p.id = a.seller AND p.bucket = a.bucket""",
        emit="final",
    ),
    Query(
        "q9",
        "the winning bid of each auction",
        f"""SELECT a.id, a.item_name, a.description, a.initial_bid, a.reserve, a.date_time,
            a.expires, a.seller, a.category, a.extra, b.auction, b.bidder, b.price,
            b.date_time AS bid_time, b.extra AS bid_extra
        FROM auction AS a JOIN bid AS b ON {_VALID}
        QUALIFY row_number() OVER (PARTITION BY a.id ORDER BY b.price DESC, b.date_time) = 1""",
    ),
    Query(
        "q10",
        "bids with the parts of their date",
        "SELECT auction, bidder, price, date_time, extra, "
        "strftime(date_time, '%Y-%m-%d') AS day, strftime(date_time, '%H:%M') AS minute FROM bid",
    ),
    Query(
        "q11",
        "how many bids a person made in each session",
        "SELECT bidder, count(*) AS bids, window_start, window_end "
        "FROM SESSION(bid PARTITION BY bidder, date_time, INTERVAL '10 seconds') "
        "GROUP BY bidder, window_start, window_end",
        """SELECT bidder, count(*) AS bids, min(date_time) AS window_start,
            max(date_time) + INTERVAL '10 seconds' AS window_end FROM (
            SELECT bidder, date_time, sum(is_first) OVER (
                PARTITION BY bidder ORDER BY date_time ROWS UNBOUNDED PRECEDING) AS session
            FROM (
                SELECT bidder, date_time, CASE WHEN date_time - lag(date_time) OVER (
                    PARTITION BY bidder ORDER BY date_time) < INTERVAL '10 seconds'
                    THEN 0 ELSE 1 END AS is_first FROM bid
            )
        ) GROUP BY bidder, session""",
        emit="final",
    ),
    Query(
        "q12",
        "how many bids a person made in ten seconds",
        "SELECT bidder, count(*) AS bids, window_start "
        "FROM TUMBLE(bid, date_time, INTERVAL '10 seconds') "
        "GROUP BY bidder, window_start, window_end",
        f"SELECT bidder, count(*) AS bids, {_BUCKET} AS window_start FROM bid GROUP BY ALL",
        emit="final",
    ),
    Query(
        "q13",
        "bids with a side table",
        "SELECT b.auction, b.bidder, b.price, b.date_time, s.value "
        "FROM (SELECT *, auction % 10000 AS key FROM bid) AS b JOIN side AS s ON b.key = s.key",
    ),
    Query(
        "q14",
        "bids of some prices, by the time of day, and letters counted",
        """SELECT auction, bidder, 0.908 * price AS price,
            CASE WHEN hour(date_time) >= 8 AND hour(date_time) <= 18 THEN 'day'
                WHEN hour(date_time) <= 6 OR hour(date_time) >= 20 THEN 'night'
                ELSE 'other' END AS bid_time,
            date_time, extra, length(extra) - length(replace(extra, 'c', '')) AS c_counts
        FROM bid WHERE 0.908 * price > 1000000 AND 0.908 * price < 50000000""",
    ),
    Query(
        "q15",
        "the bids of a day, their bidders and their auctions",
        f"SELECT strftime(date_time, '%Y-%m-%d') AS day, {_RANKS}, {_WHO} FROM bid GROUP BY day",
    ),
    Query(
        "q16",
        "the same for each channel",
        "SELECT channel, strftime(date_time, '%Y-%m-%d') AS day, "
        f"max(strftime(date_time, '%H:%M')) AS minute, {_RANKS}, {_WHO} "
        "FROM bid GROUP BY channel, day",
    ),
    Query(
        "q17",
        "the bids of an auction and day",
        f"""SELECT auction, strftime(date_time, '%Y-%m-%d') AS day, {_RANKS},
            min(price) AS min_price, max(price) AS max_price, avg(price) AS avg_price,
            sum(price) AS sum_price FROM bid GROUP BY auction, day""",
    ),
    Query(
        "q18",
        "a person's last bid for each auction",
        """SELECT auction, bidder, price, channel, url, date_time, extra FROM bid
        QUALIFY row_number() OVER (PARTITION BY bidder, auction ORDER BY date_time DESC) <= 1""",
    ),
    Query(
        "q19",
        "the ten highest bids of each auction",
        """SELECT *, row_number() OVER (
            PARTITION BY auction ORDER BY price DESC, date_time) AS rank_number FROM bid
        QUALIFY rank_number <= 10""",
    ),
    Query(
        "q20",
        "bids with their auction, of one category",
        """SELECT b.auction, b.bidder, b.price, b.channel, b.url, b.date_time, b.extra,
            a.item_name, a.description, a.initial_bid, a.reserve, a.date_time AS opened,
            a.expires, a.seller, a.category, a.extra AS auction_extra
        FROM bid AS b JOIN auction AS a ON b.auction = a.id WHERE a.category = 10""",
    ),
    Query(
        "q21",
        "bids with the number of their channel",
        r"""SELECT auction, bidder, price, channel,
            CASE lower(channel) WHEN 'apple' THEN '0' WHEN 'google' THEN '1'
                WHEN 'facebook' THEN '2' WHEN 'baidu' THEN '3'
                ELSE regexp_extract(url, '(&|^)channel_id=([^&]*)', 2) END AS channel_id
        FROM bid WHERE regexp_matches(url, '(&|^)channel_id=')
            OR lower(channel) IN ('apple', 'google', 'facebook', 'baidu')""",
    ),
    Query(
        "q22",
        "bids with the folders of their address",
        """SELECT auction, bidder, price, channel, split_part(url, '/', 4) AS dir1,
            split_part(url, '/', 5) AS dir2, split_part(url, '/', 6) AS dir3 FROM bid""",
    ),
)
