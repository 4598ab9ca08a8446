from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sandbox.cloud.factories import CloudSandbox, running


@pytest.fixture
def sandbox() -> Iterator[CloudSandbox]:
    """Time stands still unless it is advanced."""
    with running() as found:
        yield found
