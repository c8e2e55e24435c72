"""How long the doors are fuzzed: briefly and the same each time, or, if it is said, for longer."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_EXAMPLES = os.environ.get("HEADWATER_FUZZ_EXAMPLES")


def fuzzing(examples: int) -> settings:
    """So many examples, always the same; or as many as the environment says, new ones each time."""
    return settings(
        max_examples=int(_EXAMPLES) if _EXAMPLES else examples,
        derandomize=_EXAMPLES is None,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
