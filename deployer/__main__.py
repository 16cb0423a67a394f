"""``python -m deployer``, where the `deploy` script is not on PATH."""

from deployer.cli import main

main()
