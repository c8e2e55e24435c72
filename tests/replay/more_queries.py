"""Queries of the kinds that a database's own tests try.

Nulls and nothing, groups by expressions, correlated subqueries, the precedence of set operations,
the ends of frames, great numbers, decimals, times with zones, and types within types.
"""

MORE_QUERIES = (
    # nulls and empty inputs
    "SELECT count(*), count(n), sum(n), min(n), max(at), bool_and(n > 0), list(n) FROM shows "
    "WHERE FALSE",
    "SELECT ad, count(*) FROM shows WHERE n IS NULL AND n IS NOT NULL GROUP BY ad",
    "SELECT ad, count(*) FROM shows GROUP BY ad HAVING max(n) > 99",
    "SELECT (SELECT max(n) FROM shows WHERE FALSE) AS nothing, count(*) FROM clicks",
    "SELECT c.ad, s.n FROM clicks c LEFT JOIN (SELECT * FROM shows WHERE FALSE) s ON c.ad = s.ad",
    "SELECT c.ad, s.n FROM (SELECT * FROM clicks WHERE FALSE) c FULL JOIN shows s ON c.ad = s.ad",
    "SELECT a.ad, b.ad FROM clicks a JOIN shows b ON a.ad IS NOT DISTINCT FROM b.ad AND "
    "a.visitor = b.visitor",
    "SELECT a.ad, b.n FROM clicks a LEFT JOIN shows b ON a.ad = b.ad AND b.n IS NULL",
    "SELECT a.ad, b.n FROM clicks a LEFT JOIN shows b ON a.ad = b.ad WHERE b.n IS NULL",
    "SELECT ad FROM clicks WHERE ad NOT IN (SELECT n FROM shows)",
    "SELECT ad FROM clicks WHERE ad NOT IN (SELECT n FROM shows WHERE FALSE)",
    "SELECT ad, ad IN (SELECT n FROM shows) AS known FROM clicks",
    "SELECT DISTINCT ad, visitor FROM clicks WHERE ad IS NULL OR visitor IS NULL",
    "SELECT visitor, sum(cost) FILTER (WHERE cost IS NULL), avg(cost) FROM clicks GROUP BY visitor",
    "SELECT NULL::INTEGER AS nothing, count(*) FROM clicks GROUP BY ALL",
    "SELECT ad, lag(n) OVER (ORDER BY at RANGE INTERVAL '1 minute' PRECEDING) FROM shows",
    # groups by expressions
    "SELECT ad % 2 AS odd, visitor = 'a' AS is_a, count(*) FROM clicks GROUP BY 1, 2",
    "SELECT CASE WHEN cost > 1 THEN 'much' WHEN cost IS NULL THEN 'none' ELSE 'little' END AS "
    "how, count(*), sum(cost) FROM clicks GROUP BY how",
    "SELECT date_trunc('minute', ts) AS m, extract(second FROM ts) // 30 AS half, count(*) "
    "FROM clicks GROUP BY ALL",
    "SELECT len(tags) AS n, count(*), sum(len(tags)) FROM clicks GROUP BY n HAVING count(*) > 1",
    "SELECT upper(visitor) AS v, count(DISTINCT lower(visitor)) FROM clicks GROUP BY "
    "upper(visitor)",
    "SELECT ad, visitor, grouping(ad), grouping(visitor), count(*) FROM clicks GROUP BY CUBE "
    "(ad, visitor)",
    "SELECT ad, sum(n), grouping(ad) FROM shows GROUP BY GROUPING SETS ((ad), (), (ad))",
    "SELECT ad + 1 AS next, sum(n) AS s FROM shows GROUP BY ad + 1, ad % 2",
    "SELECT max(s) - min(s) FROM (SELECT ad, sum(n) AS s FROM shows GROUP BY ad)",
    # correlated subqueries
    "SELECT k.ad, (SELECT count(*) FROM clicks c WHERE c.ad = k.ad) AS n FROM campaigns k",
    "SELECT k.ad, (SELECT sum(c.cost) FROM clicks c WHERE c.ad = k.ad AND c.cost > k.budget) "
    "FROM campaigns k",
    "SELECT s.ad, s.n FROM shows s WHERE s.n = (SELECT max(n) FROM shows o WHERE o.ad = s.ad)",
    "SELECT s.ad FROM shows s WHERE s.n > ALL (SELECT budget FROM campaigns k WHERE k.ad = s.ad)",
    "SELECT s.ad FROM shows s WHERE s.n = ANY (SELECT budget FROM campaigns k WHERE k.ad <> s.ad)",
    "SELECT c.visitor FROM clicks c WHERE EXISTS (SELECT 1 FROM shows s WHERE s.visitor = "
    "c.visitor AND s.at > c.ts)",
    "SELECT k.ad FROM campaigns k WHERE (SELECT count(*) FROM shows s WHERE s.ad = k.ad) > "
    "(SELECT count(*) FROM clicks c WHERE c.ad = k.ad)",
    "SELECT ad, EXISTS (SELECT 1 FROM shows s WHERE s.ad = k.ad AND s.n > 1) AS busy FROM "
    "campaigns k",
    "SELECT ad FROM clicks c WHERE (c.ad, c.visitor) NOT IN (SELECT s.ad, s.visitor FROM shows "
    "s WHERE s.ad IS NOT NULL AND s.visitor IS NOT NULL) AND c.ad IS NOT NULL AND c.visitor IS "
    "NOT NULL",
    # set operations
    "SELECT ad FROM clicks UNION ALL SELECT n FROM shows INTERSECT SELECT budget FROM campaigns",
    "(SELECT ad FROM clicks UNION ALL SELECT n FROM shows) INTERSECT ALL SELECT ad FROM shows",
    "SELECT ad FROM clicks EXCEPT ALL SELECT n FROM shows EXCEPT SELECT budget FROM campaigns",
    "SELECT ad FROM clicks EXCEPT (SELECT n FROM shows EXCEPT SELECT budget FROM campaigns)",
    "SELECT visitor FROM clicks INTERSECT SELECT visitor FROM shows UNION SELECT campaign FROM "
    "campaigns",
    "SELECT ad AS a, visitor AS b FROM clicks UNION BY NAME SELECT visitor AS b, n AS c FROM shows",
    "SELECT ad, NULL::INTEGER AS x FROM clicks INTERSECT SELECT ad, NULL::INTEGER FROM shows",
    "SELECT count(*), sum(ad) FROM (SELECT ad FROM clicks EXCEPT ALL SELECT ad FROM shows)",
    "SELECT ad FROM clicks UNION SELECT ad FROM clicks WHERE FALSE EXCEPT SELECT ad FROM "
    "clicks WHERE ad > 2",
    # frames
    "SELECT ad, n, sum(n) OVER (PARTITION BY ad ORDER BY n ROWS BETWEEN 1 FOLLOWING AND 2 "
    "FOLLOWING) FROM shows",
    "SELECT n, count(*) OVER (ORDER BY n ROWS BETWEEN CURRENT ROW AND CURRENT ROW) FROM shows",
    "SELECT n, sum(n) OVER (ORDER BY n DESC NULLS LAST RANGE BETWEEN 1 PRECEDING AND 1 "
    "FOLLOWING) FROM shows",
    "SELECT ad, at, count(*) OVER (PARTITION BY ad ORDER BY at RANGE BETWEEN INTERVAL '2 "
    "minutes' PRECEDING AND INTERVAL '1 minute' PRECEDING) FROM shows",
    "SELECT ad, n, first_value(n) OVER w, nth_value(n, 2) OVER w FROM shows WINDOW w AS "
    "(PARTITION BY ad ORDER BY n, at RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)",
    "SELECT ad, at, nth_value(n, 2) OVER (PARTITION BY ad ORDER BY at RANGE INTERVAL '2 "
    "minutes' PRECEDING) FROM shows",
    "SELECT ad, n, sum(n) OVER w, min(n) OVER (PARTITION BY ad) FROM shows WINDOW w AS "
    "(PARTITION BY ad ORDER BY at ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)",
    "SELECT ad, visitor, n, avg(n) OVER (PARTITION BY ad, visitor ORDER BY n GROUPS BETWEEN 1 "
    "PRECEDING AND CURRENT ROW) FROM shows",
    "SELECT visitor, n, lag(n, 1, -1) OVER b, lead(n, 2) OVER b FROM shows WINDOW a AS "
    "(PARTITION BY visitor), b AS (a ORDER BY at, n)",
    "SELECT ad, percent_rank() OVER (ORDER BY n), cume_dist() OVER (ORDER BY n), ntile(3) OVER "
    "(ORDER BY n) FROM shows",
    "SELECT ad, sum(sum(n)) OVER (ORDER BY ad), rank() OVER (ORDER BY sum(n) DESC) FROM shows "
    "GROUP BY ad",
    # great numbers, decimals, dates and times with zones
    "SELECT big, big + 1 AS more, -big AS less, count(*) FROM things GROUP BY big",
    "SELECT sum(big), min(big), max(big), count(DISTINCT big) FROM things",
    "SELECT id, sum(amount), avg(amount), min(amount), max(amount) FROM things GROUP BY id",
    "SELECT amount * 2 AS double, amount / 3 AS third, round(amount, 1) AS about FROM things",
    "SELECT sum(amount) OVER (ORDER BY at), amount FROM things",
    "SELECT day, count(*), min(moment), max(moment) FROM things GROUP BY day",
    "SELECT moment, count(*) FROM things GROUP BY moment HAVING moment > TIMESTAMPTZ "
    "'2024-02-28 23:00:00+00'",
    "SELECT moment AT TIME ZONE 'America/New_York' AS there, day + 1 AS tomorrow FROM things",
    "SELECT a.moment, b.id FROM things a JOIN things b ON a.moment = b.moment AND a.day <= b.day",
    "SELECT a.big, b.amount FROM things a JOIN things b ON a.big = b.big AND a.amount > b.amount",
    "SELECT date_trunc('hour', moment) AS h, date_diff('hour', TIMESTAMPTZ '2024-02-28 "
    "00:00:00+00', moment) AS d, count(*) FROM things GROUP BY ALL",
    "SELECT id, moment, lag(moment) OVER (PARTITION BY id ORDER BY moment) FROM things",
    "SELECT max(at) - min(at) AS length, max(day) - min(day) AS days FROM things",
    # nested types
    "SELECT info, count(*) FROM things GROUP BY info",
    "SELECT info.a AS a, info.b, attrs['k'] AS k, attrs FROM things WHERE info.a > 0 OR "
    "attrs['l'] = 1",
    "SELECT DISTINCT info, attrs FROM things",
    "SELECT a.id, b.info FROM things a JOIN things b ON a.info = b.info",
    "SELECT id, list(info.a ORDER BY info.a) AS l, max(info) FROM things GROUP BY id",
    "SELECT id, unnest(map_keys(attrs)) AS key FROM things",
    "SELECT key, count(*) FROM (SELECT unnest(map_keys(attrs)) AS key FROM things) GROUP BY key",
    "SELECT doc ->> '$.a' AS a, doc -> 'a' AS j, json_type(doc) AS t FROM things",
    "SELECT json_type(doc) AS t, count(*) FROM things GROUP BY t",
    "SELECT struct_pack(x := id, y := [id, 2]) AS s, {'a': tags} AS t FROM things JOIN clicks "
    "ON id = ad",
    "SELECT tags, count(*) FROM clicks GROUP BY tags",
    "SELECT ad, list_concat(tags, ['z']) AS l, tags[1] AS first, tags[-1] AS last FROM clicks",
    "SELECT ad, array_agg(visitor ORDER BY visitor) FILTER (WHERE visitor IS NOT NULL) FROM "
    "clicks GROUP BY ad",
    "SELECT * FROM things QUALIFY row_number() OVER (PARTITION BY id ORDER BY at DESC, big) = 1",
    "SELECT tag, rank() OVER (ORDER BY count(*) DESC) AS place FROM (SELECT unnest(tags) AS "
    "tag FROM clicks) GROUP BY tag",
    # the extremes of what the groups are of
    "SELECT budget, min(budget), count(*) FROM campaigns GROUP BY budget",
    "SELECT budget, ad, max(budget), min(budget) FROM campaigns GROUP BY budget, ad",
    # of equal matches the one that came last, also where the join is computed again
    "SELECT c.ad, c.ts, s.at, s.n FROM clicks c ASOF JOIN (SELECT ad, n, visitor, "
    "date_trunc('minute', at) AS at FROM shows) s ON c.ad = s.ad AND c.ts >= s.at "
    "AND c.visitor <> s.visitor",
    "SELECT c.visitor, c.cost, s.n, s.at FROM clicks c ASOF LEFT JOIN shows s "
    "ON c.visitor = s.visitor AND c.cost >= s.n",
    "SELECT c.ad, s.n, s.at, percent_rank() OVER (ORDER BY c.ad) FROM clicks c ASOF JOIN shows s "
    "ON c.visitor = s.visitor AND c.cost > s.n",
    # counts by value of sessions, which grow and meet
    "SELECT visitor, window_start, window_end, quantile_disc(n, 0.5), histogram(n) FROM "
    "SESSION(shows PARTITION BY visitor, at, INTERVAL '20 seconds') GROUP BY ALL",
    "SELECT window_end, approx_count_distinct(visitor), approx_top_k(ad, 2), max(n) FROM "
    "SESSION(shows, at, INTERVAL '8 seconds') GROUP BY window_start, window_end EMIT FINAL",
    # whether there is any row before, or after
    "SELECT ad, ts FROM clicks c WHERE EXISTS (SELECT 1 FROM shows s WHERE s.ad = c.ad AND "
    "s.at <= c.ts)",
    "SELECT ad, at FROM shows s WHERE NOT EXISTS (SELECT 1 FROM clicks c WHERE s.ad = c.ad AND "
    "c.ts > s.at + INTERVAL '10 seconds') EMIT FINAL",
    "SELECT visitor, at FROM shows s WHERE NOT EXISTS (SELECT 1 FROM shows o WHERE "
    "o.visitor = s.visitor AND o.at < s.at) EMIT FINAL",
    # of equally new rows that may be withdrawn the last by its content
    "SELECT c.ad, c.ts, r.ad, r.n FROM clicks c ASOF JOIN (SELECT ad, max(at) AS at, count(*) AS n "
    "FROM shows GROUP BY ad) r ON c.ts >= r.at",
    "SELECT c.ad, c.ts, b.bid FROM clicks c ASOF LEFT JOIN bids b ON c.ts >= b.since",
)
