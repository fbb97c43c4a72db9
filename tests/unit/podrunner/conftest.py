"""What the pod runner's unit tests share."""

import asyncio

import pytest


@pytest.fixture
def run():
    """Runs a coroutine to its end."""
    return asyncio.run
