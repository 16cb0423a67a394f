"""Run a formation under the supervisor; the arguments are where the runner lies and a JSON object."""

import json
import os
import sys

sys.path.insert(0, sys.argv[1])

from deployer.runner.formation import expand
from deployer.runner.processes import Processes
from deployer.runner.supervisor import Settings, Supervisor

asked = json.loads(sys.argv[2])
processes = expand(
    asked["processes"],
    asked.get("formation"),
    port=asked.get("port", 5006),
    env=dict(os.environ),
    cwd=asked.get("cwd"),
)
settings = Settings(**asked.get("options", {}))
sys.exit(Supervisor(Processes(processes), settings, out=sys.stdout.buffer).run())
