"""What holds for every test.

How long Hypothesis may take is nobody's business: `make test` runs a process for each core, beside
whatever else the machine does, so a test that takes milliseconds alone may once take a second.

A process that a test starts finds compiled modules, as an install has them, also where the
environment asks for none: else each would take a second more.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")
