"""Quality rules on others' data: real faults beside their repair, clean prices, and faults put into clean prices.

The numbers of docs/quality.md are made here: `python -m tests.golden.test_golden_faults` writes them.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest

from tests.golden.spoiler import PRICES, Spoiler
from transforms.quality.faults import Faults, actions_of, corrected_bars, find_faults
from transforms.schema import ACTIONS, OHLC, OHLCV

pytestmark = pytest.mark.data

PAGE = Path(__file__).parents[2] / "docs" / "quality.md"
SURE = 0.5
FACTS = ("newest_first", "unsorted", "duplicate_timestamp", "null_value", "non_positive_price", "ohlc_order")
COLUMNS = (*PRICES, "volume", "dividends", "stock_splits")
BANDS = ((0.5, 0.8), (0.8, 0.95), (0.95, 1.0))


class Judged(NamedTuple):
    """Rows, those that are bad, those flagged, both; and the findings: how sure, and whether most rows are bad."""

    rows: int
    bad: int
    flagged: int
    both: int
    findings: list[tuple[float, bool]]


def judged(bars: pl.DataFrame, faults: Faults) -> Judged:
    """`bars` have a column `bad`. Facts are left out: what contradicts itself does so in the repaired file too."""
    told = faults.findings.filter(pl.col("confidence") >= SURE, ~pl.col("rule").is_in(FACTS)).with_row_index("finding")
    rows = bars.select("symbol", "timestamp", "bad").join(told.select("finding", "symbol", "start", "end"), on="symbol")
    inside = rows.filter(pl.col("timestamp").is_between("start", "end"))
    flagged = inside.unique(["symbol", "timestamp"])
    right = inside.group_by("finding").agg(pl.col("bad").mean() > 0.5).join(told, on="finding")
    return Judged(
        bars.height, int(bars["bad"].sum()), flagged.height, int(flagged["bad"].sum()),
        list(right.select("confidence", "bad").iter_rows()),
    )  # fmt: skip


# --- real faults


@pytest.fixture(scope="module")
def dirty(shared: Path) -> pl.DataFrame:
    return read_dirty(shared)


@pytest.fixture(scope="module")
def found(dirty: pl.DataFrame) -> dict[str, Faults]:
    """What is found in each bad file."""
    files = {case: dirty.filter(case=case, state="bad") for case in cases(dirty, "bad")}
    return {case: find_faults(rows, actions_of(rows)) for case, rows in files.items()}


def read_dirty(shared: Path) -> pl.DataFrame:
    """Yahoo's prices are adjusted for splits, and so are its dividends."""
    frame = pl.read_parquet(shared / "data/dirty_daily.parquet")
    return frame.with_columns(
        session=pl.col("timestamp_local").str.slice(0, 10).str.to_date(),
        price_basis=pl.lit("split"),
        bad=pl.lit(False),
        source=pl.lit("yahoo"),
    )


def truth(dirty: pl.DataFrame, case: str) -> pl.DataFrame:
    """The bad rows of a case with `bad`: where they differ from the repaired ones by more than rounding."""
    wrong, right = dirty.filter(case=case, state="bad"), dirty.filter(case=case, state="fixed")
    both = wrong.join(right, on="timestamp", suffix="_right", maintain_order="left")
    apart = [
        (pl.col(c) - pl.col(f"{c}_right")).abs() > 1e-4 * pl.max_horizontal(pl.col(c).abs(), pl.col(f"{c}_right").abs())
        for c in COLUMNS
    ]
    return both.with_columns(bad=pl.any_horizontal(apart).fill_null(value=False)).select(dirty.columns)


def cases(dirty: pl.DataFrame, state: str) -> list[str]:
    return dirty.filter(state=state)["case"].unique().sort().to_list()


