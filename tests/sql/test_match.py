"""MATCH_RECOGNIZE: what is understood, and what is refused with its place."""

from __future__ import annotations

from textwrap import dedent

import pytest

from headwater.plan.nodes import MatchRecognize, walk
from headwater.plan.patterns import Choice, End, Follow, Repeat, Symbol
from sql.planning import planned, refusal, tree


def clause(inner: str) -> str:
    return f"SELECT * FROM clicks MATCH_RECOGNIZE ({inner})"


def node_of(query: str) -> MatchRecognize:
    (found,) = (n for n in walk(planned(query).root) if isinstance(n, MatchRecognize))
    return found


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("a b", Follow((Symbol("a"), Symbol("b")))),
        ("a+", Repeat(Symbol("a"), 1, None)),
        ("a{2,3}?", Repeat(Symbol("a"), 2, 3, is_greedy=False)),
        ("a{,3} b", Follow((Repeat(Symbol("a"), 0, 3), Symbol("b")))),
        ("a{2,}", Repeat(Symbol("a"), 2, None)),
        (
            "a b?? | A",
            Choice((Follow((Symbol("a"), Repeat(Symbol("b"), 0, 1, False))), Symbol("a"))),
        ),
        ("(a | b) $", Follow((Choice((Symbol("a"), Symbol("b"))), End()))),
        (
            "PERMUTE(a, b)",
            Choice((Follow((Symbol("a"), Symbol("b"))), Follow((Symbol("b"), Symbol("a"))))),
        ),
    ],
)
def test_a_pattern_is_read_as_a_tree(text: str, pattern: object) -> None:
    query = clause(f"ORDER BY ts MEASURES a.ad AS x PATTERN ({text}) WITHIN INTERVAL 1 HOUR")

    assert node_of(query).pattern == pattern


def test_explain_says_what_is_matched_and_kept() -> None:
    query = clause(
        "PARTITION BY ad ORDER BY ts MEASURES count(b.*) AS n AFTER MATCH SKIP TO LAST b "
        "PATTERN (a b{2,} (c | $)) WITHIN INTERVAL '5 minutes' "
        "DEFINE b AS price > prev(price) AND b.price > a.price"
    )

    assert tree(query) == dedent("""\
        match a b{2,} (c | $) of each ad by ts, a row for each match
            within 5 minutes
            skip to last b
            b needs, of its row: price > __beside
            b needs, row by row: price > "last(a.price)"
            closed by the watermark of clicks
            keeps rows from the first that may still begin a match
          scan clicks: rows of ad, visitor, cost, price, day, ts""")


def test_the_fingerprint_changes_with_the_clause_and_not_with_its_spelling() -> None:
    first = clause("ORDER BY ts MEASURES a.ad AS x PATTERN (a b) DEFINE b AS price > 1")
    same = clause("order by ts\n  measures a.ad as x\n  pattern (a   b) define b as price > 1")
    other = clause("ORDER BY ts MEASURES a.ad AS x PATTERN (a b) DEFINE b AS price > 2")

    assert planned(first).fingerprint == planned(same).fingerprint
    assert planned(first).fingerprint != planned(other).fingerprint


