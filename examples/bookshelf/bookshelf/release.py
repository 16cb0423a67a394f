"""The release process: make the schema before a new version takes traffic."""

from bookshelf import books


def main() -> None:
    print(f"schema ready, {books.prepare(books.connect())} books", flush=True)


if __name__ == "__main__":
    main()