def repaired_alike(dirty: pl.DataFrame, case: str) -> int:
    """Bad rows that are as in the repaired file once every correction is accepted; highs and lows aside."""
    rows = truth(dirty, case)
    actions = actions_of(rows)
    faults = find_faults(rows, actions).at_least(SURE)
    fixed = corrected_bars(rows, faults)
    new = pl.concat([fixed, rows.join(fixed, on="timestamp", how="anti").select(fixed.columns)], how="vertical_relaxed")
    amounts = accepted(actions, faults).filter(pl.col("action") == "dividend").select(session="ex_date", paid="value")
    new = new.join(amounts, on="session", how="left").with_columns(dividends=pl.col("paid").fill_null(0.0))
    right = dirty.filter(case=case, state="fixed")
    both = new.filter("bad").join(right, on="timestamp", suffix="_right")
    same = [
        (pl.col(c) - pl.col(f"{c}_right")).abs() <= 1e-3 * pl.col(f"{c}_right").abs() + 1e-9
        for c in ("open", "close", "adjusted_close", "volume", "dividends")
    ]
    return both.filter(pl.all_horizontal(same)).height


def accepted(actions: pl.DataFrame, faults: Faults) -> pl.DataFrame:
    new = faults.corrected_actions()
    key = ["symbol", "ex_date", "action", "source", "ordinal"]
    return pl.concat([new, actions.join(new, on=key, how="anti")])


@pytest.mark.parametrize(
    "rule_of_case",
    [
        ("1398-HK-1d-bad-div", "dividend_adjustment"),
        ("4063-T-1d-bad-div", "dividend_amount"),
        ("ALPHA-PA-1d-bad-stock-split", "split_adjustment"),
        ("KAP-IL-1d-bad-div", "duplicate_dividend"),
        ("KME-MI-1d-bad-div", "dividend_unit"),
        ("PSH-L-1d-bad-div", "dividend_amount"),
        ("SSW-JO-1d-100x-error", "currency_unit"),
        ("TENT-L-1d-bad-div", "dividend_unit"),
    ],
)
def test_each_kind_of_fault_is_found_by_its_rule(found: dict[str, Faults], rule_of_case: tuple[str, str]) -> None:
    case, rule = rule_of_case
    told = found[case].at_least(SURE).findings
    assert set(told["rule"]) - set(FACTS) == {rule}


def test_newest_first_files_are_said_to_be(found: dict[str, Faults]) -> None:
    descending = {"DEX-AX-1d-bad-stock-split", "LA-V-1d-bad-stock-split", "SSW-JO-1d-100x-error"}
    told = {case for case, faults in found.items() if "newest_first" in faults.findings["rule"]}
    assert told == descending


def test_accepting_the_corrections_leaves_nothing_to_find(dirty: pl.DataFrame, found: dict[str, Faults]) -> None:
    """But what is no fault of the kinds that can be corrected: SCR's prices jump from 1.94 to 29.96."""
    for case, everything in found.items():
        rows = dirty.filter(case=case, state="bad")
        actions, faults = actions_of(rows), everything.at_least(SURE)
        fixed = corrected_bars(rows, faults)
        new = pl.concat([fixed, rows.join(fixed, on="timestamp", how="anti").select(fixed.columns)])
        left = find_faults(new, accepted(actions, faults)).at_least(SURE).findings
        left = left.filter(~pl.col("rule").is_in(FACTS))
        assert left["rule"].to_list() == (["unexplained_jump"] if case.startswith("SCR") else [])


def dirty_table(dirty: pl.DataFrame, told: list[Judged]) -> Iterator[str]:
    yield "| case | rows | bad | found | flagged | recall | precision | as repaired | alarms |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    for case in cases(dirty, "bad"):
        rows, right = truth(dirty, case), dirty.filter(case=case, state="fixed")
        found, clean = (judged(x, find_faults(x, actions_of(x))) for x in (rows, right))
        told.append(found)
        precision = f"{found.both / found.flagged:.3f}" if found.flagged else "none flagged"
        alike = f"{repaired_alike(dirty, case):,}"
        yield (
            f"| {case} | {found.rows:,} | {found.bad} | {found.both} | {found.flagged} | {found.both / found.bad:.3f} |"
            f" {precision} | {alike} | {1000 * clean.flagged / clean.rows:.1f} |"
        )
    for case in cases(dirty, "clean"):
        clean = judged(x := dirty.filter(case=case), find_faults(x, actions_of(x)))
        yield f"| {case} | {clean.rows:,} | 0 | | {clean.flagged} | | | | {1000 * clean.flagged / clean.rows:.1f} |"


