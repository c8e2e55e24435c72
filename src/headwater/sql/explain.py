"""A plan as text: what is computed, what is remembered, and what is computed again.

The view's last step stands at the top and what it reads is indented below it. A node says what it
does, then its conditions and windows, and last what it remembers; a node that remembers nothing
says nothing of that.
"""

from __future__ import annotations

from collections.abc import Callable

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
    Over,
    OverCall,
    Pace,
    Panes,
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
    Within,
    walk,
)
from headwater.plan.pipeline import Emit, ViewPlan
from headwater.sql.spelled import (
    bound_text,
    duration,
    names_text,
    order_text,
    pairs_text,
    partial_text,
    pattern_text,
    reading_text,
    renamed,
    spec_text,
    sql_text,
    without_echoes,
)


def explain(plan: ViewPlan) -> str:
    """How a view is computed, as an indented tree."""
    columns = ", ".join(f"{c.name} {c.type}" for c in plan.schema)
    lines = [f"view {plan.name} ({columns})", f"  {_emission(plan)}"]
    if plan.order:
        lines.append("  read in the order of " + ", ".join(_ordered(o) for o in plan.order))
    _write(plan.root, 1, lines, set())
    return "\n".join(lines)


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
            names = names_text(by.frontier.sources)
            lines.append(
                f"forgets each {by.columns[0]} that the watermark of {names} has passed{later}"
            )
    return lines


def _scan(node: Scan) -> list[str]:
    rows = "rows" if node.append_only else "changes"
    return [f"scan {node.relation}: {rows} of {names_text(node.schema.names)}"]


def _map(node: Map) -> list[str]:
    lines = []
    computed = [
        name if isinstance(e, exp.Column) and e.name == name else f"{sql_text(e)} AS {name}"
        for name, e in node.projections
    ]
    lines.append(f"map {', '.join(computed)}")
    if node.condition is not None:
        lines.append(f"where {sql_text(node.condition)}")
    return lines


def _windows(node: Windows) -> list[str]:
    line = f"{spec_text(node.spec)}, adding {node.start} and {node.end}"
    if node.spec.kind is WindowKind.SESSION:
        until = " until no row can join their session" if node.lateness_us is not None else ""
        return [line, *_decides(node), f"keeps rows by key and time{until}"]
    held = ["keeps rows until their window closes"] if node.final else []
    return [line, *_decides(node), *held]


def _aggregate(node: Aggregate) -> list[str]:
    computed = ", ".join(partial_text(p) for p in node.partials) or "nothing but the keys"
    keys = f" by {names_text(node.keys)}" if node.keys else ""
    window = node.window
    by_value = dict.fromkeys(p.argument or "" for p in node.partials if p.merge.is_by_value)
    counts = f" and in it a count for each value of {names_text(by_value)}" if by_value else ""
    if window is None:
        state = "keeps one row for each group" if node.keys else "keeps one row"
        if node.partials and all(p.merge is Merge.ONLY for p in node.partials):
            found = names_text(p.name for p in node.partials)
            return [f"bring together{keys}: {found}", state]
        if node.is_in_order:
            counts = f" and in it all values of {node.partials[0].argument}, in order"
        return [f"aggregate{keys}: {computed}", state + counts]
    lines = [f"aggregate{keys} and window: {computed}", spec_text(window.spec)]
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
    lines = [f"{words[node.kind]}{' on ' if node.left_keys else ''}{pairs_text(node)}"]
    if node.condition is not None:
        lines.append(f"where {sql_text(node.condition)}")
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
        bounds.append(bound_text(">", within.right_time, within.lower_us, strict_us=1))
    if within.upper_us is not None:
        bounds.append(bound_text("<", within.right_time, within.upper_us, strict_us=-1))
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
    return f"the watermark of {names_text(names)} has passed{late}"


def _asof(node: AsofJoin) -> list[str]:
    sign = ">" if node.is_strict else ">="
    word = "asof left join" if node.is_left else "asof join"
    on = [pairs_text(node)] if node.left_keys else []
    on.append(f"{node.left_time} {sign} {node.right_time}")
    lines = [f"{word} on {' and '.join(on)}"]
    decision = node.decision
    if decision is None:
        return [*lines, "keeps both sides by key and time"]
    waits = f"a row waits until the watermark of {names_text(decision.right.sources)} has passed it"
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
    return [f"distinct {names_text(node.schema.names)}", "keeps each row with its count"]


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
    order = ", ".join(order_text(o) for o in node.order)
    what = "row" if node.place is Place.ROW_NUMBER else str(node.place).replace("_", " ")
    line = f"first {what}" if node.limit == 1 else f"first {node.limit} {what}s"
    line += f" after {node.offset}" if node.offset else ""
    line += f" of each {names_text(node.partition)}" if node.partition else ""
    line += f" by {order}" if order else ""
    line += f", numbered as {node.number}" if node.number else ""
    if not node.input.append_only:
        return [line, "keeps its input, and reads again the partitions that changed"]
    return [line, "keeps the rows that may come out"]


def _over(node: Over) -> list[str]:
    order = ", ".join(order_text(o) for o in node.order)
    line = "over " + (f"each {names_text(node.partition)}" if node.partition else "all rows")
    line += f" by {order}" if order else ""
    return [line, *map(_call, node.calls), "keeps each row with its results"]


