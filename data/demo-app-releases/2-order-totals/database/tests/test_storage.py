import shutil
import sqlite3
import threading

import pytest
from storage import MIGRATIONS, PAGE_SIZE, READ, WRITTEN, Database, create_service
from testing import running

ORDER = {"customer": "Edsger", "item": "Graph paper", "quantity": 2, "unit_price_cents": 450}
NEWEST = max(int(path.name[:4]) for path in MIGRATIONS.glob("*.sql"))


@pytest.fixture
def database(tmp_path):
    database = Database(tmp_path / "orders.sqlite")
    database.migrate()
    return database


def test_migrations_are_numbered_without_gaps():
    numbers = [int(path.name[:4]) for path in sorted(MIGRATIONS.glob("*.sql"))]
    assert numbers == list(range(1, len(numbers) + 1))


def columns(database):
    """All columns of all tables, as `table.column`."""
    with database.transaction() as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            f"{table}.{row['name']}" for table in tables for row in connection.execute(f"PRAGMA table_info({table})")
        }


def test_a_migration_that_takes_a_column_away_says_so(tmp_path):
    """Nothing is left to a reader's eye: the gate of the pipeline goes by what migrations say of themselves."""
    folder, before = tmp_path / "migrations", set()
    folder.mkdir()
    for number, path in enumerate(sorted(MIGRATIONS.glob("*.sql")), start=1):
        (folder / path.name).write_text(path.read_text())
        database = Database(tmp_path / "orders.sqlite", folder)
        database.migrate()
        assert before - columns(database) == set(database.contracted(number)), path.name
        before = columns(database)


def test_it_needs_the_columns_that_it_says_and_no_others(tmp_path):
    everything = Database(tmp_path / "all.sqlite")
    everything.migrate()
    needs = everything.schema()["needs"]
    assert needs == sorted({f"orders.{column}" for column in {*READ, *WRITTEN}})
    for column in sorted(name for name in columns(everything) if name.startswith("orders.")):
        database = Database(tmp_path / f"{column}.sqlite")
        database.migrate()
        with database.transaction("IMMEDIATE") as connection:
            name = column.partition(".")[2]
            try:
                connection.execute(f"ALTER TABLE orders DROP COLUMN {name}")
            except sqlite3.OperationalError:  # a key or an index holds it
                connection.execute(f"ALTER TABLE orders RENAME COLUMN {name} TO gone")
        try:
            database.order(database.add_order(ORDER))
            works = True
        except sqlite3.OperationalError:
            works = False
        assert works == (column not in needs), column


def test_migrating_twice_changes_nothing(database):
    database.add_order(ORDER)
    before = database.orders()
    assert database.migrate() == []
    assert database.orders() == before


def test_two_at_once_migrate_only_once(tmp_path):
    databases = [Database(tmp_path / "orders.sqlite") for _ in range(2)]
    applied = []
    threads = [threading.Thread(target=lambda one=one: applied.append(one.migrate())) for one in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(len, applied)) == [0, NEWEST]


def test_a_failing_migration_leaves_nothing_behind(tmp_path):
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "0001_fine.sql").write_text("CREATE TABLE orders (id INTEGER);")
    (folder / "0002_broken.sql").write_text("CREATE TABLE more (id INTEGER); CREATE NONSENSE;")
    database = Database(tmp_path / "orders.sqlite", folder)
    with pytest.raises(sqlite3.OperationalError):
        database.migrate()
    assert "no such table" in database.not_ready()


def test_this_version_works_on_the_next_schema(database, tmp_path):
    """Expand only: a rollback of the program leaves the newer schema as it is."""
    with database.transaction("IMMEDIATE") as connection:
        connection.execute("ALTER TABLE orders ADD COLUMN from_the_future TEXT NOT NULL DEFAULT 'x'")
        connection.execute("INSERT INTO schema_migrations VALUES (?, 'future', datetime('now'))", (NEWEST + 1,))
    older = Database(tmp_path / "orders.sqlite")
    assert older.migrate() == []
    assert older.not_ready() == ""
    number = older.add_order(ORDER)
    assert "from_the_future" not in older.order(number)


def test_not_ready_before_the_schema_is_there(tmp_path):
    assert "no such table" in Database(tmp_path / "orders.sqlite").not_ready()


def test_a_stored_order_is_there_for_the_next_process(database, tmp_path):
    number = database.add_order(ORDER)
    again = Database(tmp_path / "orders.sqlite").order(number)
    assert {key: again[key] for key in ORDER} == ORDER


def test_orders_from_before_the_currency_are_in_euros(tmp_path):
    before = tmp_path / "migrations"
    before.mkdir()
    shutil.copy(MIGRATIONS / "0001_create_orders.sql", before)
    Database(tmp_path / "orders.sqlite", before).migrate()
    new = Database(tmp_path / "orders.sqlite")
    assert 2 in new.migrate()
    assert {order["currency"] for order in new.orders()} == {"EUR"}


def test_a_page_holds_the_newest_orders_oldest_first(database):
    numbers = [database.add_order(ORDER) for _ in range(PAGE_SIZE + 1)]
    assert [order["id"] for order in database.orders()] == numbers[1:]


def test_over_http(database):
    with running(create_service(database).app) as server:
        assert server.get("/readyz").status == 200
        assert server.get("/schema").json["version"] == NEWEST
        added = server.post("/orders", ORDER)
        assert added.status == 201
        assert server.get(f"/orders/{added.json['id']}").json == added.json
        assert added.json in server.get("/orders").json["orders"]
        assert server.get("/orders/999").status == 404


@pytest.mark.parametrize("body", [None, [], {}, {**ORDER, "quantity": 0}, {**ORDER, "customer": None}])
def test_what_is_no_order_is_refused(database, body):
    before = database.orders()
    with running(create_service(database).app) as server:
        assert server.post("/orders", body).status == 400
    assert database.orders() == before
