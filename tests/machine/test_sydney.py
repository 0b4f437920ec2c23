"""Whatever happens, in whatever order: what a recompute from scratch gives (promises 3, 5 and 6). Second half.

A market whose sessions begin the evening before in UTC, one symbol at a time, and every body of more than a few bytes
on its way through a MULTI, as only large ones are otherwise.
"""

import pytest

from storage.cache import publisher
from tests.machine.lab import Lab
from tests.machine.sequences import SYDNEY, drive

pytestmark = [pytest.mark.postgres, pytest.mark.redis]


@pytest.fixture(autouse=True)
def staged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "STAGED_BYTES", 200)


@pytest.mark.timeout(1_800)  # a failure is made smaller before it is shown
def test_any_sequence_ends_as_its_model_says(lab: Lab) -> None:
    drive(lab, SYDNEY, sequences=55)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(20))
def test_thousands_of_longer_sequences_do(lab: Lab, part: int) -> None:
    drive(lab, SYDNEY, sequences=100, steps=40)
