"""What holds for every test: how long Hypothesis may take is nobody's business.

`make test` runs a process for each core, beside whatever else the machine does, so a test that
takes milliseconds alone may once take a second.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")
