"""How many examples the property tests run: a fiftieth by default and in CI, all with ``DEPLOY_TEST_SCALE=1``.

The seed is printed by pytest's header; ``--hypothesis-seed=N`` repeats a run.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from tests.support.endurance import SCALE

FULL_COUNT = 500

settings.register_profile(
    "deploy",
    max_examples=max(5, int(FULL_COUNT * SCALE)),
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("deploy")
