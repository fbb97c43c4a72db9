"""The frontend tier: the page with the orders, and the way for browsers to the orders API."""

import os
from pathlib import Path
from typing import Any

from bottle import SimpleTemplate, redirect, request, response, static_file
from service import Peer, PeerError, Service, read_version

HERE = Path(__file__).parent


def whole_number(text: str) -> int | str:
    """A form's text as a number, or as it is: the backend says what is wrong with it."""
    return int(text) if text.isascii() and text.isdecimal() else text


def create_service(backend: Peer, environment: str) -> Service:
    """The tier's routes."""
    service = Service("frontend", read_version(__file__))
    app = service.app
    page = SimpleTemplate((HERE / "page.html").read_text())

    @app.get("/")
    def index() -> str:
        problem, found, versions = "", {"orders": [], "totalCents": 0}, {}
        try:
            found |= backend.get("/api/orders")
            versions = backend.get("/api/versions")
        except PeerError as error:
            if error.status != 404:  # the previous backend has no /api/versions
                problem = str(error)
                response.status = error.status
        return page.render(
            environment=environment, versions={"frontend": service.version, **versions}, problem=problem, **found
        )

    @app.post("/")
    def order_from_page() -> None:
        form = request.forms.decode("utf-8")
        backend.post(
            "/api/orders",
            {
                "customer": form.get("customer", ""),
                "item": form.get("item", ""),
                "quantity": whole_number(form.get("quantity", "")),
                "unitPriceCents": whole_number(form.get("unitPriceCents", "")),
            },
        )
        redirect("/", 303)

    @app.get("/theme.css")
    def theme() -> Any:
        return static_file("theme.css", root=HERE)

    @app.get("/api/orders")
    def orders() -> Any:
        return backend.get("/api/orders")

    @app.get("/api/orders/<number:int>")
    def order(number: int) -> Any:
        return backend.get(f"/api/orders/{number}")

    @app.post("/api/orders")
    def add_order() -> Any:
        added = backend.post("/api/orders", request.json)
        response.status = 201
        return added

    return service


def main() -> None:
    """Serve; the backend is at BACKEND_URL."""
    backend = Peer("backend", os.environ.get("BACKEND_URL", "http://backend:8080"))
    create_service(backend, os.environ.get("ENVIRONMENT", "local")).run()


if __name__ == "__main__":
    main()
