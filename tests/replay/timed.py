"""Random views that hang on time: what may close, wait, be late, or go by itself.

Windows of every kind with every way to publish, over topics, views and each other; joins with a
bound in time, and as of a time; results that accumulate or are said in parts, and how complete they
are; patterns; rows that come and go with now().
"""

from __future__ import annotations

from typing import Any

from replay.grammar import WINDOWED, Grammar
from replay.values import Columns, Scope, columns_of

Options = dict[str, Any]


def view(grammar: Grammar) -> tuple[str, Columns, Options]:
    """A view's query, what its columns can be used as, and its options."""
    if grammar.some.may(0.45):
        text, columns = grammar.query()
        return text + _pace(grammar, 0.08), columns, {}
    forms = (
        _groups_of_windows,
        _groups_of_windows,
        _rows_of_windows,
        _windows_of_windows,
        _firings,
        _near,
        _near,
        _as_of,
        _pattern,
        _now,
    )
    return grammar.some.random.choice(forms)(grammar)


def _pace(grammar: Grammar, often: float) -> str:
    every = grammar.some.one("1 minute", "90 seconds", "5 minutes")
    return f" EMIT CHANGES EVERY INTERVAL '{every}'" if grammar.some.may(often) else ""


def _emission(grammar: Grammar) -> tuple[str, Options]:
    """How a view over windows publishes."""
    lateness = grammar.some.one("0 seconds", "30 seconds", "2 minutes", "1 hour")
    choices: list[tuple[str, Options]] = [
        ("", {}),
        (" EMIT FINAL", {}),
        (" EMIT FINAL", {"lateness": lateness}),
        ("", {"lateness": lateness}),
        (_pace(grammar, 1), {}),
        (_pace(grammar, 1), {"lateness": lateness}),
    ]
    return grammar.some.random.choice(choices)


def _groups_of_windows(grammar: Grammar) -> tuple[str, Columns, Options]:
    some = grammar.some
    call, columns = grammar.windowed()
    alias = grammar.alias()
    scope, source = [(alias, columns)], f"FROM {call} AS {alias}"
    number = some.column(scope, "n")
    if number is not None and some.may(0.45):
        join = some.one("JOIN", "LEFT JOIN", "SEMI JOIN", "ANTI JOIN")
        source += f" {join} {_changing(grammar)} AS k ON {number} = k.ad"
        if join in ("JOIN", "LEFT JOIN"):
            scope.append(("k", {"campaign": "t", "budget": "n"}))
    if some.may(0.4):
        source += f" WHERE {some.condition(scope)}"
    keys = [some.key(scope) for _ in range(some.random.randrange(3))]
    bounds = some.one("window_start", "window_end", "window_start, window_end").split(", ")
    items = [f"{key} AS k{i}" for i, (key, _) in enumerate(keys)]
    items += [f"{alias}.{bound}" for bound in bounds]
    aggregates = [some.aggregate(scope) for _ in range(some.random.randrange(1, 4))]
    if "window_end" in bounds and some.may(0.3):
        items.append(f"completeness({alias}.window_end) AS complete")
    text = ", ".join([*items, *(f"{a} AS a{i}" for i, a in enumerate(aggregates))])
    found = {f"k{i}": kind for i, (_, kind) in enumerate(keys)} | dict.fromkeys(bounds, "w")
    having = f" HAVING count(*) > {some.random.randrange(3)}" if some.may(0.1) else ""
    clause, options = _emission(grammar)
    return f"SELECT {text} {source} GROUP BY ALL{having}{clause}", found, options


def _changing(grammar: Grammar) -> str:
    """Rows by `ad` that are withdrawn now and then, with a text and a number."""
    return grammar.some.one(
        "campaigns",
        "campaigns",
        "(SELECT ad, max(visitor) AS campaign, count(*) AS budget FROM shows GROUP BY ad)",
        "(SELECT ad, visitor AS campaign, n AS budget FROM shows "
        "QUALIFY row_number() OVER (PARTITION BY ad ORDER BY n DESC, visitor, at) = 1)",
        "(SELECT ad, visitor AS campaign, count(ad) OVER (PARTITION BY visitor) AS budget "
        "FROM shows)",
        "(SELECT ad, campaign, budget FROM campaigns EXCEPT SELECT ad, visitor, n FROM shows)",
    )


