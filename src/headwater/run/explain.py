"""Say how a pipeline's views are computed."""

from __future__ import annotations

import difflib

from headwater.errors import DefinitionError
from headwater.run.compile import Compiled
from headwater.sql.explain import explain


def explain_views(compiled: Compiled, view: str | None) -> str:
    """The plans of all views, or of the one called `view`.

    Raises:
        DefinitionError: There is no such view.
    """
    names = [plan.name for plan in compiled.plans]
    if view is None:
        return "\n\n".join(explain(plan) for plan in compiled.plans)
    for plan in compiled.plans:
        if plan.name.lower() == view.lower():
            return explain(plan)
    near = difflib.get_close_matches(view, names, n=1)
    raise DefinitionError(
        f"there is no view {view}",
        hint=f"did you mean {near[0]}?" if near else f"the views are: {', '.join(names)}",
    )
