"""What the planner makes of a query, node by node."""

from __future__ import annotations

from textwrap import dedent

from headwater.plan.nodes import Join, walk
from sql.planning import planned, tree


def test_a_filter_and_a_projection_are_one_map_over_the_columns_they_read() -> None:
    assert tree("SELECT ad, cost * 2 AS twice FROM clicks WHERE visitor = 'ann'") == dedent("""\
        map ad, cost * 2 AS twice
            where visitor = 'ann'
          scan clicks: rows of ad, visitor, cost""")


def test_nested_queries_that_only_pick_columns_melt_into_one_map() -> None:
    query = """
        WITH dear AS (SELECT ad, cost AS c FROM clicks WHERE cost > 1), again AS (FROM dear)
        SELECT c AS price FROM (SELECT * FROM again WHERE ad = 3)
    """

    assert tree(query) == dedent("""\
        map cost AS price
            where cost > 1 AND ad = 3
          scan clicks: rows of ad, cost""")


def test_a_window_is_pulled_up_through_a_join_into_the_aggregate() -> None:
    query = """
        SELECT campaign, window_start, count(*) AS clicks, sum(cost) AS spend
        FROM TUMBLE(clicks, ts, INTERVAL '1 minute') JOIN campaigns USING (ad)
        GROUP BY campaign, window_start, window_end EMIT FINAL
    """

    assert tree(query) == dedent("""\
        map campaign, window_start, count AS clicks, sum_cost AS spend
          aggregate by campaign and window: count(*) AS count, sum(cost) AS sum_cost
              windows of 1 minute over ts
              closed by the watermark of clicks
              keeps one row for each group and slice of time
            map campaign, cost, ts
              join on ad = campaigns_ad
                  keeps both sides by key
                scan clicks: rows of ad, cost, ts
                map ad AS campaigns_ad, campaign
                  scan campaigns: changes of ad, campaign""")


def test_a_window_that_a_condition_reads_stays_below_it() -> None:
    query = """
        SELECT window_start, count(*) AS n FROM TUMBLE(clicks, ts, INTERVAL '1 minute')
        WHERE window_start > TIMESTAMP '2024-01-01' GROUP BY ALL
    """

    assert tree(query) == dedent("""\
        map window_start, count AS n
          aggregate by window_start: count(*) AS count
              keeps one row for each group
            map window_start
                where window_start > CAST('2024-01-01' AS TIMESTAMP)
              windows of 1 minute over ts, adding window_start and window_end
                scan clicks: rows of ts""")


def test_a_hopping_window_names_its_slide_and_its_lateness() -> None:
    query = """
        SELECT ad, window_end, avg(price) AS mean
        FROM HOP(clicks, ts, INTERVAL '1 minute', INTERVAL '1 hour') WHERE cost > 1
        GROUP BY ad, window_end HAVING count(*) > 2
    """

    assert tree(query, emit="final", lateness="1 hour") == dedent("""\
        map ad, window_end, (CAST(sum_price AS DOUBLE) / count_price) AS mean
            where count > 2
          aggregate by ad and window: sum(price) AS sum_price, count(price) AS count_price, \
count(*) AS count
              windows of 1 hour every 1 minute over ts
              closed by the watermark of clicks, corrected for 1 hour
              keeps one row for each group and slice of time
            map ad, price, ts
                where cost > 1
              scan clicks: rows of ad, cost, price, ts""")


def test_rows_below_a_window_that_decides_carry_their_place() -> None:
    query = "SELECT count(*) FROM TUMBLE(clicks, ts, INTERVAL '1 minute') GROUP BY window_start"

    assert "ticks=True" in repr(planned(query, emit="final").root)
    assert "ticks=True" in repr(planned(query, lateness="1 minute").root)
    assert "ticks=True" not in repr(planned(query).root)


def test_a_filter_of_an_aggregate_is_a_case_below_it() -> None:
    assert tree("SELECT ad, count(*) FILTER (WHERE price > 1) AS n FROM clicks GROUP BY ad") == (
        dedent("""\
        map ad, count_argument AS n
          aggregate by ad: count(argument) AS count_argument
              keeps one row for each group
            map ad, CASE WHEN price > 1 THEN 1 END AS argument
              scan clicks: rows of ad, price""")
    )