def _firings(grammar: Grammar) -> tuple[str, Columns, Options]:
    """Groups of one topic's rows, of which every result is told, or only what came since."""
    some = grammar.some
    relation = some.one("clicks", "shows", "things")
    time = "ts" if relation == "clicks" else "at"
    alias = grammar.alias()
    scope: Scope = [(alias, grammar.relations[relation])]
    key = f"{some.key(scope)[0]} AS k"
    is_windowed = some.may(0.6)
    source = relation
    if is_windowed:
        source = some.one(*WINDOWED).format(f"{relation}, {time}")
    where = f" WHERE {some.condition(scope)}" if some.may(0.4) else ""
    number = some.number(scope)
    aggregates = (f"sum({number})", f"max({number})", f"avg({number})", "count(*)")
    items = [key, *([f"{alias}.window_end"] if is_windowed else [])]
    items += [f"{some.one(*aggregates)} AS a{i}" for i in range(some.random.randrange(1, 3))]
    having = f" HAVING count(*) > {some.random.randrange(3)}" if some.may(0.15) else ""
    mode = {"accumulation": some.one("accumulating", "discarding")}
    text = f"SELECT {', '.join(items)} FROM {source} AS {alias}{where} GROUP BY ALL{having}"
    found = {"window_end": "w"} if is_windowed else {}
    if is_windowed and some.may(0.6):
        lateness = some.one("0 seconds", "30 seconds", "2 minutes")
        return text + " EMIT FINAL", found, {"lateness": lateness, **mode}
    return text + _pace(grammar, 1), found, mode


def _rows_of_windows(grammar: Grammar) -> tuple[str, Columns, Options]:
    call, columns = grammar.windowed()
    alias = grammar.alias()
    scope = [(alias, columns)]
    values = [grammar.some.value(scope) for _ in range(2)]
    items = [f"{value} AS c{i}" for i, (value, _) in enumerate(values)]
    times = columns_of(scope, "e")
    items += [f"{times[0]} AS e0"] if times else []
    text = ", ".join([*items, f"{alias}.window_start", f"{alias}.window_end"])
    where = f" WHERE {grammar.some.condition(scope)}" if grammar.some.may(0.4) else ""
    found = {f"c{i}": kind for i, (_, kind) in enumerate(values)}
    found |= {"window_start": "w", "window_end": "w"} | ({"e0": "e"} if times else {})
    clause, options = _emission(grammar)
    return f"SELECT {text} FROM {call} AS {alias}{where}{clause}", found, options


def _windows_of_windows(grammar: Grammar) -> tuple[str, Columns, Options]:
    """Windows joined with windows, or over the results of windows."""
    some = grammar.some
    if some.may(0.5):
        size = some.one("TUMBLE({}, INTERVAL '2 minutes')", "TUMBLE({}, INTERVAL '5 minutes')")
        join = some.one("JOIN", "LEFT JOIN", "FULL JOIN", "SEMI JOIN", "ANTI JOIN")
        key = some.one("ad", "visitor")
        shown = "a.ad" if join in ("SEMI JOIN", "ANTI JOIN") else "a.ad, b.n"
        text = (
            f"SELECT {shown}, a.window_start FROM {size.format('clicks, ts')} a "
            f"{join} {size.format('shows, at')} b ON a.{key} = b.{key} "
            "AND a.window_start = b.window_start"
        )
        clause, options = _emission(grammar)
        return text + clause, {"ad": "n", "window_start": "w"}, options
    relation, time = grammar.timed_relation()
    number = some.number([(relation, grammar.relations[relation])], 2)
    inner = (
        f"SELECT window_start AS ws, {number} AS k, count(*) AS n "
        f"FROM TUMBLE({relation}, {time}, INTERVAL '1 minute') GROUP BY ALL"
    )
    outer = some.one("TUMBLE", "HOP", "CUMULATE", "SESSION")
    size = (
        "INTERVAL '2 minutes'"
        if outer in ("TUMBLE", "SESSION")
        else ("INTERVAL '1 minute', INTERVAL '4 minutes'")
    )
    text = (
        f"SELECT window_start, window_end, max(n) AS most, sum(n) AS total, count(DISTINCT k) AS ks"
        f" FROM {outer}(({inner}), ws, {size}) GROUP BY window_start, window_end"
    )
    return text, {"window_start": "w", "total": "n"}, {}


def _near(grammar: Grammar) -> tuple[str, Columns, Options]:
    """A join with a bound in time."""
    some = grammar.some
    (left, left_time), (right, right_time) = grammar.timed_relation(), grammar.timed_relation()
    left_scope, right_scope = [("l", grammar.relations[left])], [("r", grammar.relations[right])]
    a, b = f"l.{left_time}", f"r.{right_time}"
    on = [
        some.one(
            f"{a} BETWEEN {b} - INTERVAL '1 minute' AND {b} + INTERVAL '2 minutes'",
            f"{b} > {a} - INTERVAL '2 minutes' AND {b} <= {a}",
            f"{b} - {a} < INTERVAL '90 seconds' AND {a} <= {b}",
            f"{a} >= {b}",
            f"{a} < {b} + INTERVAL '1 minute'",
            f"{a} = {b}",
        )
    ]
    for kind in "nt":
        mine, other = some.column(left_scope, kind), some.column(right_scope, kind)
        if mine and other and some.may(0.5):
            on.append(f"{mine} = {other}")
    if some.may(0.2):
        on.append(some.condition([*left_scope, *right_scope], 1))
    join = some.one("JOIN", "LEFT JOIN", "SEMI JOIN", "ANTI JOIN", "RIGHT JOIN", "FULL JOIN")
    scope = left_scope if join in ("SEMI JOIN", "ANTI JOIN") else [*left_scope, *right_scope]
    values = [some.value(scope) for _ in range(2)]
    items = [f"{value} AS c{i}" for i, (value, _) in enumerate(values)] + [f"{a} AS e0"]
    found = {f"c{i}": kind for i, (_, kind) in enumerate(values)} | {"e0": "e"}
    where = f" WHERE {some.condition(scope, 1)}" if some.may(0.2) else ""
    text = f"SELECT {', '.join(items)} FROM {left} l {join} {right} r ON {' AND '.join(on)}{where}"
    clause, options = _emission(grammar)
    return text + clause, found, options


