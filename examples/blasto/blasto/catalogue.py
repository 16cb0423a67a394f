"""Reads the sample data."""

import csv
from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).parent.parent / "data" / "shells.csv"


@dataclass(frozen=True)
class Shell:
    name: str
    colour: str
    height_m: int


def load(path: Path = DATA) -> list[Shell]:
    with path.open(newline="", encoding="utf-8") as lines:
        return [Shell(row["name"], row["colour"], int(row["height_m"])) for row in csv.DictReader(lines)]
