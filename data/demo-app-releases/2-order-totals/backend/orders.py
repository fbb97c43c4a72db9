"""The backend tier: the orders API. It checks orders, and keeps them in the database tier."""

import os
from typing import Any

from bottle import HTTPError, request, response
from service import Peer, Service, read_version

MAX_QUANTITY = 1000


def new_order(body: Any) -> dict[str, Any]:
    """The order in a request's body.

    Raises:
        HTTPError: 400, with the field that is wrong.
    """
    if not isinstance(body, dict):
        raise HTTPError(400, "send a JSON object")
    for field in ("customer", "item"):
        if not isinstance(body.get(field), str) or not body[field].strip():
            raise HTTPError(400, f"{field}: a text is needed")
    quantity, price = body.get("quantity"), body.get("unitPriceCents")
    if type(quantity) is not int or not 1 <= quantity <= MAX_QUANTITY:
        raise HTTPError(400, f"quantity: a whole number from 1 to {MAX_QUANTITY} is needed")
    if type(price) is not int or not 0 <= price <= 10_000_000:
        raise HTTPError(400, "unitPriceCents: a whole number of cents is needed")
    return {
        "customer": body["customer"].strip(),
        "item": body["item"].strip(),
        "quantity": quantity,
        "unit_price_cents": price,
    }


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """An order as the API shows it, from the database's row."""
    return {
        "id": row["id"],
        "customer": row["customer"],
        "item": row["item"],
        "quantity": row["quantity"],
        "unitPriceCents": row["unit_price_cents"],
        "totalCents": row["quantity"] * row["unit_price_cents"],
        "currency": row.get("currency", "EUR"),  # the previous database has none
        "createdAt": row["created_at"],
    }


def create_service(database: Peer) -> Service:
    """The tier's routes."""
    service = Service("backend", read_version(__file__))
    app = service.app

    @app.get("/api/orders")
    def orders() -> dict[str, Any]:
        found = [shown(row) for row in database.get("/orders")["orders"]]
        return {"orders": found, "totalCents": sum(order["totalCents"] for order in found)}

    @app.get("/api/orders/<number:int>")
    def order(number: int) -> dict[str, Any]:
        return shown(database.get(f"/orders/{number}"))

    @app.post("/api/orders")
    def add_order() -> dict[str, Any]:
        row = database.post("/orders", new_order(request.json))
        response.status = 201
        return shown(row)

    @app.get("/api/versions")
    def versions() -> dict[str, Any]:
        return {"backend": service.version, "database": database.get("/version")["version"]}

    return service


def main() -> None:
    """Serve; the database is at DATABASE_URL."""
    create_service(Peer("database", os.environ.get("DATABASE_URL", "http://database:8080"))).run()


if __name__ == "__main__":
    main()
