"""No request is lost by a stop.

A fiftieth of the 200 stops by default. All of them, with another seed if wanted:

    DEPLOY_TEST_SCALE=1 DEPLOY_TEST_SEED=1 pytest tests/integration/runner/test_stops.py
"""

from __future__ import annotations

import random
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.support.endurance import SCALE, chosen_seed

SEED = chosen_seed()
STOPS = max(1, int(200 * SCALE))


@pytest.mark.endurance
@pytest.mark.slow
def test_no_request_that_began_is_cut_by_a_stop(supervise, web, port, answers, get, environment, capsys):
    """Stop gunicorn at any moment of a load of slow requests: each that reached the app has its whole answer."""
    say(capsys, f"{STOPS} stops, seed {SEED}")
    chance = random.Random(SEED)
    begun = 0
    for number in range(STOPS):
        record = environment["REQUEST_RECORD"] = f"{environment['HOME']}/requests-{number}"
        running = supervise({"web": web, "worker": "sleep 100; true"}, port=port)
        answers()
        requests = []
        for _ in range(chance.randint(1, 12)):
            requests.append(get(port, f"/{chance.uniform(0.1, 1.2):.2f}?{len(requests)}"))
            time.sleep(chance.uniform(0, 0.05))
        time.sleep(chance.uniform(0, 0.3))
        stop, code = chance.choice([(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
        assert running.stop(stop) == code
        lines = Path(record).read_text().splitlines()
        reached = {line.split()[1] for line in lines if line.startswith("began")} - {"ready"}
        for name, request in enumerate(requests):
            request.join()
            if str(name) in reached:
                assert (request.status, request.error) == (200, ""), (number, SEED, running.text.decode())
        begun += len(reached)
        running.leaves_nothing()
    say(capsys, f"{begun} requests were in flight or done; none was cut")
    assert begun >= STOPS


def say(capsys, text):
    with capsys.disabled():
        sys.stdout.write(f"\n{text}\n")
