"""Why DuckDB refuses a query, said in the author's words and at the place in the author's text.

DuckDB types the whole query first. It knows what is wrong, but not where in the author's text (it
sees window functions written out); so its message is read for the name at fault, and the name is
found again in the parsed query.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from sqlglot import exp

from headwater.errors import DefinitionError
from headwater.plan.pipeline import ViewDefinition
from headwater.schema.schema import Schema
from headwater.schema.types import Column
from headwater.sql.functions import name_of
from headwater.sql.places import hint_for, place_of
from headwater.sql.relations import Describe, Relation
from headwater.sql.sketches import bucket_argument
from headwater.sql.windows import END, START, is_window_call, plain


def checked_schema(
    definition: ViewDefinition, relations: Mapping[str, Relation], describe: Describe
) -> Schema:
    """The view's columns, as DuckDB names and types them.

    Raises:
        DefinitionError: The query reads what is not there, or DuckDB refuses it.

    """
    _check_tables(definition, relations)
    text = plain(definition.query, definition.origin)
    outer = exp.select("*").from_(
        exp.Subquery(this=text, alias=exp.TableAlias(this=exp.to_identifier("_view")))
    )
    schemas = {
        relation.name: relation.schema
        for table in text.find_all(exp.Table)
        if (relation := relations.get(table.name.lower())) is not None
    }
    try:
        return _spelled(describe(outer, schemas), definition.query)
    except DefinitionError as error:
        raise explained_in(error, definition, schemas) from None


def _spelled(schema: Schema, query: exp.Query) -> Schema:
    """The columns with the author's capitals; DESCRIBE tells those of the table's column."""
    names = query.named_selects
    if [n.lower() for n in names] != [n.lower() for n in schema.names]:
        return schema
    return Schema(tuple(Column(n, c.type) for n, c in zip(names, schema, strict=True)))


def _check_tables(definition: ViewDefinition, relations: Mapping[str, Relation]) -> None:
    """Refuse a name in FROM that is no topic, table or view and no CTE of the query."""
    query = definition.query
    known = {cte.alias.lower() for cte in query.find_all(exp.CTE)} | set(relations)
    for table in query.find_all(exp.Table):
        if is_window_call(table):
            first = table.this.expressions[0] if table.this.expressions else None
            first = first.this if isinstance(first, exp.And) else first
            if isinstance(first, exp.Column):
                _check_name(first, first.name, known, definition, relations)
        elif isinstance(table.this, exp.Identifier):
            _check_name(table.this, table.name, known, definition, relations)
        elif isinstance(table.this, exp.ReadCSV) or "read_" in table.this.sql("duckdb").lower():
            raise DefinitionError(
                "a view reads topics, tables and views, and no files",
                place=place_of(table.this, definition.origin),
                hint="send the file into a topic: headwater send TOPIC FILE",
            )


def _check_name(
    node: exp.Expr,
    name: str,
    known: Iterable[str],
    definition: ViewDefinition,
    relations: Mapping[str, Relation],
) -> None:
    if name.lower() not in known:
        names = [relation.name for relation in relations.values()]
        raise DefinitionError(
            f"there is no topic, table or view called {name}",
            place=place_of(node, definition.origin),
            hint=hint_for(name, names, "there are"),
        )


_COLUMN = re.compile(r'Referenced column "([^"]+)" (?:was )?not found')
_MISSING_IN = re.compile(
    r'(?:Table|table|Values list) "([^"]+)" does not have a column named "([^"]+)"'
)
_TABLE = re.compile(r'Referenced table "([^"]+)" not found')
_FUNCTION = re.compile(r"Function with name \"?(\w+)\"? (?:does not exist|is not)", re.IGNORECASE)
_USING = re.compile(r'Column "([^"]+)" does not exist on (left|right) side of join')
_AMBIGUOUS = re.compile(r'Ambiguous reference to column name "([^"]+)" \(use: (.+?)\)')
_MISFIT = re.compile(r"No function matches the given name and argument types '([^(]+)\(")
_GROUPED = re.compile(r'column "([^"]+)" must appear in the GROUP BY clause')


def explained_in(  # noqa: PLR0911 - one for each kind of refusal
    error: DefinitionError, definition: ViewDefinition, schemas: Mapping[str, Schema]
) -> DefinitionError:
    """DuckDB's refusal as our own."""
    message = error.message
    query, origin = definition.query, definition.origin
    names = [name for schema in schemas.values() for name in schema.names]
    if query.find(exp.Anonymous) is not None:
        names += [START, END]
    if found := _COLUMN.search(message) or _USING.search(message):
        return _no_column(found.group(1), definition, [*names, *_aliases(query)])
    if found := _MISSING_IN.search(message):
        return _no_column(found.group(2), definition, names)
    if found := _TABLE.search(message):
        node = _named(query, found.group(1))
        tables = [t.alias_or_name for t in query.find_all(exp.Table, exp.Subquery)]
        return DefinitionError(
            f"there is no {found.group(1)} in FROM",
            place=place_of(node, origin),
            hint=hint_for(found.group(1), dict.fromkeys(t for t in tables if t), "FROM has"),
        )
    if found := _FUNCTION.search(message):
        return _no_function(found.group(1), message, definition)
    if found := _GROUPED.search(message):
        name = found.group(1)
        return DefinitionError(
            f"{name} is neither grouped by nor in an aggregate",
            place=place_of(_named(query, name), origin),
            hint=f"add {name} to GROUP BY, or use any_value({name})",
        )
    if "found 'NULL'" in message:
        return DefinitionError(
            "a column that is always null has no type",
            place=place_of(_null_output(query), origin),
            hint="give it one, for example CAST(NULL AS VARCHAR)",
        )
    if found := _AMBIGUOUS.search(message):
        return DefinitionError(
            f"{found.group(1)} could be one of several columns",
            place=place_of(_named(query, found.group(1)), origin),
            hint=f"write {found.group(2)}".replace("'", ""),
        )
    if found := _MISFIT.search(message):
        bucketed = bucket_argument(query)
        if found.group(1) == "add" and bucketed is not None:
            return DefinitionError(
                "approx_quantile is of numbers",
                place=place_of(bucketed, origin),
                hint="quantile_disc is exact, and takes whatever has an order",
            )
        return DefinitionError(
            _first_line(message).split(". ")[0],
            place=place_of(_call(query, found.group(1)), origin),
            hint="cast the argument to a type that the function takes",
        )
    return DefinitionError(_first_line(message), place=origin, hint=_suggestion(message))


