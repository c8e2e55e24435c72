"""Queries of every shape that the planner takes apart or leaves whole."""

QUERIES = (
    # one row to one row
    "SELECT ad, cost * 2 AS double_cost FROM clicks WHERE cost > 1",
    "SELECT * EXCLUDE (tags) REPLACE (price + 1 AS price) FROM clicks",
    "SELECT cost AS c, c + 1 AS d FROM clicks WHERE d > 1.5 AND ok",
    "SELECT ad, unnest(tags) AS tag FROM clicks",
    "SELECT visitor || '!' AS v, CASE WHEN ok THEN 1 ELSE 2 END, ad::VARCHAR FROM clicks",
    "FROM campaigns WHERE budget > 0",
    # aggregates
    "SELECT count(*) AS n, sum(cost) AS total, min(price), max(ts) FROM clicks",
    "SELECT ad, count(*), count(cost), avg(cost), avg(price), sum(price) FROM clicks GROUP BY ad",
    "SELECT ad + 1 AS k, sum(n), avg(n), max(at) FROM shows GROUP BY k HAVING count(*) > 3",
    "SELECT ad, visitor, count(*) FILTER (WHERE ok) AS good FROM clicks GROUP BY ALL",
    "SELECT visitor, sum(cost) / count(*) AS mean, sum(cost) * 2 FROM clicks GROUP BY 1",
    "SELECT ad, bool_and(ok), bool_or(ok), count_if(cost > 1) FROM clicks GROUP BY ad",
    "SELECT campaign, sum(budget), count(*), avg(budget) FROM campaigns GROUP BY campaign",
    "SELECT campaign, min(budget), max(budget) FROM campaigns GROUP BY campaign",
    "SELECT ad, median(price), count(DISTINCT visitor), sum(cost) FROM clicks GROUP BY ad",
    "SELECT count(DISTINCT visitor), string_agg(visitor, ',' ORDER BY visitor) FROM clicks",
    "SELECT ad, list(visitor ORDER BY visitor, ts) AS l FROM clicks GROUP BY ad",
    "SELECT visitor, max(total) FROM (SELECT ad, visitor, sum(cost) AS total FROM clicks "
    "GROUP BY ALL) GROUP BY visitor",
    "SELECT date_trunc('minute', ts) AS m, stddev(price) FROM clicks GROUP BY m",
    "SELECT ad, visitor, sum(n) FROM shows GROUP BY ROLLUP (ad, visitor)",
    "SELECT sum(n) FROM shows WHERE n > 100",
    "SELECT 'all' AS who, count(*) FROM shows GROUP BY 'all'",
    # windows
    "SELECT window_start, ad, count(*), sum(cost) FROM TUMBLE(clicks, ts, INTERVAL '1 minute') "
    "GROUP BY window_start, ad",
    "SELECT window_end, count(*) FROM HOP(clicks, ts, INTERVAL '1 minute', INTERVAL '3 minutes') "
    "GROUP BY ALL EMIT FINAL",
    "SELECT campaign, window_start, sum(cost) AS spend "
    "FROM TUMBLE(clicks, ts, INTERVAL '2 minutes') JOIN campaigns USING (ad) "
    "GROUP BY campaign, window_start, window_end",
    "SELECT w.ad, w.window_start FROM TUMBLE((SELECT ad, ts FROM clicks WHERE ok), ts, "
    "INTERVAL '90 seconds', INTERVAL '7 seconds') AS w EMIT FINAL",
    "SELECT window_start, median(price) FROM TUMBLE(clicks, ts, INTERVAL '5 minutes') "
    "GROUP BY window_start EMIT FINAL",
    "SELECT a.window_start, a.ad, count(*) FROM TUMBLE(clicks, ts, INTERVAL '5 minutes') a "
    "JOIN TUMBLE(shows, at, INTERVAL '5 minutes') b ON a.ad = b.ad "
    "AND a.window_start = b.window_start GROUP BY ALL",
    "SELECT max(n) FROM (SELECT window_start, count(*) AS n FROM "
    "HOP(clicks, ts, INTERVAL '40 seconds', INTERVAL '100 seconds') GROUP BY window_start)",
    "SELECT window_start, visitor, sum(price), min(cost) FROM "
    "TUMBLE(clicks, ts, INTERVAL '1 minute') WHERE ad IN (SELECT ad FROM shows) GROUP BY ALL",
    # joins
    "SELECT c.ad, c.visitor, s.n FROM clicks c JOIN shows s ON c.ad = s.ad AND c.ts > s.at",
    "SELECT c.ad, campaign FROM clicks c LEFT JOIN campaigns ON c.ad = campaigns.ad",
    "SELECT * FROM shows LEFT JOIN campaigns USING (ad)",
    "SELECT c.visitor, s.* FROM clicks c RIGHT JOIN shows s ON c.ad = s.ad AND s.n = 2",
    "SELECT ad, c.visitor, s.visitor FROM clicks c FULL JOIN shows s USING (ad)",
    "SELECT c.ad, s.n FROM clicks c LEFT JOIN shows s ON c.ad = s.ad AND c.price > s.n",
    "SELECT c.ad, s.n FROM clicks c, shows s WHERE c.visitor = s.visitor AND c.ad = 1 AND s.n > 1",
    "SELECT c.ad, k.campaign, s.n FROM clicks c, campaigns k, shows s "
    "WHERE c.ad = k.ad AND s.ad = k.ad AND s.n + c.ad > 3",
    "SELECT visitor FROM clicks SEMI JOIN campaigns USING (ad)",
    "SELECT visitor, ad FROM clicks ANTI JOIN shows ON clicks.ad = shows.ad AND shows.n > 2",
    "SELECT a.budget, b.budget FROM campaigns a, campaigns b WHERE a.budget < b.budget",
    "SELECT c.ad, c.ts, s.n FROM clicks c ASOF JOIN shows s ON c.ad = s.ad AND c.ts >= s.at",
    "SELECT c.ad, c.ts, s.at FROM clicks c ASOF LEFT JOIN (SELECT DISTINCT ON (visitor, at) * "
    "FROM shows) s ON c.visitor = s.visitor AND s.at < c.ts",
    "SELECT ad FROM clicks WHERE ad IN (SELECT ad FROM shows WHERE n > 1)",
    "SELECT ad, visitor FROM clicks c WHERE EXISTS (SELECT 1 FROM shows s WHERE s.ad = c.ad "
    "AND s.visitor = c.visitor)",
    "SELECT ad FROM clicks c WHERE NOT EXISTS (FROM campaigns k WHERE k.ad = c.ad AND budget > 0)",
    "SELECT ad FROM campaigns WHERE ad NOT IN (SELECT ad FROM shows WHERE n = 3)",
    "SELECT ad FROM clicks WHERE cost >= (SELECT avg(cost) FROM clicks)",
    "SELECT k.*, (SELECT max(n) FROM shows s WHERE s.ad = k.ad) AS most FROM campaigns k",
    "SELECT c.ad, count(*) FROM clicks c LEFT JOIN shows s ON c.visitor = s.visitor GROUP BY c.ad",
    # sets
    "SELECT DISTINCT ad, visitor FROM clicks",
    "SELECT ad, visitor FROM clicks UNION ALL SELECT ad, visitor FROM shows",
    "SELECT ad FROM clicks UNION SELECT n FROM shows",
    "SELECT ad, visitor FROM clicks EXCEPT SELECT ad, visitor FROM shows",
    "SELECT ad FROM clicks INTERSECT ALL SELECT ad FROM shows",
    "SELECT count(*) FROM (SELECT DISTINCT visitor FROM clicks)",
    # the first rows
    "SELECT ad, cost FROM clicks ORDER BY cost DESC, ts LIMIT 5",
    "SELECT campaign FROM campaigns LIMIT 2 OFFSET 1",
    "SELECT * FROM clicks QUALIFY row_number() OVER (PARTITION BY ad ORDER BY ts DESC) = 1",
    "SELECT ad, visitor FROM (SELECT *, row_number() OVER (PARTITION BY visitor ORDER BY cost "
    "NULLS FIRST) AS rn FROM clicks) WHERE rn <= 2",
    "SELECT ad, row_number() OVER (PARTITION BY ad ORDER BY n DESC) AS place, visitor FROM shows "
    "QUALIFY place < 4",
    "SELECT DISTINCT ON (visitor) visitor, price FROM clicks ORDER BY visitor, ts",
    "SELECT visitor, count(*) AS n FROM clicks GROUP BY visitor ORDER BY n DESC LIMIT 2",
    "SELECT visitor FROM clicks UNION SELECT campaign FROM campaigns ORDER BY 1 LIMIT 3",
    # window functions
    "SELECT ad, ts, lag(cost) OVER (PARTITION BY ad ORDER BY ts) FROM clicks",
    "SELECT ad, rank() OVER (ORDER BY cost DESC), sum(cost) OVER (PARTITION BY ad) FROM clicks",
    "SELECT visitor, sum(count(*)) OVER () AS everyone, count(*) FROM clicks GROUP BY visitor",
    "SELECT * FROM shows QUALIFY n = max(n) OVER (PARTITION BY visitor)",
    # several blocks
    "WITH big AS (SELECT ad, cost FROM clicks WHERE cost > 0.5), per AS (SELECT ad, sum(cost) AS s "
    "FROM big GROUP BY ad) SELECT big.ad, big.cost, per.s FROM big JOIN per USING (ad)",
    "WITH RECURSIVE steps AS (SELECT 0 AS i UNION ALL SELECT i + 1 FROM steps WHERE i < 2) "
    "SELECT i, ad FROM steps JOIN campaigns ON i = ad",
    "SELECT ad, tag FROM clicks, unnest(tags) AS u(tag)",
    "SELECT 1 AS one, 'x' AS x",
)