def _as_of(grammar: Grammar) -> tuple[str, Columns, Options]:
    """A join with what held at a row's time."""
    some = grammar.some
    (left, left_time), (right, right_time) = grammar.timed_relation(), grammar.timed_relation()
    left_scope = [("l", grammar.relations[left])]
    keys = [n for n, k in grammar.relations[right].items() if k in "nt"]
    key = some.one(*keys) if keys else right_time
    kind = grammar.relations[right][key]
    mine = some.column(left_scope, kind) if keys else None
    # Of equally new rows of a topic the last counts, of others one is chosen by its content.
    is_log = right in ("clicks", "shows", "things") and some.may(0.4)
    latest = right if is_log else f"(SELECT DISTINCT ON ({key}, {right_time}) * FROM {right})"
    on = [f"{mine} = r.{key}"] if mine else []
    on.append(some.one(f"l.{left_time} >= r.{right_time}", f"r.{right_time} < l.{left_time}"))
    other = some.column([("r", grammar.relations[right])], kind)
    if mine and other and some.may(0.15):
        # Not by key and time alone, so it is computed again.
        on.append(f"{mine} IS DISTINCT FROM {other}")
    if not mine:
        latest = f"(SELECT DISTINCT ON ({right_time}) * FROM {right})"
    join = some.one("ASOF JOIN", "ASOF LEFT JOIN")
    text = (
        f"SELECT l.{left_time} AS e0, r.{right_time} AS e1, r.{key} AS k, {some.number(left_scope)}"
        f" AS n FROM {left} l {join} {latest} r ON {' AND '.join(on)}"
    )
    return text + _pace(grammar, 0.2), {"e0": "e", "k": kind, "n": "n"}, {}


def _pattern(grammar: Grammar) -> tuple[str, Columns, Options]:
    """Sequences of rows."""
    some = grammar.some
    by = some.one("PARTITION BY visitor", "PARTITION BY ad", "")
    pattern = some.one("x y", "x+ y", "x y? z", "x{2}", "(x | y) z", "x y*? z", "x y $")
    within = some.one("1 minute", "3 minutes", "10 minutes")
    skip = some.one("", "AFTER MATCH SKIP TO NEXT ROW")
    defined = {
        "x": some.one("x.n > 1", "x.n IS NOT NULL", "x.ad < 3"),
        "y": some.one("y.n < x.n", "y.n >= prev(y.n)", "y.visitor = 'a'"),
        "z": some.one("z.n = 0", "z.ad > 1"),
    }
    used = [s for s in defined if s in pattern and (s != "y" or "x" in pattern)]
    text = (
        f"SELECT * FROM shows MATCH_RECOGNIZE ({by} ORDER BY at "
        f"MEASURES first(x.at) AS since, count(*) AS times, sum(n) AS total {skip} "
        f"PATTERN ({pattern}) WITHIN INTERVAL '{within}' "
        f"DEFINE {', '.join(f'{s} AS {defined[s]}' for s in used)})"
    )
    key = {"visitor": "t"} if "visitor" in by else {"ad": "n"} if by else {}
    return text, {**key, "since": "e", "times": "n"}, {}


def _now(grammar: Grammar) -> tuple[str, Columns, Options]:
    """Rows that come and go."""
    some = grammar.some
    relation, time = grammar.timed_relation()
    alias = grammar.alias()
    scope = [(alias, grammar.relations[relation])]
    t = f"{alias}.{time}"
    source = f"FROM {relation} AS {alias} WHERE " + some.one(
        f"{t} > now() - INTERVAL '5 minutes'",
        f"now() >= {t} + INTERVAL '12 minutes'",
        f"now() BETWEEN {t} + INTERVAL '5 minutes' AND {t} + INTERVAL '15 minutes'",
        f"{t} <= now() - INTERVAL '8 minutes'",
    )
    if some.may(0.4):
        source += f" AND {some.condition(scope)}"
    if some.may(0.5):
        return (*grammar.grouped(source, scope), {})
    value, kind = some.value(scope)
    return f"SELECT {value} AS c0, {t} AS e0 {source}", {"c0": kind, "e0": "e"}, {}