def test_a_maximum_over_rows_that_may_be_withdrawn_keeps_the_values_in_order() -> None:
    assert tree("SELECT campaign, max(ad) AS m FROM campaigns GROUP BY campaign") == dedent("""\
        map campaign, max_ad AS m
          aggregate by campaign: max(ad) AS max_ad
              keeps one row for each group and in it all values of ad, in order
            map campaign, ad
              scan campaigns: changes of ad, campaign""")


def test_what_several_aggregates_read_is_computed_once() -> None:
    query = """
        SELECT campaign, max(cost) AS most, min(ts) AS since FROM clicks JOIN campaigns USING (ad)
        GROUP BY campaign
    """

    assert tree(query) == dedent("""\
        map campaign, max_cost AS most, min_ts AS since
          bring together by campaign: max_cost, min_ts
              keeps one row for each group
            union of 2 inputs
              map campaign, max_cost, CAST(NULL AS TIMESTAMP) AS min_ts
                aggregate by campaign: max(cost) AS max_cost
                    keeps one row for each group and in it all values of cost, in order
                  map campaign, cost
                    map cost, campaign
                      join on ad = campaigns_ad
                          keeps both sides by key
                        scan clicks: rows of ad, cost, ts
                        map ad AS campaigns_ad, campaign
                          scan campaigns: changes of ad, campaign
              map campaign, CAST(NULL AS DECIMAL(12, 6)) AS max_cost, min_ts
                aggregate by campaign: min(ts) AS min_ts
                    keeps one row for each group and in it all values of ts, in order
                  map campaign, ts
                    map ts, campaign
                      join on ad = campaigns_ad (once, as above)""")


def test_a_distinct_count_is_an_aggregate_of_its_own_beside_the_others() -> None:
    query = "SELECT ad, count(DISTINCT visitor) AS people, sum(cost) AS s FROM clicks GROUP BY ad"

    assert tree(query) == dedent("""\
        map ad, COALESCE(count_distinct_visitor, 0) AS people, sum_cost AS s
          bring together by ad: sum_cost, count_distinct_visitor
              keeps one row for each group
            union of 2 inputs
              map ad, sum_cost, CAST(NULL AS BIGINT) AS count_distinct_visitor
                aggregate by ad: sum(cost) AS sum_cost
                    keeps one row for each group
                  scan clicks: rows of ad, cost
              map ad, CAST(NULL AS DECIMAL(38, 6)) AS sum_cost, count_distinct_visitor
                aggregate by ad: count(distinct_visitor) AS count_distinct_visitor
                    keeps one row for each group
                  distinct ad, distinct_visitor
                      keeps each row with its count
                    map ad, visitor AS distinct_visitor
                        where NOT visitor IS NULL
                      scan clicks: rows of ad, visitor""")


def test_a_value_is_looked_up_once_for_all_conditions_that_it_is_counted_under() -> None:
    query = """
        SELECT ad, count(DISTINCT visitor) AS people,
            count(DISTINCT visitor) FILTER (WHERE cost > 1) AS buyers FROM clicks GROUP BY ad
    """

    assert tree(query) == dedent("""\
        map ad, COALESCE(count_distinct_visitor, 0) AS people, \
COALESCE(count_distinct_visitor_1, 0) AS buyers
          aggregate by ad: count(distinct_visitor) AS count_distinct_visitor, \
count(distinct_visitor_1) AS count_distinct_visitor_1
              keeps one row for each group
            map ad, CASE WHEN NOT visitor IS NULL AND (conditions & 1) > 0 THEN 1 END \
AS distinct_visitor, CASE WHEN NOT visitor IS NULL AND (conditions & 2) > 0 THEN 1 END \
AS distinct_visitor_1
              aggregate by ad, visitor: bit_or(conditions) AS conditions
                  keeps one row for each group
                map ad, visitor, CAST(1 + CASE WHEN cost > 1 THEN 2 ELSE 0 END AS INT) AS conditions
                  scan clicks: rows of ad, visitor, cost""")


