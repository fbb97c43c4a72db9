"""The database tier: orders in SQLite, behind HTTP, with numbered schema migrations."""

import fcntl
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from bottle import HTTPError, request, response
from service import Service, read_version

MIGRATIONS = Path(__file__).parent / "migrations"
CUSTOMER = "customer"  # the column with who ordered; the API calls it `customer` in any case
# Named one by one, never `*`: this version also works on a newer schema, which has more columns.
READ = ("id", CUSTOMER, "item", "quantity", "unit_price_cents", "created_at")
# What is written for a new order: the field of it that each column takes.
WRITTEN = {
    CUSTOMER: "customer",
    "item": "item",
    "quantity": "quantity",
    "unit_price_cents": "unit_price_cents",
}
PAGE_SIZE = 50  # orders: a page does not get slower with every order


class Database:
    """A SQLite file that is brought to this version's schema when it is opened."""

    def __init__(self, file: Path, migrations: Path = MIGRATIONS) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file
        self._migrations = {int(path.name[:4]): path for path in sorted(migrations.glob("[0-9]*.sql"))}

    @contextmanager
    def transaction(self, kind: str = "DEFERRED") -> Iterator[sqlite3.Connection]:
        """One transaction: committed at the end of the block, rolled back on an error.

        `IMMEDIATE` takes SQLite's write lock at once; readers never wait for it.
        """
        connection = sqlite3.connect(self._file, timeout=10, isolation_level=None)
        connection.row_factory = sqlite3.Row
        try:
            connection.execute("PRAGMA synchronous = FULL")  # an order that was confirmed survives a crash
            connection.execute(f"BEGIN {kind}")
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        finally:
            connection.close()

    def migrate(self) -> list[int]:
        """Apply the migrations that this file does not have yet: all or none, one process at a time.

        A newer schema than this version knows is left as it is.
        """
        with self._alone(), self.transaction("IMMEDIATE") as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS schema_migrations"
                " (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL)"
            )
            missing = sorted(set(self._migrations) - set(self._applied(connection)))
            for version in missing:
                for statement in _statements(self._migrations[version].read_text()):
                    connection.execute(statement)
                connection.execute(
                    "INSERT INTO schema_migrations VALUES (?, ?, datetime('now'))",
                    (version, self._migrations[version].stem),
                )
        return missing

    def schema(self) -> dict[str, Any]:
        """The schema's version, the newest that this program knows, and who cannot do without what.

        `needs` are the columns that this program reads or writes, `contracts` those that its migrations take away,
        by the migration's number: in both, a gate can see whether a migration would break what runs elsewhere.
        """
        with self.transaction() as connection:
            applied = self._applied(connection)
        return {
            "version": max(applied),
            "known": max(self._migrations),
            "migrations": applied,
            "needs": sorted({f"orders.{column}" for column in (*READ, *WRITTEN)}),
            "contracts": {number: found for number in self._migrations if (found := self.contracted(number))},
        }

    def contracted(self, number: int) -> list[str]:
        """The columns that a migration says it takes away: `-- contract: orders.a, orders.b`."""
        declared = re.search(r"^-- contract: (.+)$", self._migrations[number].read_text(), re.MULTILINE)
        return declared[1].split(", ") if declared else []

    def not_ready(self) -> str:
        """Why no query can be answered, if so."""
        try:
            missing = set(self._migrations) - set(self.schema()["migrations"])
        except sqlite3.Error as error:
            return f"database: {error}"
        return f"migrations missing: {sorted(missing)}" if missing else ""

    def orders(self) -> list[dict[str, Any]]:
        """The newest orders, as many as fill a page, oldest first."""
        newest = f"SELECT {', '.join(READ)} FROM orders ORDER BY id DESC LIMIT {PAGE_SIZE}"
        with self.transaction() as connection:
            return [_shown(row) for row in connection.execute(newest)][::-1]

    def order(self, number: int) -> dict[str, Any] | None:
        """One order, if there is one with that number."""
        with self.transaction() as connection:
            row = connection.execute(f"SELECT {', '.join(READ)} FROM orders WHERE id = ?", (number,)).fetchone()
        return _shown(row) if row else None

    def add_order(self, order: dict[str, Any]) -> int:
        """Store an order and return its number."""
        with self.transaction("IMMEDIATE") as connection:
            number = connection.execute(
                f"INSERT INTO orders ({', '.join(WRITTEN)}) VALUES ({', '.join('?' * len(WRITTEN))})",
                [order[field] for field in WRITTEN.values()],
            ).lastrowid
        assert number is not None
        return number

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with closing(sqlite3.connect(self._file)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")  # readers and the writer do not wait for each other
            yield

    def _applied(self, connection: sqlite3.Connection) -> list[int]:
        return [row["version"] for row in connection.execute("SELECT version FROM schema_migrations ORDER BY 1")]


def _shown(row: sqlite3.Row) -> dict[str, Any]:
    """An order as the API shows it, whatever its columns are called."""
    return {"customer" if column == CUSTOMER else column: row[column] for column in row.keys()}  # noqa: SIM118


def _statements(script: str) -> list[str]:
    without_comments = re.sub(r"^\s*--.*$", "", script, flags=re.MULTILINE)
    return [statement.strip() for statement in without_comments.split(";") if statement.strip()]


def create_service(database: Database) -> Service:
    """The tier's routes."""
    service = Service("database", read_version(__file__), not_ready=database.not_ready)
    app = service.app

    @app.get("/schema")
    def schema() -> dict[str, Any]:
        return database.schema()

    @app.get("/orders")
    def orders() -> dict[str, Any]:
        return {"orders": database.orders()}

    @app.get("/orders/<number:int>")
    def order(number: int) -> dict[str, Any]:
        found = database.order(number)
        if found is None:
            raise HTTPError(404, f"there is no order {number}")
        return found

    @app.post("/orders")
    def add_order() -> dict[str, Any]:
        try:
            number = database.add_order(request.json)
        except (KeyError, TypeError, sqlite3.IntegrityError) as error:
            raise HTTPError(400, f"not an order: {error}") from error
        response.status = 201
        return database.order(number) or {}

    return service


def main() -> None:
    """Bring the schema up to date, then serve."""
    database = Database(Path(os.environ.get("DATA_DIR", "data")) / "orders.sqlite")
    database.migrate()
    create_service(database).run()


if __name__ == "__main__":
    main()