def _no_column(name: str, definition: ViewDefinition, known: list[str]) -> DefinitionError:
    node = _named(definition.query, name)
    others = [k for k in dict.fromkeys(known) if k.lower() != name.lower()]
    return DefinitionError(
        f"there is no column {name}",
        place=place_of(node, definition.origin),
        hint=hint_for(name, others, "the columns are"),
    )


def _no_function(name: str, message: str, definition: ViewDefinition) -> DefinitionError:
    node = _call(definition.query, name)
    return DefinitionError(
        f"there is no function {name}",
        place=place_of(node, definition.origin),
        hint=_suggestion(message) or "the functions are DuckDB's and those the pipeline declares",
    )


def _suggestion(message: str) -> str | None:
    found = re.search(r'Did you mean "([^"]+)"', message)
    return f"did you mean {found.group(1)}?" if found else None


def _first_line(message: str) -> str:
    """DuckDB's message without its kind, its candidates and the text of the query."""
    return re.sub(r"^\w[\w ]* Error: ", "", message.split("\n", maxsplit=1)[0]).strip().rstrip(".!")


def _named(query: exp.Expr, name: str) -> exp.Expr | None:
    """The first place where the name stands."""
    for node in query.find_all(exp.Identifier, bfs=False):
        if node.name.lower() == name.lower() and not isinstance(node.parent, exp.Alias):
            return node
    return None


def _null_output(query: exp.Expr) -> exp.Expr | None:
    """The first NULL that is selected as it is, with its name."""
    for select in query.find_all(exp.Select):
        for item in select.expressions:
            if isinstance(item.unalias(), exp.Null):
                return item
    return None


def _call(query: exp.Expr, name: str) -> exp.Expr | None:
    """The first call of a function."""
    return next((f for f in query.find_all(exp.Func) if name_of(f) == name.lower()), None)


def _aliases(query: exp.Expr) -> list[str]:
    return [alias.alias for alias in query.find_all(exp.Alias)]
