"""A plan as text: what is computed, what is remembered, and what is computed again.

The view's last step stands at the top and what it reads is indented below it. A node says what it
does, then its conditions and windows, and last what it remembers; a node that remembers nothing
says nothing of that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from sqlglot import exp

from headwater.plan.closing import bounded, bounded_sides
from headwater.plan.frontier import Frontier
from headwater.plan.nodes import (
    Aggregate,
    AsofJoin,
    Completeness,
    Decision,
    Distinct,
    GroupWindow,
    Hold,
    Join,
    JoinKind,
    Map,
    MatchRecognize,
    Merge,
    Node,
    Order,
    Over,
    OverCall,
    Pace,
    Panes,
    Partial,
    Place,
    Process,
    Recompute,
    Scan,
    SessionPanes,
    SetOperation,
    SetRule,
    TemporalFilter,
    TopN,
    Transform,
    Union,
    WindowKind,
    Windows,
    WindowSpec,
    Within,
    walk,
)
from headwater.plan.patterns import Choice, End, Follow, Pattern, Pick, Reading, Symbol
from headwater.plan.pipeline import Emit, ViewPlan
from headwater.sql.build import column, column_names
from headwater.sql.functions import aggregates
from headwater.sql.sketches import SHORT

_UNITS = (
    (86_400_000_000, "day"),
    (3_600_000_000, "hour"),
    (60_000_000, "minute"),
    (1_000_000, "second"),
    (1_000, "millisecond"),
    (1, "microsecond"),
)


def explain(plan: ViewPlan) -> str:
    """How a view is computed, as an indented tree."""
    columns = ", ".join(f"{c.name} {c.type}" for c in plan.schema)
    lines = [f"view {plan.name} ({columns})", f"  {_emission(plan)}"]
    if plan.order:
        lines.append("  read in the order of " + ", ".join(_ordered(o) for o in plan.order))
    _write(plan.root, 1, lines, set())
    return "\n".join(lines)


def duration(us: int) -> str:
    """A length of time in its largest whole unit: `1 hour`, `90 seconds`."""
    for size, name in _UNITS:
        if us % size == 0 and us >= size:
            count = us // size
            return f"{count} {name}" + ("s" if count > 1 else "")
    return "0 seconds"


def _emission(plan: ViewPlan) -> str:
    definition = plan.definition
    panes = next((n for n in walk(plan.root) if isinstance(n, Panes | SessionPanes)), None)
    if panes is not None:
        return _firings(plan, panes)
    lateness = definition.lateness_us
    if definition.emit is Emit.FINAL:
        corrected = f", corrected for {duration(lateness)} after" if lateness else ""
        nodes = list(walk(plan.root))
        has_windows = any(getattr(node, "window", None) is not None for node in nodes)
        if has_windows or any(isinstance(node, Windows) for node in nodes):
            return f"published when a window has closed{corrected}"
        return f"published when the watermark has decided it{corrected}"
    bound = (
        f"; windows change for {duration(lateness)} after their end" if lateness is not None else ""
    )
    if definition.every_us is not None:
        bound += f"; at most every {duration(definition.every_us)} of event time"
    grows = "rows are only added" if plan.root.append_only else "with retractions"
    return f"published as it changes, {grows}{bound}"


def _firings(plan: ViewPlan, panes: Panes | SessionPanes) -> str:
    definition = plan.definition
    when = f"every {duration(definition.every_us or 0)} of event time"
    if definition.emit is Emit.FINAL:
        when = "when a window has closed, and at each row that corrects it"
    what = "the whole result" if panes.is_accumulating else "what came since the last time"
    return f"published {when}: {what}, and nothing is withdrawn"


def _ordered(order: tuple[str, bool]) -> str:
    return order[0] + (" descending" if order[1] else "")


def _write(node: Node, depth: int, lines: list[str], written: set[int]) -> None:
    """A node and what it reads; of what is computed once for several, the rest at the first."""
    indent = "  " * depth
    first, *more = _lines(node)
    if id(node) in written and node.inputs:
        lines.append(f"{indent}{first} (once, as above)")
        return
    written.add(id(node))
    lines.append(f"{indent}{first}")
    lines += [f"{indent}    {line}" for line in more]
    for child in node.inputs:
        _write(child, depth + 1, lines, written)


def _lines(node: Node) -> list[str]:
    """What a node does, in one line or a few."""
    writers: dict[type, Callable[..., list[str]]] = {
        Scan: _scan,
        Map: _map,
        Windows: _windows,
        Aggregate: _aggregate,
        Join: _join,
        AsofJoin: _asof,
        Distinct: _distinct,
        Union: _union,
        SetOperation: _set_operation,
        TopN: _top,
        Over: _over,
        Recompute: _recompute,
        Pace: _pace,
        Hold: _hold,
        Panes: _panes,
        SessionPanes: _session_panes,
        Completeness: _completeness,
        Transform: _transform,
        Process: _process,
        MatchRecognize: _match,
        TemporalFilter: _temporal,
    }
    return [*writers[type(node)](node), *_forgets(node)]


def _forgets(node: Node) -> list[str]:
    """By which column a node forgets what time has passed."""
    found = bounded_sides(node) if isinstance(node, Join) else (bounded(node),)
    lines = []
    for by in found:
        if by is not None:
            behind_us = by.frontier.behind_us
            later = f", {duration(behind_us)} later" if behind_us else ""
            names = _names(by.frontier.sources)
            lines.append(
                f"forgets each {by.columns[0]} that the watermark of {names} has passed{later}"
            )
    return lines


def _scan(node: Scan) -> list[str]:
    rows = "rows" if node.append_only else "changes"
    return [f"scan {node.relation}: {rows} of {_names(node.schema.names)}"]


def _map(node: Map) -> list[str]:
    lines = []
    computed = [
        name if isinstance(e, exp.Column) and e.name == name else f"{_sql(e)} AS {name}"
        for name, e in node.projections
    ]
    lines.append(f"map {', '.join(computed)}")
    if node.condition is not None:
        lines.append(f"where {_sql(node.condition)}")
    return lines


def _windows(node: Windows) -> list[str]:
    line = f"{_spec(node.spec)}, adding {node.start} and {node.end}"
    if node.spec.kind is WindowKind.SESSION:
        until = " until no row can join their session" if node.lateness_us is not None else ""
        return [line, *_decides(node), f"keeps rows by key and time{until}"]
    held = ["keeps rows until their window closes"] if node.final else []
    return [line, *_decides(node), *held]


def _aggregate(node: Aggregate) -> list[str]:
    computed = ", ".join(_partial(p) for p in node.partials) or "nothing but the keys"
    keys = f" by {_names(node.keys)}" if node.keys else ""
    window = node.window
    by_value = dict.fromkeys(p.argument or "" for p in node.partials if p.merge.is_by_value)
    counts = f" and in it a count for each value of {_names(by_value)}" if by_value else ""
    if window is None:
        state = "keeps one row for each group" if node.keys else "keeps one row"
        if node.partials and all(p.merge is Merge.ONLY for p in node.partials):
            found = _names(p.name for p in node.partials)
            return [f"bring together{keys}: {found}", state]
        if node.is_in_order:
            counts = f" and in it all values of {node.partials[0].argument}, in order"
        return [f"aggregate{keys}: {computed}", state + counts]
    lines = [f"aggregate{keys} and window: {computed}", _spec(window.spec)]
    state = "keeps one row for each group and slice of time"
    if window.spec.kind is WindowKind.SESSION:
        until = " until no row can join it" if window.lateness_us is not None else ""
        state = f"keeps one row for each session{until}"
    return [*lines, *_decides(window), state + counts]


def _join(node: Join) -> list[str]:
    words = {
        JoinKind.INNER: "join",
        JoinKind.LEFT: "left join",
        JoinKind.FULL: "full join",
        JoinKind.SEMI: "keep rows with a match",
        JoinKind.ANTI: "keep rows without a match",
    }
    lines = [f"{words[node.kind]}{' on ' if node.left_keys else ''}{_pairs(node)}"]
    if node.condition is not None:
        lines.append(f"where {_sql(node.condition)}")
    if node.within is not None:
        return [*lines, *_within(node, node.within)]
    state = "keeps both sides" + (" by key" if node.left_keys else "")
    if node.condition is None:
        return [*lines, state]
    if not node.left_keys:
        state += "; each new row is compared with all of the other side"
    counts = [] if node.kind is JoinKind.INNER else ["keeps a count of the matches of like rows"]
    return [*lines, state, *counts]


def _within(node: Join, within: Within) -> list[str]:
    bounds = []
    if within.lower_us is not None:
        bounds.append(_side(">", within.right_time, within.lower_us, strict_us=1))
    if within.upper_us is not None:
        bounds.append(_side("<", within.right_time, within.upper_us, strict_us=-1))
    lines = [f"where {within.left_time} {' and '.join(bounds)}"]
    if within.decision is None:
        is_bounded = bounded_sides(node) != (None, None)
        until = "" if is_bounded else ", for ever: lateness would bound them"
        return [*lines, f"keeps both sides by key and time{until}"]
    decision = within.decision
    lines += [f"forgets rows that {_passed(decision)}", *_steps(decision.left, decision.right)]
    return [*lines, "keeps both sides by key and time"]


def _passed(decision: Decision) -> str:
    """Which watermarks have passed a row, and how long ago."""
    names = dict.fromkeys((*decision.left.sources, *decision.right.sources))
    late_us = decision.lateness_us + max(decision.left.slack_us, decision.right.slack_us)
    late = f", {duration(late_us)} later" if late_us else ""
    return f"the watermark of {_names(names)} has passed{late}"


def _side(sign: str, time: str, us: int, strict_us: int) -> str:
    """A bound; one that is a microsecond off a round length was written as a strict one."""
    if (us - strict_us) % 1_000 == 0:
        return f"{sign} {time}{_shift(us - strict_us)}"
    return f"{sign}= {time}{_shift(us)}"


def _shift(us: int) -> str:
    if not us:
        return ""
    return f" + {duration(us)}" if us > 0 else f" - {duration(-us)}"


def _asof(node: AsofJoin) -> list[str]:
    sign = ">" if node.is_strict else ">="
    word = "asof left join" if node.is_left else "asof join"
    on = [_pairs(node)] if node.left_keys else []
    on.append(f"{node.left_time} {sign} {node.right_time}")
    lines = [f"{word} on {' and '.join(on)}"]
    decision = node.decision
    if decision is None:
        return [*lines, "keeps both sides by key and time"]
    waits = f"a row waits until the watermark of {_names(decision.right.sources)} has passed it"
    return [
        *lines,
        *([waits] if decision.final else []),
        f"forgets rows that {_passed(decision)}, but for the newest on the right of each key",
        *_steps(decision.left, decision.right),
        "keeps both sides by key and time",
    ]


def _temporal(node: TemporalFilter) -> list[str]:
    held = []
    if node.valid_from is not None:
        held.append(f"from {node.valid_from} on")
    if node.valid_until is not None:
        held.append(f"before {node.valid_until}")
    line = f"keep rows while now() is {' and '.join(held)}"
    return [line, "keeps rows until they come in or leave"]


def _distinct(node: Distinct) -> list[str]:
    return [f"distinct {_names(node.schema.names)}", "keeps each row with its count"]


def _union(node: Union) -> list[str]:
    return [f"union of {len(node.inputs)} inputs"]


def _set_operation(node: SetOperation) -> list[str]:
    lines = {
        SetRule.EXCEPT: "rows of the first input that the second has not, each once",
        SetRule.EXCEPT_ALL: "rows that the first input has more often than the second",
        SetRule.INTERSECT: "rows that both inputs have, each once",
        SetRule.INTERSECT_ALL: "rows that both inputs have, as often as both do",
    }
    return [lines[node.rule], "keeps each row with its count on both sides"]


def _top(node: TopN) -> list[str]:
    order = ", ".join(_order(o) for o in node.order)
    what = "row" if node.place is Place.ROW_NUMBER else str(node.place).replace("_", " ")
    line = f"first {what}" if node.limit == 1 else f"first {node.limit} {what}s"
    line += f" after {node.offset}" if node.offset else ""
    line += f" of each {_names(node.partition)}" if node.partition else ""
    line += f" by {order}" if order else ""
    line += f", numbered as {node.number}" if node.number else ""
    if not node.input.append_only:
        return [line, "keeps its input, and reads again the partitions that changed"]
    return [line, "keeps the rows that may come out"]


def _over(node: Over) -> list[str]:
    order = ", ".join(_order(o) for o in node.order)
    line = "over " + (f"each {_names(node.partition)}" if node.partition else "all rows")
    line += f" by {order}" if order else ""
    return [line, *map(_call, node.calls), "keeps each row with its results"]


def _call(call: OverCall) -> str:
    frame = f" {_sql(call.spec)}" if call.spec is not None else ""
    return f"{_sql(call.function)}{frame} AS {call.name}"


def _pace(node: Pace) -> list[str]:
    line = f"hold changes until the watermark of {_names(node.sources)} has passed"
    return [f"{line} another {duration(node.every_us)}", "keeps what is held, added up"]


def _completeness(node: Completeness) -> list[str]:
    who = f"the share of the partitions or senders of {_names(node.sources)}"
    line = f"{node.end}: {who} that have passed the end of the window"
    return [line, "keeps rows of windows that some have not passed"]


def _hold(node: Hold) -> list[str]:
    line = f"hold rows until the watermark of {_names(node.sources)} has passed"
    return [f"{line} another {duration(node.every_us)}", "keeps the rows that are held"]


def _panes(node: Panes) -> list[str]:
    computed = ", ".join(_partial(p) for p in node.partials) or "nothing but the keys"
    keys = f" by {_names(node.keys)}" if node.keys else ""
    if not node.is_accumulating:
        return [f"aggregate{keys}: {computed}", "for each firing, of the rows since the last"]
    until = f" until no row can be in time for its {node.bound}" if node.bound else ""
    return [
        f"aggregate{keys}: {computed}",
        "for each firing, of all rows so far",
        f"keeps one row for each group{until}",
    ]


def _session_panes(node: SessionPanes) -> list[str]:
    computed = ", ".join(_partial(p) for p in node.partials) or "nothing but the keys"
    window = node.window
    names = (*node.keys, window.start, window.end)
    of = "of all rows so far" if node.is_accumulating else "of the rows since the last"
    until = " until no row can join it" if window.lateness_us is not None else ""
    lines = [f"aggregate by {_names(names)}, {_spec(window.spec)}: {computed}"]
    if window.lateness_us is not None:
        lines += _decides(window)
    if node.every_us is not None:
        every = f"the watermark of {_names(window.sources)} has passed another"
        lines.append(f"holds rows until {every} {duration(node.every_us)}")
    return [*lines, f"for each firing, {of}", f"keeps one row for each session{until}"]


def _recompute(node: Recompute) -> list[str]:
    keyed = any(node.keys)
    scope = f"by {_names(node.keys[0])}, for the keys that changed" if keyed else "as a whole"
    lines = [f"recompute {scope}", f"recomputed because {node.reason}"]
    if len(node.sources) > 1:
        lines.append(f"over, in this order, {_names(node.names)}")
    return [*lines, _sql(_without_echoes(node.query)), "keeps its input"]


def _transform(node: Transform) -> list[str]:
    return [f"transform in Python, making {_names(node.schema.names)}"]


def _process(node: Process) -> list[str]:
    order = f"event time {node.time}" if node.time else "the log"
    timers = [f"told the time by the watermark of {_names(node.sources)}"] if node.sources else []
    held = ["keeps rows until the watermark has passed them"] if node.time else []
    line = f"process in Python by {_names(node.keys)}, making {_names(node.schema.names)}"
    return [line, f"rows in the order of {order}", *timers, *held, "keeps the state of each key"]


def _match(node: MatchRecognize) -> list[str]:
    keys = f" of each {_names(node.partition)}" if node.partition else ""
    order = _names([node.time, *(_order(o) for o in node.order)])
    put = "a row for each row of a match" if node.all_rows else "a row for each match"
    lines = [f"match {pattern_text(node.pattern)}{keys} by {order}, {put}"]
    if node.within_us is not None:
        lines.append(f"within {duration(node.within_us)}")
    skip = f"{node.skip} {node.skip_symbol}" if node.skip_symbol else str(node.skip)
    lines.append(f"skip {skip}")
    for condition in node.conditions:
        if condition.row is not None:
            lines.append(f"{condition.symbol} needs, of its row: {_sql(condition.row)}")
        if condition.rest is not None:
            names = {r.name: _reading(r) for r in node.readings}
            text = _sql(_renamed(condition.rest, names))
            lines.append(f"{condition.symbol} needs, row by row: {text}")
    behind = f", {duration(node.behind_us)} later" if node.behind_us else ""
    lines.append(f"closed by the watermark of {_names(node.sources)}{behind}")
    bound = "" if node.within_us is not None else ", without a bound in time"
    return [*lines, f"keeps rows from the first that may still begin a match{bound}"]


def pattern_text(pattern: Pattern) -> str:
    """A pattern as its author would write it."""
    if isinstance(pattern, Symbol):
        return pattern.name
    if isinstance(pattern, End):
        return "$"
    if isinstance(pattern, Follow):
        return " ".join(_part(part) for part in pattern.parts)
    if isinstance(pattern, Choice):
        return " | ".join(pattern_text(part) for part in pattern.parts)
    signs = {(0, None): "*", (1, None): "+", (0, 1): "?"}
    most = "" if pattern.most is None else pattern.most
    sign = signs.get((pattern.least, pattern.most), f"{{{pattern.least},{most}}}")
    inner = pattern_text(pattern.part)
    inner = inner if isinstance(pattern.part, Symbol) else f"({inner})"
    return inner + sign + ("" if pattern.is_greedy else "?")


def _part(pattern: Pattern) -> str:
    text = pattern_text(pattern)
    return f"({text})" if isinstance(pattern, Choice) else text


def _reading(reading: Reading) -> str:
    if reading.pick is Pick.CURRENT:
        return reading.column or ""
    owner = "|".join(reading.symbols)
    value = reading.column or "*"
    text = f"{owner}.{value}" if owner else value
    back = f", {reading.offset}" if reading.offset else ""
    return f"{reading.pick}({text}{back})"


def _renamed(expression: exp.Expr, names: Mapping[str, str]) -> exp.Expr:
    return expression.copy().transform(
        lambda n: exp.to_identifier(names[n.name]) if isinstance(n, exp.Column) else n
    )


def _decides(window: Windows | GroupWindow) -> list[str]:
    if not window.final and window.lateness_us is None:
        return []
    what = "closed" if window.final else "late"
    lateness = f", corrected for {duration(window.lateness_us)}" if window.lateness_us else ""
    behind = f", {duration(window.behind_us)} later" if window.behind_us else ""
    line = f"{what} by the watermark of {_names(window.sources)}{behind}{lateness}"
    return [line, *_steps(window.frontier)]


def _steps(*frontiers: Frontier) -> list[str]:
    """By which steps a node decides over rows that others withdraw."""
    lengths = dict.fromkeys(frontier.step_us for frontier in frontiers if frontier.step_us)
    return [
        f"what is withdrawn is late or in time by steps of {duration(length)}" for length in lengths
    ]


def _spec(spec: WindowSpec) -> str:
    if spec.kind is WindowKind.SESSION:
        of = f" of {_names(spec.keys)}" if spec.keys else ""
        return f"sessions{of} with a gap of {duration(spec.size_us)} over {spec.time}"
    if spec.kind is WindowKind.CUMULATE:
        shift = f" shifted by {duration(spec.offset_us)}" if spec.offset_us else ""
        step = duration(spec.slide_us)
        return f"windows of {duration(spec.size_us)} growing by {step}{shift} over {spec.time}"
    slide = f" every {duration(spec.slide_us)}" if spec.slide_us != spec.size_us else ""
    shift = f" shifted by {duration(spec.offset_us)}" if spec.offset_us else ""
    return f"windows of {duration(spec.size_us)}{slide}{shift} over {spec.time}"


def _partial(partial: Partial) -> str:
    if partial.merge is Merge.DISTINCT:
        return f"count(DISTINCT {partial.argument}) AS {partial.name}"
    fraction = f", {partial.fraction}" if partial.fraction else ""
    return f"{partial.merge}({partial.argument or '*'}{fraction}) AS {partial.name}"


def _pairs(node: Join | AsofJoin) -> str:
    pairs = zip(node.left_keys, node.right_keys, strict=True)
    return " and ".join(f"{left} = {right}" for left, right in pairs)


def _order(order: Order) -> str:
    text = order.column + (" descending" if order.is_descending else "")
    return text + (" nulls first" if order.nulls_first else "")


def _without_echoes(query: exp.Expr) -> exp.Expr:
    """The query with `x AS x` written as `x`."""
    copy = query.copy()
    for alias in list(copy.find_all(exp.Alias)):
        if isinstance(alias.this, exp.Column) and alias.this.sql() == alias.args["alias"].sql():
            alias.replace(alias.this)
    return copy


def _shortened(node: exp.Expr) -> exp.Expr:
    """A part of a sketch by its name, over the aggregate or the columns that it reads."""
    short = node.meta.get(SHORT)
    if short is None:
        return node
    read: list[exp.Expr] = [call.transform(_shortened) for call in aggregates(node)][:1]
    arguments = read or [column(name) for name in column_names(node)]
    return exp.Anonymous(this=short, expressions=arguments)


def _names(names: Iterable[str]) -> str:
    return ", ".join(names)


def _sql(expression: exp.Expr) -> str:
    """SQL without the quotes that no reader needs."""
    copy = expression.copy().transform(_shortened, copy=False)
    for name in copy.find_all(exp.Identifier):
        name.set("quoted", not name.name.isidentifier())
    return copy.sql("duckdb")
