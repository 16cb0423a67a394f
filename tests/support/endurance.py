"""How much of the tests marked `endurance` runs: a fiftieth by default and in CI.

All of them, with another seed if wanted:

    DEPLOY_TEST_SCALE=1 DEPLOY_TEST_SEED=1 pytest -m endurance
"""

from __future__ import annotations

import os

__all__ = ["SCALE", "chosen_seed"]

SCALE = float(os.environ.get("DEPLOY_TEST_SCALE", "0.02"))


def chosen_seed() -> int:
    """Return the seed of this run, which tests/conftest.py chooses and pytest's header prints."""
    return int(os.environ["DEPLOY_TEST_SEED"])
