"""No indicator without a reference: each family is compared with numbers that somebody else computed."""

import re
from importlib import import_module

import pytest

from tests.golden import test_golden_momentum, test_golden_trend
from tests.golden.references import CHECKS, ELSEWHERE, compared
from transforms.catalogue import FAMILIES, resolve


def test_every_family_has_a_reference_and_only_families_do() -> None:
    assert {*CHECKS, *ELSEWHERE} == set(FAMILIES)
    assert not {*CHECKS} & {*ELSEWHERE}


def test_every_check_is_run_by_a_test() -> None:
    tests = (test_golden_trend.test_equals_what_others_have, test_golden_momentum.test_equals_what_others_have)
    marks = [mark for test in tests for mark in getattr(test, "pytestmark")]  # noqa: B009
    run = [check for mark in marks if mark.name == "parametrize" for check in mark.args[1]]
    assert sorted(map(repr, run)) == sorted(repr(check) for checks in CHECKS.values() for check in checks)


@pytest.mark.parametrize("family", CHECKS)
def test_a_check_is_of_a_column_of_the_family(family: str) -> None:
    for name, column, _ in CHECKS[family]:
        indicator = resolve(name)
        assert re.sub(r"(_[0-9.]+)+$", "", name) == family
        assert column in {one.name for one in indicator.columns}
    assert any(column in resolve(name).shown for name, column, _ in CHECKS[family])


@pytest.mark.parametrize("family", ELSEWHERE)
def test_what_is_checked_elsewhere_is_checked_there(family: str) -> None:
    module, test = ELSEWHERE[family]
    text = compared(import_module(f"tests.golden.test_golden_{module}"), test)
    assert re.search(rf"\b{family}(_\w+)?\b", text)
