"""oras, as the lab asks a registry with it."""

from __future__ import annotations

import oras.provider


class RegistryClient(oras.provider.Registry):  # type: ignore[misc]  # oras has no types
    """oras, which asks once: its own retries wait for minutes where a registry refuses or is down."""

    do_request = oras.provider.Registry.do_request.__wrapped__