REFUSALS = (
    (
        "SELECT * FROM campaigns MATCH_RECOGNIZE (ORDER BY ad MEASURES a.ad AS x PATTERN (a))",
        "MATCH_RECOGNIZE needs rows that are never withdrawn",
        "campaigns",
    ),
    (clause("ORDER BY ts PATTERN (a)"), "these matches have no column", "MATCH_RECOGNIZE"),
    (
        clause("MEASURES a.ad AS x PATTERN (a)"),
        "MATCH_RECOGNIZE has no ORDER BY",
        "MATCH_RECOGNIZE",
    ),
    (clause("ORDER BY ts MEASURES a.ad AS x"), "MATCH_RECOGNIZE has no PATTERN", "MATCH_RECOGNIZE"),
    (
        clause("ORDER BY ad MEASURES a.ad AS x PATTERN (a)"),
        "MATCH_RECOGNIZE needs the event time of clicks, which is ts, not ad",
        "ad",
    ),
    (
        clause("ORDER BY ts DESC MEASURES a.ad AS x PATTERN (a)"),
        "rows are matched in the order of time, so not DESC",
        "ts",
    ),
    (
        clause("ORDER BY ts MEASURES a.ad AS x PATTERN (a*)"),
        "this pattern can match without a row",
        "(a*)",
    ),
    (
        clause("ORDER BY ts MEASURES a.ad AS x PATTERN (a $)"),
        "$ stands for the end of the time of a match, and no time is said",
        "(a $)",
    ),
    (clause("ORDER BY ts MEASURES a.ad AS x PATTERN (a ^)"), "^, the first row of a par", "^"),
    (clause("ORDER BY ts MEASURES a.ad AS x PATTERN (a {- b -})"), "{- -}, rows left out", "{-"),
    (clause("ORDER BY ts MEASURES a.ad AS x PATTERN (a b"), "this bracket is not closed", "("),
    (clause("ORDER BY ts MEASURES a.ad AS x PATTERN (a+*)"), "a quantifier follows", "*"),
    (clause("ORDER BY ts MEASURES a.ad AS x PATTERN (a{3,2})"), "a part cannot come 3 to 2", "a"),
    (clause("ORDER BY ts MEASURES b.ad AS x PATTERN (a)"), "b is no symbol of the pattern", "b"),
    (clause("ORDER BY ts MEASURES a.add AS x PATTERN (a)"), "there is no column add", "add"),
    (clause("ORDER BY ts MEASURES a.ad PATTERN (a)"), "a measure needs a name", "a"),
    (
        clause("ORDER BY ts MEASURES match_number() AS x PATTERN (a)"),
        "MATCH_NUMBER would have to count",
        "match_number",
    ),
    (
        clause("ORDER BY ts MEASURES a.ad AS x PATTERN (a) DEFINE b AS ad = 1"),
        "b is not in the pattern",
        "b",
    ),
    (
        clause("ORDER BY ts MEASURES a.ad AS x PATTERN (a b) DEFINE b AS median(a.ad) > 1"),
        "a condition may count, sum, avg, min and max",
        "median(a.ad",
    ),
    (
        clause("ORDER BY ts MEASURES a.ad AS x PATTERN (a b) DEFINE b AS hash(a.ad, b.ad) > 1"),
        "ANONYMOUS cannot combine values of several rows",
        "hash(a.ad, b.ad",
    ),
    (
        clause("ORDER BY ts MEASURES a.ad AS x PATTERN (a b) DEFINE b AS b.visitor > a.ad"),
        "VARCHAR and number cannot be combined across rows",
        "b.visitor > a.ad",
    ),
    (
        clause("ORDER BY ts MEASURES a.ad AS x AFTER MATCH SKIP TO LAST c PATTERN (a)"),
        "c is not in the pattern",
        "MATCH SKIP TO LAST c",
    ),
    (
        clause("ORDER BY ts MEASURES a.ad AS x AFTER MATCH GO ON PATTERN (a)"),
        "AFTER MATCH GO ON is not a way to go on",
        "MATCH GO ON",
    ),
    (
        clause("ORDER BY ts MEASURES a.ad AS x PATTERN (a) WITHIN INTERVAL '1 month'"),
        "INTERVAL '1' MONTH is not a fixed length of time",
        "INTERVAL '1 month'",
    ),
    (
        clause("ORDER BY ts MEASURES a.ad AS x TWO ROWS PER MATCH PATTERN (a)"),
        "",
        "",
    ),
)


@pytest.mark.parametrize(("query", "message", "underlined"), REFUSALS)
def test_a_wrong_clause_is_refused_at_its_place(query: str, message: str, underlined: str) -> None:
    first, line, mark, hint = refusal(query).split("\n")

    assert message in first
    assert underlined in line[mark.find("─") : len(mark)] + ")"
    assert hint.startswith("  hint: ")


def test_lateness_has_nothing_to_correct() -> None:
    query = clause("ORDER BY ts MEASURES a.ad AS x PATTERN (a)")

    assert "lateness cannot decide" in refusal(query, lateness="1 minute")
    assert planned(query, emit="final").root == planned(query).root


def test_over_a_join_without_a_bound_on_both_sides_it_is_refused() -> None:
    match = "MATCH_RECOGNIZE (ORDER BY {} MEASURES a.ad AS x PATTERN (a b) DEFINE b AS b.ad > a.ad)"
    join = (
        "SELECT * FROM (SELECT c.ad, c.ts, s.at FROM clicks c JOIN shows s ON c.ad = s.ad "
        "AND c.ts BETWEEN s.at AND s.at + INTERVAL '5 minutes') "
    )

    after = planned(join + match.format("ts"))
    before = planned(join + match.format("at"))
    one_sided = join[: join.index("c.ad = s.ad")] + "c.ts >= s.at) "

    # A show waits for its clicks, a click comes after its shows.
    (found,) = [node for node in walk(after.root) if isinstance(node, MatchRecognize)]
    assert found.behind_us == 0
    (found,) = [node for node in walk(before.root) if isinstance(node, MatchRecognize)]
    assert found.behind_us == 300_000_000
    assert "rows here may come any time after it" in refusal(one_sided + match.format("at"))
