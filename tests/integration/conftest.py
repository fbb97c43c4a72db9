"""What the tests of whole labs share."""

import socket
from contextlib import contextmanager

import pytest


@pytest.fixture
def listener():
    """Holds a port of this machine for as long as the block takes."""

    @contextmanager
    def listen(port):
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(("127.0.0.1", port))
            server.listen()
            yield

    return listen