def test_a_list_is_unnested_where_it_stands() -> None:
    query = (
        "SELECT tag FROM (SELECT [visitor, 'x'] AS tags FROM clicks) t, unnest(t.tags) AS u(tag)"
    )

    assert tree(query) == dedent("""\
        map UNNEST(tags) AS tag
          map [visitor, 'x'] AS tags
            scan clicks: rows of visitor""")


def test_conditions_on_one_side_move_below_an_inner_join_and_the_rest_are_its_own() -> None:
    query = """
        SELECT c.ad FROM clicks c JOIN shows s ON c.ad = s.ad AND c.price > s.n AND s.n > 3
        WHERE c.cost > 1
    """

    assert tree(query) == dedent("""\
        join on ad = s_ad
            where price > n
            keeps both sides by key
          map ad, price
              where cost > 1
            scan clicks: rows of ad, cost, price
          map ad AS s_ad, n
              where n > 3
            scan shows: rows of ad, n""")


def test_comma_joins_are_joined_in_an_order_that_has_keys() -> None:
    query = """
        SELECT c.visitor FROM clicks c, shows s, campaigns k
        WHERE k.ad = c.ad AND s.ad = k.ad AND s.n = 1
    """

    assert "each new row is compared with all" not in tree(query)


def test_a_where_condition_stays_above_the_outer_side_of_a_left_join() -> None:
    query = "SELECT c.ad FROM clicks c LEFT JOIN shows s ON c.ad = s.ad WHERE s.n IS NULL"

    assert tree(query) == dedent("""\
        map ad
            where n IS NULL
          left join on ad = s_ad
              keeps both sides by key
            scan clicks: rows of ad
            map ad AS s_ad, n
              scan shows: rows of ad, n""")


def test_a_right_join_is_a_left_join_the_other_way_round() -> None:
    assert tree("SELECT visitor, n FROM clicks c RIGHT JOIN shows s ON c.ad = s.ad") == dedent("""\
        map visitor, n
          left join on s_ad = ad
              keeps both sides by key
            map ad AS s_ad, n
              scan shows: rows of ad, n
            scan clicks: rows of ad, visitor""")


def test_a_condition_on_one_side_of_an_outer_join_is_a_filter_or_makes_its_key_null() -> None:
    query = """
        SELECT c.visitor, s.n FROM clicks c FULL JOIN shows s
        ON c.ad = s.ad AND c.price > s.n AND s.n < 3
    """

    assert tree(query) == dedent("""\
        full join on ad = key
            where price > n
            keeps both sides by key
            keeps a count of the matches of like rows
          scan clicks: rows of ad, visitor, price
          map n, CASE WHEN n < 3 THEN ad END AS key
            scan shows: rows of ad, n""")
    assert "where n < 3" in tree(query.replace("FULL", "LEFT"))


def test_a_join_without_an_equality_compares_each_row_with_all_others() -> None:
    assert tree("SELECT c.ad FROM clicks c, shows s WHERE c.price < s.n") == dedent("""\
        join
            where price < n
            keeps both sides; each new row is compared with all of the other side
          scan clicks: rows of ad, price
          scan shows: rows of n""")


def test_keys_of_two_number_types_meet_in_their_common_type() -> None:
    assert tree("SELECT c.ad FROM clicks c JOIN shows s ON c.ad = s.n") == dedent("""\
        join on ad = key
            keeps both sides by key
          scan clicks: rows of ad
          map CAST(n AS BIGINT) AS key
            scan shows: rows of n""")


def test_a_condition_of_exists_on_the_row_around_it_is_that_of_the_join() -> None:
    query = """
        SELECT ts FROM clicks c
        WHERE NOT EXISTS (SELECT 1 FROM clicks d WHERE d.ad = c.ad AND d.price > c.price LIMIT 1)
    """

    assert tree(query) == dedent("""\
        keep rows without a match on ad = match_key_0
            where match_key_1 > price
            keeps both sides by key
            keeps a count of the matches of like rows
          scan clicks: rows of ad, price, ts
          map ad AS match_key_0, price AS match_key_1
            scan clicks: rows of ad, price""")


