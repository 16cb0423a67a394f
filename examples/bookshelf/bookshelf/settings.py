"""Everything that comes from the environment, with defaults that need no server."""

import os
from pathlib import Path

FOLDER = Path(os.environ.get("BOOKSHELF_FOLDER", "/tmp/bookshelf"))
DATABASE_URL = os.environ.get("DATABASE_URL", f"sqlite:///{FOLDER}/books.db")
REDIS_URL = os.environ.get("REDIS_URL")


def broker() -> dict[str, object]:
    """Celery's settings: Redis where REDIS_URL names one, else folders."""
    if REDIS_URL:
        return {"broker_url": REDIS_URL, "result_backend": REDIS_URL}
    queue, results = FOLDER / "queue", FOLDER / "results"
    queue.mkdir(parents=True, exist_ok=True)
    results.mkdir(parents=True, exist_ok=True)
    return {
        "broker_url": "filesystem://",
        "broker_transport_options": {
            "data_folder_in": str(queue),
            "data_folder_out": str(queue),
            "control_folder": str(FOLDER / "control"),
            "polling_interval": 0.2,
        },
        "result_backend": f"file://{results}",
    }
