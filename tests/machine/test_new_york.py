"""Whatever happens, in whatever order: what a recompute from scratch gives (promises 3, 5 and 6). First half."""

import pytest

from tests.machine.lab import Lab
from tests.machine.sequences import NEW_YORK, drive

pytestmark = [pytest.mark.postgres, pytest.mark.redis]


@pytest.mark.timeout(1_800)  # a failure is made smaller before it is shown
def test_any_sequence_ends_as_its_model_says(lab: Lab) -> None:
    drive(lab, NEW_YORK, sequences=55)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(20))
def test_thousands_of_longer_sequences_do(lab: Lab, part: int) -> None:
    drive(lab, NEW_YORK, sequences=100, steps=40)