def test_a_subquery_for_one_value_is_joined() -> None:
    query = """
        SELECT visitor, (SELECT count(*) FROM shows s WHERE s.ad = c.ad) AS n
        FROM clicks c WHERE cost >= (SELECT avg(cost) FROM clicks)
    """

    assert tree(query) == dedent("""\
        map visitor, CASE WHEN scalar_key_0 IS NULL THEN 0 ELSE scalar END AS n
          left join on ad = scalar_key_0
              keeps both sides by key
            join
                where cost >= scalar_1
                keeps both sides; each new row is compared with all of the other side
              scan clicks: rows of ad, visitor, cost
              map (CAST(sum_cost AS DOUBLE) / count_cost) AS scalar_1
                aggregate: sum(cost) AS sum_cost, count(cost) AS count_cost
                    keeps one row
                  scan clicks: rows of cost
            map ad AS scalar_key_0, count AS scalar
              aggregate by ad: count(*) AS count
                  keeps one row for each group
                scan shows: rows of ad""")


def test_in_and_exists_keep_rows_with_a_match() -> None:
    query = """
        SELECT visitor FROM clicks c WHERE ad IN (SELECT ad FROM campaigns)
        AND NOT EXISTS (SELECT 1 FROM shows s WHERE s.ad = c.ad AND n > 2)
    """

    assert tree(query) == dedent("""\
        keep rows without a match on ad = match_key_0
            keeps both sides by key
          keep rows with a match on ad = match_ad
              keeps both sides by key
            scan clicks: rows of ad, visitor
            map ad AS match_ad
              scan campaigns: changes of ad
          map ad AS match_key_0
              where n > 2
            scan shows: rows of ad, n""")


def test_an_asof_join_takes_its_time_from_the_inequality() -> None:
    query = "SELECT c.ad, s.n FROM clicks c ASOF LEFT JOIN shows s ON s.ad = c.ad AND s.at <= c.ts"

    assert tree(query) == dedent("""\
        map ad, n
          asof left join on ad = s_ad and ts >= at
              keeps both sides by key and time
            scan clicks: rows of ad, ts
            map ad AS s_ad, n, at
              scan shows: rows of ad, n, at""")


def test_an_asof_join_over_event_times_waits_and_forgets() -> None:
    query = "SELECT c.ad, s.n FROM clicks c ASOF JOIN shows s ON s.ad = c.ad AND s.at <= c.ts"

    assert tree(query, emit="final", lateness="1 minute") == dedent("""\
        map ad, n
          asof join on ad = s_ad and ts >= at
              a row waits until the watermark of shows has passed it
              forgets rows that the watermark of clicks, shows has passed, 1 minute later, but for \
the newest on the right of each key
              keeps both sides by key and time
            scan clicks: rows of ad, ts
            map ad AS s_ad, n, at
              scan shows: rows of ad, n, at""")


def test_an_asof_join_with_a_table_by_its_key_and_event_time_reads_its_versions() -> None:
    by_key = "FROM clicks c ASOF JOIN bids b ON b.ad = c.ad AND c.ts >= b.since"

    assert "scan bids$versions: rows" in tree(f"SELECT c.ad, b.bid {by_key}")
    plain = by_key.replace("c.ts >= b.since", "since <= ts")
    assert "scan bids$versions: rows" in tree(f"SELECT bid {plain}")
    for other in (
        by_key.replace("b.ad = c.ad AND ", ""),
        by_key.replace("since", "until"),
        by_key.replace("b.ad", "b.bid"),
        by_key + " AND b.bid = c.ad",
        by_key.replace("bids", "(FROM bids)"),
    ):
        assert "scan bids: changes" in tree(f"SELECT c.ad, b.bid {other}"), other


def test_a_window_over_a_join_in_time_waits_for_its_reach() -> None:
    query = """
        SELECT window_start, count(*) FROM TUMBLE((
            SELECT c.ts FROM clicks c JOIN shows s ON c.ad = s.ad
            AND s.at BETWEEN c.ts - INTERVAL '1 minute' AND c.ts + INTERVAL '5 minutes'
        ), ts, INTERVAL '1 hour') GROUP BY window_start"""

    assert "closed by the watermark of clicks, shows, 5 minutes later\n" in tree(
        query, emit="final"
    )


