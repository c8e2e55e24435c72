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
    "SELECT visitor, stddev(n), var_pop(n), variance(n) FILTER (WHERE n > 1), stddev_samp(n), "
    "stddev_pop(n), var_samp(ad) FROM shows GROUP BY visitor",
    "SELECT stddev(n), var_pop(n) FROM shows WHERE n > 1000",
    "SELECT ad, stddev(c::INTEGER + 2000) FROM (SELECT ad, visitor, count(*) AS c FROM "
    "clicks GROUP BY ad, visitor) GROUP BY ad",
    "SELECT max(campaign), min(campaign), count(*), min(budget) FROM campaigns",
    "SELECT max(campaign) FROM campaigns WHERE ad > 1000",
    "SELECT visitor, max(total), min(total) FILTER (WHERE total > 1), avg(total) FROM (SELECT ad, "
    "visitor, sum(cost) AS total FROM clicks GROUP BY ALL) GROUP BY visitor",
    "SELECT ad, visitor, window_start, max(cost), min(price), max(ok), min(ts) FROM "
    "SESSION(clicks PARTITION BY ad, ts, INTERVAL '1 minute') GROUP BY ALL",
    "SELECT campaign, max(price), min(ts::DATE), max(visitor), count(DISTINCT visitor), "
    "count(DISTINCT visitor) FILTER (WHERE ok) FROM clicks JOIN campaigns USING (ad) "
    "GROUP BY ROLLUP (campaign)",
    "SELECT campaign, window_start, max(price), max(ok), sum(cost) FROM TUMBLE(clicks, ts, "
    "INTERVAL '3 minutes') JOIN campaigns USING (ad) GROUP BY campaign, window_start EMIT FINAL",
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
    # windows that cumulate, and sessions
    "SELECT window_start, window_end, ad, count(*), sum(cost) FROM "
    "CUMULATE(clicks, ts, INTERVAL '1 minute', INTERVAL '5 minutes') GROUP BY ALL",
    "SELECT window_start, window_end, max(price) FROM CUMULATE(clicks, ts, INTERVAL '20 seconds', "
    "INTERVAL '2 minutes', INTERVAL '7 seconds') GROUP BY ALL EMIT FINAL",
    "SELECT window_start, count(*) FROM "
    "CUMULATE(clicks, ts, INTERVAL '1 minute', INTERVAL '3 minutes') GROUP BY window_start",
    "SELECT ad, window_start, window_end FROM "
    "CUMULATE(clicks, ts, INTERVAL '1 minute', INTERVAL '2 minutes') WHERE ok",
    "SELECT ad, ts, window_end FROM "
    "CUMULATE(clicks, ts, INTERVAL '1 minute', INTERVAL '3 minutes') EMIT FINAL",
    "SELECT visitor, window_start, window_end, count(*) AS n, min(cost), sum(price) FROM "
    "SESSION(clicks PARTITION BY visitor, ts, INTERVAL '20 seconds') GROUP BY ALL",
    "SELECT visitor, window_end - window_start AS length, count(*) FROM "
    "SESSION(clicks PARTITION BY visitor, ts, INTERVAL '45 seconds') "
    "GROUP BY visitor, window_start, window_end EMIT FINAL",
    "SELECT * FROM SESSION(shows PARTITION BY (visitor, ad), at, INTERVAL '1 minute')",
    "SELECT * FROM SESSION(shows PARTITION BY visitor, ad, at, INTERVAL '1 minute') EMIT FINAL",
    "SELECT window_end, count(*), sum(n) FROM TUMBLE((SELECT visitor, window_end AS until, "
    "count(*) AS n FROM SESSION(clicks PARTITION BY visitor, ts, INTERVAL '20 seconds') "
    "GROUP BY ALL), until, INTERVAL '2 minutes') GROUP BY ALL EMIT FINAL",
    "SELECT window_start, n, count(*) FROM HOP((SELECT window_end - INTERVAL '1 second' AS until, "
    "count(*) AS n FROM SESSION(shows, at, INTERVAL '8 seconds') GROUP BY ALL), until, "
    "INTERVAL '30 seconds', INTERVAL '1 minute') GROUP BY ALL EMIT FINAL",
    "SELECT window_start, count(*) FROM SESSION(shows, at, INTERVAL '8 seconds') GROUP BY ALL",
    "SELECT visitor, window_end, count(DISTINCT ad), quantile_disc(n, 0.5), max(n) FROM "
    "SESSION(shows PARTITION BY visitor, at, INTERVAL '25 seconds') "
    "GROUP BY visitor, window_end EMIT FINAL",
    "SELECT s.ad, s.visitor, s.window_end FROM SESSION((SELECT ad, visitor, ts FROM clicks c "
    "ANTI JOIN shows USING (ad)) PARTITION BY visitor, ts, INTERVAL '1 minute') AS s WHERE ad > 1",
    "SELECT visitor, window_start, max(n), count(DISTINCT ad) FROM SESSION((SELECT * FROM shows "
    "QUALIFY row_number() OVER (PARTITION BY at ORDER BY n) = 1) PARTITION BY visitor, at, "
    "INTERVAL '30 seconds') GROUP BY ALL",
    "SELECT campaign, window_start, sum(cost), max(price) FROM SESSION(clicks PARTITION BY ad, ts, "
    "INTERVAL '1 minute') JOIN campaigns USING (ad) GROUP BY campaign, window_start",
    "SELECT ad, visitor, window_start, max(cost) FROM SESSION(clicks PARTITION BY ad, ts, "
    "INTERVAL '1 minute') GROUP BY ALL",
    "SELECT visitor, window_start, median(price) FROM SESSION(clicks PARTITION BY visitor, ts, "
    "INTERVAL '1 minute') GROUP BY ALL",
    "SELECT window_start, completeness(window_end) AS share, count(*) FROM "
    "TUMBLE(clicks, ts, INTERVAL '1 minute') GROUP BY window_start, window_end EMIT FINAL",
    # paced
    "SELECT ad, sum(cost), count(*) FROM clicks GROUP BY ad EMIT CHANGES EVERY INTERVAL '1 minute'",
    "SELECT ad, tags, price FROM clicks WHERE ok EMIT CHANGES EVERY INTERVAL '90' SECONDS",
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
    "SELECT c.ad, s.n, c.price FROM clicks c FULL JOIN shows s ON c.ad = s.ad AND c.price > s.n "
    "AND s.n < 3 AND c.cost > 0",
    "SELECT c.visitor, k.campaign FROM clicks c FULL JOIN campaigns k ON c.ad = k.ad AND c.ok",
    "SELECT c.ad, c.ts, s.at FROM clicks c RIGHT JOIN shows s ON c.ad = s.ad AND c.visitor < "
    "s.visitor AND c.price > 1",
    "SELECT a.campaign, b.campaign FROM campaigns a FULL JOIN campaigns b ON a.budget < b.budget",
    "SELECT c.ad, k.budget FROM clicks c LEFT JOIN campaigns k ON c.price > k.budget OR c.ok",
    "SELECT c.ad, s.n FROM clicks c LEFT JOIN shows s ON c.ok",
    "SELECT c.ad, k.ad FROM clicks c RIGHT JOIN campaigns k ON false",
    "SELECT c.ad, k.campaign FROM clicks c CROSS JOIN campaigns k WHERE c.ad <> k.ad AND c.ok",
    "SELECT k.campaign, count(*) FROM shows s, campaigns k WHERE s.n > k.budget GROUP BY ALL",
    "SELECT ad, campaign FROM campaigns k SEMI JOIN shows s ON k.ad < s.ad AND s.n > 1",
    "SELECT ad, visitor FROM clicks c ANTI JOIN campaigns k ON c.ad = k.ad AND price < budget",
    "SELECT c.ad, s.n FROM clicks c JOIN shows s ON c.visitor IS NOT DISTINCT FROM s.visitor",
    "SELECT visitor FROM clicks SEMI JOIN campaigns USING (ad)",
    "SELECT visitor, ad FROM clicks ANTI JOIN shows ON clicks.ad = shows.ad AND shows.n > 2",
    "SELECT a.budget, b.budget FROM campaigns a, campaigns b WHERE a.budget < b.budget",
    "SELECT c.ad, c.ts, s.n FROM clicks c ASOF JOIN shows s ON c.ad = s.ad AND c.ts >= s.at",
    "SELECT c.ad, c.ts, s.at FROM clicks c ASOF LEFT JOIN (SELECT DISTINCT ON (visitor, at) * "
    "FROM shows) s ON c.visitor = s.visitor AND s.at < c.ts",
    "SELECT c.ad, c.ts, s.n FROM clicks c ASOF JOIN shows s ON c.ad = s.ad AND c.ts >= s.at "
    "EMIT FINAL",
    "SELECT c.visitor, s.n, s.at FROM clicks c ASOF LEFT JOIN (SELECT ad, n, at FROM shows WHERE "
    "n > 0) s ON c.ad = s.ad AND c.ts > s.at EMIT FINAL",
    # an asof join with a table reads its versions
    "SELECT c.ad, c.ts, bid, since FROM clicks c ASOF JOIN bids ON c.ad = bids.ad "
    "AND c.ts >= bids.since",
    "SELECT c.ad, c.ts, b.bid FROM clicks c ASOF LEFT JOIN bids b ON b.ad = c.ad "
    "AND b.since < c.ts EMIT FINAL",
    "SELECT window_start, sum(b.bid), count(*) FROM TUMBLE(clicks, ts, INTERVAL '1 minute') c "
    "ASOF JOIN bids b ON c.ad = b.ad AND c.ts >= b.since GROUP BY window_start EMIT FINAL",
    "SELECT ad, at, bid FROM (SELECT ad::BIGINT AS ad, at, at AS since FROM shows) s "
    "ASOF JOIN bids USING (ad, since)",
    "SELECT c.ad, c.ts, b.ad, b.bid FROM clicks c ASOF JOIN (SELECT DISTINCT ON (bid) * FROM bids) "
    "b ON c.price >= b.bid",
    # joins in time
    "SELECT c.ad, c.ts, s.at FROM clicks c JOIN shows s ON c.ad = s.ad "
    "AND c.ts BETWEEN s.at - INTERVAL '1 minute' AND s.at + INTERVAL '5 minutes'",
    "SELECT c.ad, s.n, c.ts FROM clicks c LEFT JOIN (SELECT ad AS k, n, at FROM shows WHERE n > 0) "
    "s ON c.ad = s.k AND s.at > c.ts - INTERVAL 2 MINUTES AND s.at <= c.ts EMIT FINAL",
    "SELECT c.ad, s.n FROM (SELECT ad, ts AS t FROM clicks WHERE ok) c, shows s "
    "WHERE s.at - c.t <= to_minutes(1) AND c.t - s.at < '30 seconds'::INTERVAL EMIT FINAL",
    "SELECT visitor FROM clicks c SEMI JOIN shows s ON c.visitor = s.visitor AND c.ts >= s.at",
    "SELECT c.ad, s.n, c.ts FROM clicks c FULL JOIN shows s ON c.ad = s.ad AND c.price <> s.n "
    "AND s.at BETWEEN c.ts - INTERVAL '1 minute' AND c.ts + INTERVAL '1 minute' EMIT FINAL",
    "SELECT c.ad, s.at FROM clicks c RIGHT JOIN shows s ON c.visitor = s.visitor AND s.at >= c.ts "
    "AND s.at < c.ts + INTERVAL '2 minutes' AND c.price + s.n < 4 EMIT FINAL",
    "SELECT ad, ts FROM clicks c WHERE NOT EXISTS (SELECT 1 FROM shows s WHERE s.ad = c.ad "
    "AND s.n > c.price AND s.at BETWEEN c.ts AND c.ts + INTERVAL '1 minute') EMIT FINAL",
    "SELECT visitor, ts FROM clicks c ANTI JOIN shows s ON c.visitor = s.visitor "
    "AND s.at BETWEEN c.ts AND c.ts + INTERVAL '1 minute' EMIT FINAL",
    "SELECT a.ad, b.ad FROM clicks a JOIN clicks b ON a.visitor = b.visitor AND a.cost < b.cost "
    "AND b.ts >= a.ts AND b.ts <= a.ts + INTERVAL '90 seconds'",
    "SELECT ad FROM clicks WHERE ad IN (SELECT ad FROM shows WHERE n > 1)",
    "SELECT ad, visitor FROM clicks c WHERE EXISTS (SELECT 1 FROM shows s WHERE s.ad = c.ad "
    "AND s.visitor = c.visitor)",
    "SELECT ad FROM clicks c WHERE NOT EXISTS (FROM campaigns k WHERE k.ad = c.ad AND budget > 0)",
    "SELECT ad FROM campaigns WHERE ad NOT IN (SELECT ad FROM shows WHERE n = 3)",
    "SELECT ad, visitor FROM clicks WHERE visitor NOT IN (SELECT visitor FROM shows WHERE n > 1)",
    "SELECT ad, price FROM clicks WHERE price NOT IN (SELECT n FROM shows WHERE n IS NOT NULL)",
    "SELECT ad FROM clicks WHERE ad + 1 NOT IN (SELECT budget FROM campaigns WHERE budget > 90)",
    "SELECT c.ad, c.ts FROM clicks c WHERE NOT EXISTS (SELECT 1 FROM clicks d "
    "WHERE d.ad = c.ad AND d.ts > c.ts)",
    "SELECT c.ad FROM clicks c WHERE EXISTS (SELECT n FROM shows s WHERE s.n > c.price LIMIT 1)",
    "SELECT k.ad FROM campaigns k WHERE NOT EXISTS (SELECT DISTINCT n FROM shows s "
    "WHERE s.ad + k.ad = 3 AND s.n > 1 AND k.budget > s.n)",
    "SELECT ad FROM campaigns WHERE EXISTS (SELECT ad FROM shows GROUP BY ad HAVING count(*) > 2)",
    "SELECT ad FROM clicks c WHERE price IN (SELECT n FROM shows s WHERE s.visitor <> c.visitor)",
    "SELECT ad FROM clicks c WHERE NOT price IN (SELECT n FROM shows s WHERE s.ad = c.ad)",
    "SELECT ad FROM clicks WHERE cost >= (SELECT avg(cost) FROM clicks)",
    "SELECT k.*, (SELECT max(n) FROM shows s WHERE s.ad = k.ad) AS most FROM campaigns k",
    "SELECT k.ad, (SELECT count(*) + 1 FROM shows s WHERE k.ad = s.ad AND n > 1) FROM campaigns k",
    "SELECT * FROM clicks c WHERE price = (SELECT max(price) FROM clicks d WHERE d.ad = c.ad)",
    "SELECT ad, cost / (SELECT sum(cost) FROM clicks) AS share FROM clicks WHERE ok",
    "SELECT *, (SELECT count(*) FROM shows WHERE n > 9) AS none FROM campaigns",
    "SELECT ad, count(*) FROM clicks WHERE price > (SELECT min(n) FROM shows) GROUP BY ad",
    "SELECT c.ad, k.campaign FROM clicks c LEFT JOIN campaigns k USING (ad) "
    "WHERE c.cost > (SELECT avg(cost) FROM clicks) AND k.budget > (SELECT count(*) FROM shows)",
    "SELECT ad, (SELECT sum(price) FROM clicks d WHERE d.visitor = c.visitor AND d.ad = c.ad "
    "AND d.ok) AS total FROM clicks c WHERE ad < (SELECT max(ad) FROM campaigns)",
    "SELECT ad FROM clicks c WHERE (SELECT count(*) FROM shows s WHERE s.ad = c.ad) IN (1, 2)",
    "SELECT ad FROM campaigns k WHERE ad = (SELECT n FROM shows s WHERE s.ad = k.ad LIMIT 1) "
    "OR budget > 0",
    "SELECT c.ad, count(*) FROM clicks c LEFT JOIN shows s ON c.visitor = s.visitor GROUP BY c.ad",
    "SELECT c.ad FROM clicks c JOIN shows s ON c.ad = s.ad AND c.ad = s.n AND s.n = c.ad",
    # sets
    "SELECT DISTINCT ad, visitor FROM clicks",
    "SELECT ad, visitor FROM clicks UNION ALL SELECT ad, visitor FROM shows",
    "SELECT ad FROM clicks UNION SELECT n FROM shows",
    "SELECT ad, visitor FROM clicks EXCEPT SELECT ad, visitor FROM shows",
    "SELECT ad FROM clicks INTERSECT ALL SELECT ad FROM shows",
    "SELECT count(*) FROM (SELECT DISTINCT visitor FROM clicks)",
    "SELECT ad, visitor FROM clicks EXCEPT ALL SELECT ad, visitor FROM shows",
    "SELECT ad, visitor, tags FROM clicks INTERSECT SELECT ad, visitor, tags FROM clicks WHERE ok",
    "SELECT n FROM shows EXCEPT ALL SELECT ad FROM clicks INTERSECT ALL SELECT ad FROM campaigns",
    "SELECT budget FROM campaigns EXCEPT SELECT n FROM shows ORDER BY 1 DESC LIMIT 2",
    "SELECT ad, visitor FROM clicks UNION BY NAME SELECT n, visitor FROM shows",
    "SELECT visitor, n FROM shows UNION ALL BY NAME SELECT ad, visitor FROM clicks",
    # several sets of groups
    "SELECT ad, visitor, sum(n), max(at), count(DISTINCT n), grouping(visitor, ad) FROM shows "
    "GROUP BY CUBE (ad, visitor) HAVING count(*) > 1",
    "SELECT ad, n, sum(n), grouping_id(n) FROM shows GROUP BY GROUPING SETS ((ad, n), (ad), (), "
    "(n), ()) ORDER BY 3 DESC LIMIT 5",
    "SELECT ad, sum(n) FILTER (WHERE n > 1), visitor FROM shows GROUP BY ad, ROLLUP (visitor)",
    "SELECT campaign, sum(budget), grouping(campaign) FROM campaigns GROUP BY ROLLUP (campaign)",
    "SELECT count(*), ad + 1 AS k, sum(cost) FROM clicks WHERE ad > 1000 GROUP BY CUBE (k)",
    "SELECT window_start, ad, count(*) FROM TUMBLE(clicks, ts, INTERVAL '2 minutes') "
    "GROUP BY GROUPING SETS ((window_start, ad), (window_start))",
    "SELECT campaign, ad, count(*) FROM clicks JOIN campaigns USING (ad) "
    "GROUP BY GROUPING SETS (campaign, ad, ())",
    "SELECT ad, count(*), rank() OVER (PARTITION BY grouping(ad) ORDER BY count(*)) FROM clicks "
    "GROUP BY CUBE (ad)",
    # the first rows
    "SELECT ad, cost FROM clicks ORDER BY cost DESC, ts LIMIT 5",
    "SELECT campaign FROM campaigns LIMIT 2 OFFSET 1",
    "SELECT * FROM clicks QUALIFY row_number() OVER (PARTITION BY ad ORDER BY ts DESC) = 1",
    "SELECT ad, visitor FROM (SELECT *, row_number() OVER (PARTITION BY visitor ORDER BY cost "
    "NULLS FIRST) AS rn FROM clicks) WHERE rn <= 2",
    "SELECT ad, row_number() OVER (PARTITION BY ad ORDER BY n DESC) AS place, visitor FROM shows "
    "QUALIFY place < 4",
    "SELECT DISTINCT ON (visitor) visitor, price FROM clicks ORDER BY visitor, ts",
    "SELECT DISTINCT ON (visitor, ok) ad, price FROM clicks ORDER BY ts DESC, ad LIMIT 3 OFFSET 1",
    "SELECT DISTINCT ON (campaign) campaign, budget FROM campaigns",
    "SELECT visitor, n, dense_rank() OVER (PARTITION BY visitor ORDER BY n DESC NULLS FIRST) AS d "
    "FROM shows QUALIFY d < 3 AND ad > 1",
    "SELECT * FROM (SELECT ad, n, rank() OVER (ORDER BY n) AS r FROM shows) WHERE r <= 3",
    "SELECT campaign, budget, rank() OVER (PARTITION BY campaign ORDER BY budget // 2) AS r "
    "FROM campaigns QUALIFY r <= 2",
    "SELECT visitor, count(*) AS n FROM clicks GROUP BY visitor ORDER BY n DESC LIMIT 2",
    "SELECT visitor FROM clicks UNION SELECT campaign FROM campaigns ORDER BY 1 LIMIT 3",
    # window functions
    "SELECT ad, ts, lag(cost) OVER (PARTITION BY ad ORDER BY ts) FROM clicks",
    "SELECT ad, rank() OVER (ORDER BY cost DESC), sum(cost) OVER (PARTITION BY ad) FROM clicks",
    "SELECT visitor, sum(count(*)) OVER () AS everyone, count(*) FROM clicks GROUP BY visitor",
    "SELECT * FROM shows QUALIFY n = max(n) OVER (PARTITION BY visitor)",
    "SELECT ad, ts, lag(cost, 2) OVER w, lead(price, 1, cost) OVER w, row_number() OVER w FROM "
    "clicks WINDOW w AS (PARTITION BY ad ORDER BY ts DESC NULLS FIRST)",
    "SELECT visitor, ts, count(*) OVER w, sum(cost) OVER w, avg(price) OVER w, min(price) OVER w, "
    "max(visitor) OVER w FROM clicks "
    "WINDOW w AS (PARTITION BY visitor ORDER BY ts ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING)",
    "SELECT ad, sum(price) OVER w, count(visitor) OVER w, avg(price) FILTER (WHERE ok) OVER w "
    "FROM clicks WINDOW w AS (PARTITION BY ad ORDER BY ts RANGE BETWEEN INTERVAL '2 minutes' "
    "PRECEDING AND INTERVAL '30 seconds' FOLLOWING)",
    "SELECT ad, n, sum(n) OVER (ORDER BY ad RANGE BETWEEN 1 PRECEDING AND CURRENT ROW) FROM shows",
    "SELECT ad, sum(cost) OVER w, avg(price) OVER w, count(*) OVER w, count(price) OVER w, "
    "min(cost) OVER w, max(price) OVER w, bool_and(ok) OVER w, sum(ad) FILTER (WHERE ok) OVER w "
    "FROM clicks WINDOW w AS (PARTITION BY ad ORDER BY ts)",
    "SELECT n, sum(n) OVER (ORDER BY at ROWS UNBOUNDED PRECEDING) AS s, avg(n * 2) OVER (ORDER BY "
    "visitor, n) FROM shows",
    "SELECT visitor, rank() OVER w, dense_rank() OVER w, first_value(n) OVER w, "
    "last_value(n IGNORE NULLS) OVER w, last_value(at) OVER w "
    "FROM shows WINDOW w AS (PARTITION BY visitor ORDER BY n DESC)",
    "SELECT campaign, budget, lag(budget) OVER (PARTITION BY campaign ORDER BY budget), "
    "sum(budget) OVER (ORDER BY campaign), rank() OVER (ORDER BY campaign DESC) FROM campaigns",
    "SELECT ad, cost, nth_value(cost, 2) OVER (PARTITION BY ad ORDER BY price ROWS BETWEEN 1 "
    "PRECEDING AND 2 FOLLOWING), ntile(2) OVER (PARTITION BY ad ORDER BY price) FROM clicks",
    "SELECT visitor, ts - lag(ts) OVER (PARTITION BY visitor ORDER BY ts) AS gap FROM clicks "
    "WHERE ok QUALIFY gap > INTERVAL '1 minute'",
    "SELECT ad, total, sum(total) OVER (ORDER BY total DESC), rank() OVER (ORDER BY total DESC) "
    "FROM (SELECT ad, sum(n) AS total FROM shows GROUP BY ad)",
    "SELECT visitor, row_number() OVER (PARTITION BY visitor) AS r FROM shows",
    "SELECT ad, first_value(price) OVER w, last_value(visitor IGNORE NULLS) OVER w FROM clicks "
    "WINDOW w AS (PARTITION BY ad ORDER BY ts RANGE INTERVAL '2 minutes' PRECEDING)",
    "SELECT visitor, n FROM shows QUALIFY rank() OVER (PARTITION BY visitor ORDER BY n DESC) <= 2",
    # several blocks
    "WITH big AS (SELECT ad, cost FROM clicks WHERE cost > 0.5), per AS (SELECT ad, sum(cost) AS s "
    "FROM big GROUP BY ad) SELECT big.ad, big.cost, per.s FROM big JOIN per USING (ad)",
    "WITH RECURSIVE steps AS (SELECT 0 AS i UNION ALL SELECT i + 1 FROM steps WHERE i < 2) "
    "SELECT i, ad FROM steps JOIN campaigns ON i = ad",
    "SELECT ad, tag FROM clicks, unnest(tags) AS u(tag)",
    "SELECT 1 AS one, 'x' AS x",
    "SELECT tag, count(*) FROM clicks, unnest(tags) AS u(tag) WHERE tag <> 'y' GROUP BY tag",
    "SELECT ad, i FROM clicks, generate_series(1, 2) AS r(i) WHERE ad = i",
    "SELECT ad, x FROM clicks JOIN (VALUES (1, 'a'), (2, 'b')) AS v(k, x) ON ad = k",
    "SELECT c.ad, l.m FROM campaigns c, LATERAL (SELECT max(n) AS m FROM shows s "
    "WHERE s.ad = c.ad) l",
    # names
    "SELECT ad + 1 AS ad, count(*) FROM clicks GROUP BY ALL",
    "SELECT visitor AS v, sum(cost) AS cost FROM clicks GROUP BY v HAVING sum(cost) > 1",
    "SELECT visitor AS v, sum(price) AS total FROM clicks GROUP BY v HAVING total > 0 "
    "ORDER BY total + 1 LIMIT 2",
    "SELECT visitor, -cost AS cost FROM clicks ORDER BY cost LIMIT 4",
    "SELECT visitor, -cost AS cost FROM clicks ORDER BY cost + 1 LIMIT 4",
    'SELECT ad AS "a b", cost AS "select" FROM clicks WHERE "a b" > 1',
    "SELECT ad, ad, cost AS ad FROM clicks",
    "SELECT t FROM campaigns t",
    "SELECT COLUMNS('ad|cost') FROM clicks",
    "SELECT q.s.a, q.s['b'], s.b FROM (SELECT {'a': ad, 'b': visitor} AS s FROM clicks) q",
    "SELECT list_transform(tags, x -> x || visitor) AS l FROM clicks",
    "SELECT [x || '!' FOR x IN tags IF x <> 'y'] AS l FROM clicks",
    "WITH a AS (SELECT ad FROM clicks), b AS (WITH a AS (SELECT n AS ad FROM shows) "
    "SELECT * FROM a) SELECT count(*) FROM a JOIN b USING (ad)",
    "SELECT ad, sum(cost) OVER w, row_number() OVER w AS r FROM clicks "
    "WINDOW w AS (PARTITION BY visitor ORDER BY ts)",
    "SELECT c.ad, s.ad, k.ad, ad FROM clicks c LEFT JOIN shows s USING (ad) "
    "FULL JOIN campaigns k USING (ad)",
    "SELECT ad, visitor FROM clicks NATURAL JOIN shows",
    # more aggregates
    "SELECT ad, count(ad), sum(DISTINCT ad), sum(ad), avg(DISTINCT n) FROM shows GROUP BY ad",
    "SELECT ad, count(*), count(DISTINCT visitor), avg(DISTINCT price) FILTER (WHERE ok) "
    "FROM clicks GROUP BY ad",
    "SELECT count(DISTINCT ad), sum(DISTINCT cost), count(*) FROM clicks",
    "SELECT ad, count(DISTINCT n), count(DISTINCT n) FILTER (WHERE n > 1), max(at) FROM shows "
    "GROUP BY ad",
    "SELECT strftime(ts, '%H') AS hour, visitor, count(DISTINCT ad) AS ads, count(*) FILTER "
    "(WHERE ad > 1), max(ts) FROM clicks GROUP BY hour, visitor",
    "SELECT visitor, count_if(ad > cost), bool_and(ad > 1) FROM clicks GROUP BY visitor",
    "SELECT ad, count(DISTINCT visitor), count(DISTINCT visitor) FILTER (WHERE ok), max(price), "
    "count(DISTINCT visitor) FILTER (WHERE price > 1), sum(DISTINCT cost) FILTER (WHERE ok), "
    "sum(DISTINCT cost), avg(DISTINCT cost) FROM clicks GROUP BY ad",
    "SELECT count(DISTINCT visitor), count(DISTINCT visitor) FILTER (WHERE ok) FROM clicks "
    "GROUP BY ad",
    "SELECT count(DISTINCT visitor) FILTER (WHERE NOT ok), count(DISTINCT visitor) FILTER "
    "(WHERE ok), sum(DISTINCT cost) FROM clicks WHERE ad > 1000",
    "SELECT campaign, count(DISTINCT budget), count(DISTINCT budget) FILTER (WHERE ad > 1), "
    "sum(DISTINCT budget) FILTER (WHERE ad > 2), count(*) FROM campaigns GROUP BY campaign",
    "SELECT visitor, sum(DISTINCT price), sum(DISTINCT price) FILTER (WHERE ok), "
    "count(DISTINCT price) FROM clicks GROUP BY visitor",
    "SELECT window_start, count(DISTINCT visitor), count(*), count(DISTINCT visitor) FILTER "
    "(WHERE ok) FROM HOP(clicks, ts, INTERVAL '1 minute', INTERVAL '3 minutes') "
    "GROUP BY window_start EMIT FINAL",
    "SELECT ad, bit_or(n), bit_and(n) FILTER (WHERE n > 1) FROM shows GROUP BY ad",
    "SELECT * FROM (PIVOT clicks ON visitor IN ('a', 'b') USING sum(cost) GROUP BY ad)",
    "SELECT ad FROM clicks WHERE (ad, visitor) IN (SELECT ad, visitor FROM shows)",
    "SELECT ad, cost FROM clicks ORDER BY ts, ad, cost LIMIT 50%",
    "SELECT window_end - window_start AS l, count(*) FROM TUMBLE(clicks, ts, INTERVAL '1 minute') "
    "GROUP BY ALL",
    "SELECT window_start, max(window_end), sum(cost) FROM TUMBLE(clicks, ts, INTERVAL '1 minute') "
    "GROUP BY window_start",
    "SELECT w.window_start, count(*) FROM clicks c "
    "LEFT JOIN TUMBLE(shows, at, INTERVAL '2 minutes') w ON c.ad = w.ad GROUP BY ALL",
    # sketches, and what is read off counts by value
    "SELECT ad, approx_quantile(price, 0.5) AS m, approx_quantile(price, [0.1, 0.9]) AS l, "
    "count(*) AS n, sum(cost) AS s FROM clicks GROUP BY ad",
    "SELECT campaign, approx_quantile(budget, 0.5, 0.02), approx_count_distinct(ad), "
    "approx_top_k(ad, 2) FROM campaigns GROUP BY campaign",
    "SELECT window_start, approx_count_distinct(visitor) AS v, approx_quantile(price, 0.99) AS p, "
    "approx_top_k(visitor, 2) AS t, sum(cost), max(price) "
    "FROM HOP(clicks, ts, INTERVAL '1 minute', INTERVAL '3 minutes') GROUP BY window_start "
    "EMIT FINAL",
    "SELECT window_start, ad, approx_count_distinct(visitor) AS v, approx_quantile(price, 0.9) "
    "FROM TUMBLE(clicks, ts, INTERVAL '3 minutes') GROUP BY ALL",
    "SELECT approx_count_distinct(visitor) FILTER (WHERE ok) + 1, approx_top_k(visitor) "
    "FROM clicks",
    "SELECT ad, visitor, approx_quantile(n, 0.5) FROM shows GROUP BY ROLLUP (ad, visitor)",
    "SELECT ad, approx_quantile(n, 0.5) OVER (PARTITION BY ad) FROM shows",
    "SELECT ad FROM clicks GROUP BY ad HAVING approx_quantile(price, 0.1) > 0 "
    "ORDER BY approx_quantile(price, 0.75) DESC LIMIT 2",
    "SELECT histogram(ad), quantile_disc(ad, 0.25), quantile_disc(n, [0.5, 1.0]) FROM shows",
    "SELECT visitor, quantile_disc(n, 0.5), count(DISTINCT n::TINYINT), sum(DISTINCT n) "
    "FROM TUMBLE(shows, at, INTERVAL '3 minutes') GROUP BY visitor, window_start",
    "SELECT campaign, approx_quantile(price, 0.5) AS p FROM clicks JOIN campaigns USING (ad) "
    "GROUP BY campaign",
)
