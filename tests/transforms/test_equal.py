"""When two derived floats are the same value."""

import math

import polars as pl
import pytest

from transforms.equal import Scale, Within, changed_rows, not_equal

INF, NAN = math.inf, math.nan


def differ(a: float | None, b: float | None, scale: Scale) -> bool:
    frame = pl.DataFrame({"a": [a], "b": [b]}, schema={"a": pl.Float64, "b": pl.Float64})
    found: bool = frame.select(not_equal(pl.col("a"), pl.col("b"), scale)).item()
    return found


@pytest.mark.parametrize(
    ("a", "b", "scale", "expected"),
    [
        (1.0, 1.0, None, False),
        (1.0, 1.0 + 1e-15, None, True),
        (1.0, 1.0 + 1e-15, 0, True),
        (1.0, 1.0 + 0.9e-9, 1.0, False),
        (1.0, 1.0 + 1.1e-9, 1.0, True),
        (1.0, 1.0 + 1.1e-9, 100.0, False),
        (200.0, 200.0 + 1.9e-7, 100.0, False),
        (-200.0, -200.0 - 2.1e-7, 100.0, True),
        (0.0, 0.9e-7, 100.0, False),
        (0.0, -0.0, 1.0, False),
        (None, None, 1.0, False),
        (None, 0.0, 1.0, True),
        (0.0, None, 1.0, True),
        (NAN, NAN, 1.0, False),
        (NAN, 1.0, 1.0, True),
        (NAN, None, 1.0, True),
        (INF, INF, 1.0, False),
        (INF, -INF, 1.0, True),
        (INF, 1e300, 1.0, True),
        (1e300, 1e300, None, False),
    ],
)
def test_equal_is_relative_to_the_scale(
    a: float | None, b: float | None, scale: float | None, *, expected: bool
) -> None:
    assert differ(a, b, scale) is expected
    assert differ(b, a, scale) is expected


def test_a_scale_may_be_an_expression() -> None:
    assert not differ(0.0, 5e-7, pl.lit(1000.0))
    assert differ(0.0, 5e-7, pl.lit(100.0))


@pytest.mark.parametrize(("distance", "expected"), [(0.9e-12, False), (1.1e-12, True)])
def test_a_scale_may_have_a_tolerance_of_its_own(distance: float, *, expected: bool) -> None:
    assert differ(0.0, 100 * distance, Within(pl.lit(100.0), 1e-12)) is expected
    assert differ(0.0, 100 * distance, Within(100.0, 1e-12)) is expected
    assert differ(200.0, 200.0 + 200 * distance, Within(100.0, 1e-12)) is expected
    assert not differ(None, None, Within(1.0, 1e-12))
    assert differ(None, 0.0, Within(1.0, 1e-12))


SCALES: dict[str, Scale] = {"value": pl.col("price"), "note": None}


def rows(*some: tuple[int, float | None, str]) -> pl.LazyFrame:
    schema = {"key": pl.Int64, "value": pl.Float64, "note": pl.String}
    return pl.LazyFrame(some, schema=schema, orient="row")


def changed(computed: pl.LazyFrame, stored: pl.LazyFrame) -> list[int]:
    priced = computed.with_columns(price=pl.lit(100.0))
    found = changed_rows(priced, stored, ["key"], SCALES).collect()
    assert found.columns == ["key", "value", "note", "price"]
    return found["key"].to_list()


def test_only_what_is_new_or_not_equal_is_written() -> None:
    stored = rows((1, 1.0, "a"), (2, 1.0, "a"), (3, 1.0, "a"), (4, None, "a"), (9, 1.0, "a"))
    computed = rows((5, 1.0, "a"), (1, 1.0 + 1e-8, "a"), (2, 1.0, "b"), (3, 1.1, "a"), (4, None, "a"))
    assert changed(computed, stored) == [5, 2, 3]


def test_against_nothing_everything_is_new() -> None:
    assert changed(rows((2, 1.0, "a"), (1, None, "a")), rows()) == [2, 1]
    assert changed(rows(), rows((1, 1.0, "a"))) == []