def _call(call: OverCall) -> str:
    frame = f" {sql_text(call.spec)}" if call.spec is not None else ""
    return f"{sql_text(call.function)}{frame} AS {call.name}"


def _pace(node: Pace) -> list[str]:
    line = f"hold changes until the watermark of {names_text(node.sources)} has passed"
    return [f"{line} another {duration(node.every_us)}", "keeps what is held, added up"]


def _completeness(node: Completeness) -> list[str]:
    who = f"the share of the partitions or senders of {names_text(node.sources)}"
    line = f"{node.end}: {who} that have passed the end of the window"
    return [line, "keeps rows of windows that some have not passed"]


def _hold(node: Hold) -> list[str]:
    line = f"hold rows until the watermark of {names_text(node.sources)} has passed"
    return [f"{line} another {duration(node.every_us)}", "keeps the rows that are held"]


def _panes(node: Panes) -> list[str]:
    computed = ", ".join(partial_text(p) for p in node.partials) or "nothing but the keys"
    keys = f" by {names_text(node.keys)}" if node.keys else ""
    if not node.is_accumulating:
        return [f"aggregate{keys}: {computed}", "for each firing, of the rows since the last"]
    until = f" until no row can be in time for its {node.bound}" if node.bound else ""
    return [
        f"aggregate{keys}: {computed}",
        "for each firing, of all rows so far",
        f"keeps one row for each group{until}",
    ]


def _session_panes(node: SessionPanes) -> list[str]:
    computed = ", ".join(partial_text(p) for p in node.partials) or "nothing but the keys"
    window = node.window
    names = (*node.keys, window.start, window.end)
    of = "of all rows so far" if node.is_accumulating else "of the rows since the last"
    until = " until no row can join it" if window.lateness_us is not None else ""
    lines = [f"aggregate by {names_text(names)}, {spec_text(window.spec)}: {computed}"]
    if window.lateness_us is not None:
        lines += _decides(window)
    if node.every_us is not None:
        every = f"the watermark of {names_text(window.sources)} has passed another"
        lines.append(f"holds rows until {every} {duration(node.every_us)}")
    return [*lines, f"for each firing, {of}", f"keeps one row for each session{until}"]


def _recompute(node: Recompute) -> list[str]:
    keyed = any(node.keys)
    scope = f"by {names_text(node.keys[0])}, for the keys that changed" if keyed else "as a whole"
    lines = [f"recompute {scope}", f"recomputed because {node.reason}"]
    if len(node.sources) > 1:
        lines.append(f"over, in this order, {names_text(node.names)}")
    return [*lines, sql_text(without_echoes(node.query)), "keeps its input"]


def _transform(node: Transform) -> list[str]:
    return [f"transform in Python, making {names_text(node.schema.names)}"]


def _process(node: Process) -> list[str]:
    order = f"event time {node.time}" if node.time else "the log"
    timers = (
        [f"told the time by the watermark of {names_text(node.sources)}"] if node.sources else []
    )
    held = ["keeps rows until the watermark has passed them"] if node.time else []
    line = f"process in Python by {names_text(node.keys)}, making {names_text(node.schema.names)}"
    return [line, f"rows in the order of {order}", *timers, *held, "keeps the state of each key"]


def _match(node: MatchRecognize) -> list[str]:
    keys = f" of each {names_text(node.partition)}" if node.partition else ""
    order = names_text([node.time, *(order_text(o) for o in node.order)])
    put = "a row for each row of a match" if node.all_rows else "a row for each match"
    lines = [f"match {pattern_text(node.pattern)}{keys} by {order}, {put}"]
    if node.within_us is not None:
        lines.append(f"within {duration(node.within_us)}")
    skip = f"{node.skip} {node.skip_symbol}" if node.skip_symbol else str(node.skip)
    lines.append(f"skip {skip}")
    for condition in node.conditions:
        if condition.row is not None:
            lines.append(f"{condition.symbol} needs, of its row: {sql_text(condition.row)}")
        if condition.rest is not None:
            names = {r.name: reading_text(r) for r in node.readings}
            text = sql_text(renamed(condition.rest, names))
            lines.append(f"{condition.symbol} needs, row by row: {text}")
    behind = f", {duration(node.behind_us)} later" if node.behind_us else ""
    lines.append(f"closed by the watermark of {names_text(node.sources)}{behind}")
    bound = "" if node.within_us is not None else ", without a bound in time"
    return [*lines, f"keeps rows from the first that may still begin a match{bound}"]


def _decides(window: Windows | GroupWindow) -> list[str]:
    if not window.final and window.lateness_us is None:
        return []
    what = "closed" if window.final else "late"
    lateness = f", corrected for {duration(window.lateness_us)}" if window.lateness_us else ""
    behind = f", {duration(window.behind_us)} later" if window.behind_us else ""
    line = f"{what} by the watermark of {names_text(window.sources)}{behind}{lateness}"
    return [line, *_steps(window.frontier)]


def _steps(*frontiers: Frontier) -> list[str]:
    """By which steps a node decides over rows that others withdraw."""
    lengths = dict.fromkeys(frontier.step_us for frontier in frontiers if frontier.step_us)
    return [
        f"what is withdrawn is late or in time by steps of {duration(length)}" for length in lengths
    ]
