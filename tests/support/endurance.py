"""How much of the tests marked `endurance` runs: a fiftieth by default and in CI.

All of them, with another seed if wanted:

    DEPLOY_TEST_SCALE=1 DEPLOY_TEST_SEED=1 pytest -m endurance
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")

SCALE = float(os.environ.get("DEPLOY_TEST_SCALE", "0.02"))


def chosen_seed() -> int:
    """Return the seed of this run, which tests/conftest.py chooses and pytest's header prints."""
    return int(os.environ["DEPLOY_TEST_SEED"])


def drawn(items: Sequence[Item], count: int) -> list[Item]:
    """Return so many of the items, in their order, chosen by the run's seed; all of them at full scale."""
    if SCALE >= 1:
        return list(items)
    chosen = set(random.Random(chosen_seed()).sample(range(len(items)), count))
    return [item for number, item in enumerate(items) if number in chosen]
