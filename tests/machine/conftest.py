"""One lab for the machines of a worker."""

from collections.abc import Iterator

import pytest

from storage.embedded import Servers
from tests.machine.lab import Lab, opened


@pytest.fixture(scope="module")
def lab(servers: Servers) -> Iterator[Lab]:
    """It leaves nothing behind, in the cache neither."""
    with opened(servers) as lab:
        yield lab