def test_a_bound_on_a_row_number_is_a_top() -> None:
    query = """
        SELECT ad, cost FROM
        (SELECT ad, cost, row_number() OVER (PARTITION BY ad ORDER BY ts DESC) AS rn FROM clicks)
        WHERE rn <= 3
    """

    assert tree(query) == dedent("""\
        map ad, cost
            where row_number <= 3
          first 3 rows of each ad by order_by descending, numbered as row_number
              keeps the rows that may come out
            map ad, cost, ts AS order_by
              scan clicks: rows of ad, cost, ts""")


def test_the_newest_row_of_each_key_is_a_top() -> None:
    query = "FROM shows QUALIFY row_number() OVER (PARTITION BY ad ORDER BY at DESC) = 1"

    assert tree(query) == dedent("""\
        first row of each ad by at descending
            keeps the rows that may come out
          scan shows: rows of ad, n, at, seen""")


def test_a_bound_on_a_rank_keeps_all_rows_of_the_first_ranks() -> None:
    query = """
        SELECT campaign, ad FROM campaigns
        QUALIFY dense_rank() OVER (PARTITION BY campaign ORDER BY ad) < 3 AND ad > 1
    """

    assert tree(query) == dedent("""\
        map campaign, ad
            where ad > 1
          first 2 dense ranks of each campaign by ad
              keeps its input, and reads again the partitions that changed
            map campaign, ad
              scan campaigns: changes of ad, campaign""")


def test_the_first_row_of_each_and_then_the_first_of_these() -> None:
    query = "SELECT DISTINCT ON (ad) ad, n FROM shows ORDER BY at LIMIT 2"

    assert tree(query) == dedent("""\
        map ad, n
          first 2 rows by order_by
              keeps its input, and reads again the partitions that changed
            first row of each ad by order_by
                keeps the rows that may come out
              map ad, n, "at" AS order_by
                scan shows: rows of ad, n, at""")


def test_a_set_operation_counts_rows_on_both_sides() -> None:
    query = "SELECT ad FROM clicks EXCEPT ALL SELECT ad FROM shows WHERE n > 1"

    assert tree(query) == dedent("""\
        rows that the first input has more often than the second
            keeps each row with its count on both sides
          scan clicks: rows of ad
          map ad
              where n > 1
            scan shows: rows of ad, n""")


def test_columns_are_brought_together_by_their_names() -> None:
    query = "SELECT ad, visitor FROM clicks UNION ALL BY NAME SELECT n, ad FROM shows"

    assert tree(query) == dedent("""\
        union of 2 inputs
          map ad, visitor, CAST(NULL AS INT) AS n
            scan clicks: rows of ad, visitor
          map ad, CAST(NULL AS TEXT) AS visitor, n
            scan shows: rows of ad, n""")


def test_grouping_sets_are_one_aggregate_and_the_total_its_own() -> None:
    query = "SELECT ad, n, count(*) AS c, grouping(n) AS g FROM shows GROUP BY ROLLUP (ad, n)"

    assert tree(query) == dedent("""\
        map key_0 AS ad, key_1 AS n, result_0 AS c, \
CAST(CASE grouping_set WHEN 0 THEN 0 WHEN 1 THEN 1 WHEN 2 THEN 1 END AS BIGINT) AS g
          union of 2 inputs
            map grouping_set, ad_1 AS key_0, n_1 AS key_1, count AS result_0
              aggregate by grouping_set, ad_1, n_1: count(*) AS count
                  keeps one row for each group
                map grouping_set, ad AS ad_1, CASE WHEN grouping_set IN (0) THEN n END AS n_1
                  map ad, n, UNNEST([0, 1]) AS grouping_set
                    scan shows: rows of ad, n
            map 2 AS grouping_set, CAST(NULL AS BIGINT) AS key_0, CAST(NULL AS INT) AS key_1, \
count AS result_0
              aggregate: count(*) AS count
                  keeps one row
                scan shows: rows of ad""")


def test_window_functions_of_one_order_look_at_their_neighbours_together() -> None:
    query = """
        SELECT ad, n - lag(n) OVER w AS step, avg(n) OVER w AS mean, sum(n) OVER (PARTITION BY ad
        ORDER BY at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW) AS hour
        FROM shows WINDOW w AS (PARTITION BY ad ORDER BY at)
    """

    assert tree(query) == dedent("""\
        map ad, n - result AS step, (CAST(result_1 AS DOUBLE) / result_2) AS mean, result_3 AS hour
          over each ad by at
              LAG(n) AS result
              SUM(n) AS result_1
              COUNT(n) AS result_2
              SUM(n) RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW AS result_3
              keeps each row with its results
            scan shows: rows of ad, n, at""")