# --- clean prices


def read_csv(path: Path) -> pl.DataFrame:
    """A file of quotes, whatever way it writes dates; what is no date is null."""
    frame = pl.read_csv(path, infer_schema_length=None).rename(str.lower).rename({"timestamp": "date"}, strict=False)
    ways = ("%Y-%m-%d %H:%M", "%Y-%m-%d", "%m/%d/%Y", "%m/%d/%y")
    at = pl.coalesce(pl.col("date").str.to_datetime(way, strict=False) for way in ways)
    stamped = frame.with_columns(
        timestamp=at.cast(pl.Datetime("us", "UTC")), symbol=pl.lit(path.stem), bad=pl.lit(False)
    )
    return stamped.with_columns(session=pl.col("timestamp").dt.date(), volume=pl.col("volume").cast(pl.Float64))


def read_daily(shared: Path) -> pl.DataFrame:
    daily = pl.read_parquet(shared / "data/daily.parquet").with_columns(
        pl.col("volume").cast(pl.Float64), bad=pl.lit(False)
    )
    return daily.with_columns(session="date", price_basis=pl.lit("split"), source=pl.lit("yahoo"))


def told_actions(shared: Path, source: str) -> pl.DataFrame:
    frame = pl.read_parquet(shared / "data/corporate_actions.parquet").filter(source=source)
    return frame.with_columns(ordinal=0).select(pl.col(n).cast(t) for n, t in ACTIONS.items())


def hours_as_days(shared: Path) -> pl.DataFrame:
    hours = pl.read_parquet(shared / "data/hour_bars.parquet").sort("symbol", "timestamp")
    local = pl.col("timestamp").dt.convert_time_zone("America/New_York").dt.date()
    return hours.group_by("symbol", session=local, maintain_order=True).agg(
        pl.col("timestamp", "open").first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close").last(),
        pl.col("volume").sum(),
        bad=False,
    )


def clean_sets(shared: Path) -> Iterator[tuple[str, pl.DataFrame, pl.DataFrame | None]]:
    daily = read_daily(shared)
    yield "59 symbols, 2012 to 2017, with dividends", daily, told_actions(shared, "stocknet_yahoo")
    yield "the same without actions", daily, None
    days = hours_as_days(shared)
    yield "IBM and BAC, 1998 to 2021, raw, with actions", days, told_actions(shared, "lean_factor_file")
    for name in ("default", "compare", "bitcoin", "penny", "intraday", "mismatch"):
        yield f"quotes_{name}.csv", read_csv(shared / f"reference/skender/quotes_{name}.csv"), None


def clean_table(shared: Path) -> Iterator[str]:
    yield "| prices | rows | flagged | per 1,000 | facts |"
    yield "|---|--:|--:|--:|---|"
    for name, bars, actions in clean_sets(shared):
        faults = find_faults(bars, actions)
        found = judged(bars, faults)
        facts = faults.findings.filter(pl.col("rule").is_in(FACTS))["rule"].value_counts(sort=True)
        words = ", ".join(f"{n} {rule}" for rule, n in facts.iter_rows()) or "none"
        yield f"| {name} | {found.rows:,} | {found.flagged} | {1000 * found.flagged / found.rows:.2f} | {words} |"


def test_two_real_splits_are_missed_when_nobody_tells_them(shared: Path) -> None:
    """IBM 2:1 on 1999-05-27, BAC 2:1 on 2004-08-30, seen in raw prices alone."""
    told = find_faults(hours_as_days(shared)).findings.filter(rule="missing_split").sort("symbol")
    assert told.select("symbol", pl.col("start").dt.to_string("%F")).rows() == [
        ("BAC", "2004-08-30"), ("IBM", "1999-05-27"),
    ]  # fmt: skip


