"""What an author has declared so far, checked name by name.

SQL statements and Python calls end here; the result is one plain `Pipeline`.
"""

from __future__ import annotations

import difflib

from headwater.errors import DefinitionError
from headwater.plan.pipeline import (
    Definition,
    Pipeline,
    SinkDefinition,
    TopicDefinition,
    ViewDefinition,
)
from headwater.plan.python import FunctionDefinition


class Declarations:
    """Collects definitions in the order they are made.

    Views may read only what was declared before them, so the order of declaration is an order in
    which they can be computed.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._topics: dict[str, TopicDefinition] = {}
        self._views: dict[str, ViewDefinition] = {}
        self._sinks: dict[str, SinkDefinition] = {}
        self._functions: dict[str, FunctionDefinition] = {}

    def add(self, definition: Definition) -> None:
        """Take one definition.

        Raises:
            DefinitionError: Its name is taken, or it follows a relation that is not declared.
        """
        if isinstance(definition, SinkDefinition):
            self._add_sink(definition)
            return
        if isinstance(definition, FunctionDefinition):
            self._add_function(definition)
            return
        self._check_name(definition.name)
        if isinstance(definition, TopicDefinition):
            self._topics[definition.name.lower()] = definition
        else:
            self._views[definition.name.lower()] = definition

    def pipeline(self) -> Pipeline:
        """All that was declared."""
        return Pipeline(
            self.name,
            tuple(self._topics.values()),
            tuple(self._views.values()),
            tuple(self._sinks.values()),
            tuple(self._functions.values()),
        )

    def _add_sink(self, sink: SinkDefinition) -> None:
        source = self._views.get(sink.source.lower())
        if source is None:
            names = [view.name for view in self._views.values()]
            near = difflib.get_close_matches(sink.source, names, n=1)
            raise DefinitionError(
                f"sink {sink.name} follows {sink.source}, which is not a view",
                hint=f"did you mean {near[0]}?"
                if near
                else f"declare it first; the views are: {', '.join(names) or 'none yet'}",
            )
        if sink.name.lower() in self._sinks:
            raise DefinitionError(
                f"there is already a sink {sink.name}", hint="give this one another name"
            )
        self._sinks[sink.name.lower()] = sink

    def _add_function(self, function: FunctionDefinition) -> None:
        if function.name.lower() in self._functions:
            raise DefinitionError(
                f"there is already a function {function.name}",
                hint="names are compared without regard to case: give this one another name",
            )
        self._functions[function.name.lower()] = function

    def _check_name(self, name: str) -> None:
        folded = name.lower()
        if folded in self._topics or folded in self._views:
            kind = "a view" if folded in self._views else "a topic or table"
            raise DefinitionError(
                f"there is already {kind} called {name}",
                hint="names are unique in a pipeline, without regard to case",
            )
        if "$" in name or folded.startswith("_"):
            raise DefinitionError(
                f"{name} cannot be a name",
                hint="a name has no $ and does not begin with _: these are Headwater's own",
            )
