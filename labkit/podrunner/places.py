"""Addresses and ports: each pod has one of its own."""

from __future__ import annotations

import socket
from contextlib import closing
from itertools import product

from labkit.errors import LabError
from labkit.process import LOOPBACK, port_is_free


class Addresses:
    """Made-up pod addresses: the API takes no loopback address for an endpoint. Only the proxy knows the way.

    Args:
        network: The first two numbers of all addresses.
    """

    def __init__(self, network: str) -> None:
        self._network = network
        self._taken: set[str] = set()

    def take(self, wanted: str = "") -> str:
        """An address that no pod has, or the one that the pod already has."""
        if wanted and wanted not in self._taken:
            self._taken.add(wanted)
            return wanted
        for third, fourth in product(range(256), range(2, 255)):
            address = f"{self._network}.{third}.{fourth}"
            if address not in self._taken:
                self._taken.add(address)
                return address
        raise LabError(f"All addresses of {self._network}.0.0 are taken")

    def give_back(self, address: str) -> None:
        """The pod is gone."""
        self._taken.discard(address)


class Ports:
    """Ports of 127.0.0.1 for pods."""

    def __init__(self) -> None:
        self._taken: set[int] = set()

    def take(self, wanted: int = 0) -> int:
        """A free port, or the one that the pod already has."""
        if wanted and wanted not in self._taken:
            self._taken.add(wanted)
            return wanted
        while True:
            with closing(socket.socket()) as probe:
                probe.bind((LOOPBACK, 0))
                port = int(probe.getsockname()[1])
            if port not in self._taken:
                self._taken.add(port)
                return port

    def instead_of(self, port: int) -> int:
        """The same port if nobody has taken it meanwhile, else another one."""
        if port_is_free(port):
            return port
        self.give_back(port)
        return self.take()

    def give_back(self, port: int) -> None:
        """The pod is gone."""
        self._taken.discard(port)