def test_raw_dividends_beside_adjusted_prices_are_named_as_such(shared: Path) -> None:
    apple = read_daily(shared).filter(symbol="AAPL")
    told = find_faults(apple, told_actions(shared, "lean_factor_file")).at_least(SURE)
    assert set(told.findings["rule"]) == {"dividend_amount"}
    assert told.findings.height == 7
    assert told.findings["reason"].str.contains("a factor of the split of 2014-06-09").all()
    assert told.corrected_actions()["value"].round(4).to_list()[:3] == [0.3786, 0.3786, 0.4357]


def test_a_file_of_bad_quotes_is_told_apart_row_by_row(shared: Path) -> None:
    """quotes_bad.csv is quotes_default.csv spoilt: flat rows, a millionth of the price, signs, no dates, no values."""
    rows = read_csv(shared / "reference/skender/quotes_bad.csv")
    told = find_faults(rows).findings
    found = dict(told.group_by("rule").agg(pl.col("rows").sum()).iter_rows())
    undated = rows["timestamp"].null_count()
    nulls = rows.filter(pl.any_horizontal(pl.col(*OHLCV).is_null()) & pl.col("timestamp").is_not_null()).height
    whole = pl.col("timestamp").is_not_null() & pl.all_horizontal(pl.col(*OHLCV).is_not_null())
    negative = rows.filter(whole & pl.any_horizontal(pl.col(*OHLC) <= 0)).height
    assert (found["null_value"], found["non_positive_price"], found["repeated_row"]) == (undated + nulls, negative, 49)
    assert found["unexplained_jump"] == 4
    zeros = find_faults(read_csv(shared / "reference/skender/quotes_zeros.csv")).findings
    assert zeros["rule"].unique().to_list() == ["non_positive_price"]
    assert zeros.height == 200


# --- faults put into clean prices (tests/golden/spoiler.py)


def spoilt_table(shared: Path, told: list[Judged]) -> Iterator[str]:
    yield "| fault | bad rows | recall | precision |"
    yield "|---|--:|--:|--:|"
    daily = read_daily(shared).drop_nulls("close").sort("symbol", "timestamp")
    spoiler = Spoiler(daily, told_actions(shared, "stocknet_yahoo"))
    for name, bars, actions in spoiler.kinds():
        found = judged(bars, find_faults(bars, actions))
        told.append(found)
        yield f"| {name} | {found.bad:,} | {found.both / found.bad:.3f} | {found.both / max(found.flagged, 1):.3f} |"


def band_table(told: list[Judged]) -> Iterator[str]:
    yield "| confidence | findings | of which right |"
    yield "|---|--:|--:|"
    every = [finding for one in told for finding in one.findings]
    for low, high in BANDS:
        right = [good for sure, good in every if low <= sure < high or (high == 1.0 and sure == 1.0)]
        yield f"| {low} to {high} | {len(right):,} | {sum(right) / len(right):.3f} |"


# --- the page


def measured(shared: Path) -> dict[str, str]:
    told: list[Judged] = []
    parts: dict[str, Callable[[], Iterator[str]]] = {
        "real": lambda: dirty_table(read_dirty(shared), told),
        "clean": lambda: clean_table(shared),
        "spoilt": lambda: spoilt_table(shared, told),
        "bands": lambda: band_table(told),
    }
    return {name: "\n".join(lines()) for name, lines in parts.items()}


def with_numbers(page: str, numbers: dict[str, str]) -> str:
    for name, table in numbers.items():
        before, mark, rest = page.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        page = f"{before}{mark}{table}\n{end}{after}"
    return page


def test_the_numbers_of_the_documentation_are_true(shared: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    numbers = measured(shared)
    assert all(f"<!-- {name} -->\n" in page for name in numbers)
    assert with_numbers(page, numbers) == page, "run: python -m tests.golden.test_golden_faults"


if __name__ == "__main__":
    shared_folder = Path(os.environ["WARMBARS_SHARED"])
    PAGE.write_text(with_numbers(PAGE.read_text(encoding="utf-8"), measured(shared_folder)), encoding="utf-8")