def test_a_frame_to_the_end_of_the_partition_is_recomputed() -> None:
    query = """
        SELECT sum(n) OVER (PARTITION BY ad ORDER BY at ROWS BETWEEN CURRENT ROW AND UNBOUNDED
        FOLLOWING) AS rest FROM shows
    """

    assert "recompute by ad" in tree(query)


def test_other_window_functions_are_recomputed_by_partition() -> None:
    query = "SELECT ad, n - avg(n) OVER (PARTITION BY ad) AS off FROM shows"

    assert tree(query) == dedent("""\
        map ad, n - result AS off
          recompute by ad, for the keys that changed
              recomputed because avg looks at other rows of its partition
              SELECT ad, n, AVG(n) OVER (PARTITION BY ad) AS result FROM input
              keeps its input
            scan shows: rows of ad, n""")


def test_only_the_block_that_is_not_understood_is_recomputed() -> None:
    query = """
        SELECT campaign, per.n FROM campaigns JOIN (
            SELECT ad, count(*) AS n FROM shows WHERE n > ANY (SELECT n FROM shows)
            GROUP BY ad
        ) per USING (ad)
    """

    assert tree(query) == dedent("""\
        join on ad = per_ad
            keeps both sides by key
          scan campaigns: changes of ad, campaign
          map ad AS per_ad, n
            recompute as a whole
                recomputed because of a subquery in WHERE
                SELECT * FROM (SELECT ad, COUNT(*) AS n FROM shows AS shows WHERE n > \
ANY (SELECT n FROM shows AS shows) GROUP BY ad) AS _block(ad, n)
                keeps its input
              scan shows: rows of ad, n""")


def test_the_final_order_is_remembered_and_not_computed() -> None:
    plan = planned("SELECT visitor, sum(cost) AS s FROM clicks GROUP BY 1 ORDER BY 2 DESC, visitor")

    assert plan.order == (("s", True), ("visitor", False))


def test_output_names_are_those_that_duckdb_gives() -> None:
    plan = planned("SELECT ad, ad + 1, count(*), ad FROM clicks GROUP BY ALL")

    assert plan.schema.names == ("ad", "(ad + 1)", "count_star()", "ad_1")


def test_names_are_known_without_regard_to_case() -> None:
    assert tree('SELECT C.AD AS "Ad" FROM Clicks c WHERE COST > 1') == dedent("""\
        map ad AS Ad
            where cost > 1
          scan clicks: rows of ad, cost""")


def test_the_fingerprint_forgets_what_cannot_change_the_answer() -> None:
    one = planned("SELECT c.ad AS ad FROM clicks AS c WHERE (c.cost > 1)")
    other = planned("SELECT ad -- the ad\nFROM clicks WHERE cost > 1")

    assert one.fingerprint == other.fingerprint


def test_the_fingerprint_changes_with_the_answer() -> None:
    queries = (
        "SELECT sum(cost) AS x FROM clicks",
        "SELECT count(cost) AS x FROM clicks",
        "SELECT sum(cost) AS y FROM clicks",
        "SELECT sum(cost) AS x FROM clicks WHERE ad > 1",
        "SELECT sum(cost) AS x FROM clicks WHERE ad > 2",
        "SELECT sum(cost) AS x FROM TUMBLE(clicks, ts, INTERVAL '1 day') GROUP BY window_end",
        "SELECT sum(cost) AS x FROM TUMBLE(clicks, ts, INTERVAL '2 day') GROUP BY window_end",
        "SELECT median(cost) AS x FROM clicks",
    )

    assert len({planned(query).fingerprint for query in queries}) == len(queries)


def test_a_join_brings_forth_no_column_that_only_it_reads() -> None:
    plan = planned("SELECT campaign FROM clicks JOIN campaigns USING (ad)")

    (join,) = (node for node in walk(plan.root) if isinstance(node, Join))

    assert join.schema.names == ("campaign",)
    assert join.left.schema.names == ("ad",)
