"""The catalogue: a table of books, with a summary by pandas."""

import pandas as pd
from sqlalchemy import Engine, Integer, String, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from bookshelf import settings

SAMPLES = [("Middlemarch", 1871), ("The Waves", 1931), ("Emma", 1815), ("Orlando", 1928)]


class Base(DeclarativeBase):
    pass


class Book(Base):
    __tablename__ = "books"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    title: Mapped[str] = mapped_column(String(200), unique=True)
    year: Mapped[int] = mapped_column(Integer)


def connect() -> Engine:
    settings.FOLDER.mkdir(parents=True, exist_ok=True)
    return create_engine(settings.DATABASE_URL)


def prepare(engine: Engine) -> int:
    """Make the table and fill in what is missing; returns the number of books."""
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        there = set(session.scalars(select(Book.title)))
        session.add_all(Book(title=title, year=year) for title, year in SAMPLES if title not in there)
        session.commit()
        return len(session.scalars(select(Book)).all())


def titles(engine: Engine) -> list[str]:
    with Session(engine) as session:
        return list(session.scalars(select(Book.title).order_by(Book.title)))


def by_century(engine: Engine) -> dict[str, int]:
    frame = pd.read_sql(select(Book.year), engine)
    counts = (frame["year"] // 100 + 1).value_counts().sort_index()
    return {f"{century}th": int(count) for century, count in counts.items()}
