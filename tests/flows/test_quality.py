"""From faulty raw rows to a report, to a file of corrections, to right bars; with the servers there are."""

import json
import shlex
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from typer.testing import Result

from flows.quality import Question, in_sessions, inspect
from flows.wiring import Deps
from storage.market.database import statement
from tests.flows.conftest import Cli
from transforms.calendars import calendar_sessions
from transforms.errors import UnknownSymbol
from transforms.schema import OHLC

pytestmark = [pytest.mark.postgres, pytest.mark.redis]

SESSIONS = calendar_sessions("XNYS", date(2023, 1, 3), date(2023, 9, 1))
LAST = SESSIONS["close"][-1]
PRICES = (*OHLC, "adjusted_close")


@pytest.fixture
def cli(program: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The program in a directory of its own, on the session's servers."""
    monkeypatch.setenv("COLUMNS", "120")
    return program


def answer(result: Result, code: int = 0) -> Any:
    assert result.exit_code == code, result.stderr
    return json.loads(result.stdout)


def done(result: Result) -> None:
    assert result.exit_code == 0, result.stderr


def vendor(symbol: str = "PNNY", source: str = "vendor", seed: int = 3) -> pl.DataFrame:
    """Split-adjusted daily rows of a calm stock, as they should be; adjusted closes allow for DIVIDENDS."""
    noise = np.random.default_rng(seed).normal(0, 0.01, (3, len(SESSIONS)))
    close = np.round(40 * np.exp(noise[0].cumsum()), 2)
    opens = np.round(close * (1 + noise[1] / 2), 2)
    frame = pl.DataFrame({"symbol": symbol, "date": SESSIONS["session"], "open": opens, "close": close})
    high, low = pl.max_horizontal("open", "close") + 0.1, pl.min_horizontal("open", "close") - 0.1
    volume = np.round(1e6 * np.exp(noise[2] * 10))
    frame = frame.with_columns(high=high.round(2), low=low.round(2), volume=volume, source=pl.lit(source))
    factor = pl.lit(1.0)
    for day, paid in DIVIDENDS.items():
        before = frame.filter(pl.col("date") < day)["close"][-1]
        factor = factor * pl.when(pl.col("date") < day).then(1 - paid / before).otherwise(1.0)
    return frame.with_columns(adjusted_close=pl.col("close") * factor)


DIVIDENDS = {SESSIONS["session"][40]: 0.4, SESSIONS["session"][100]: 0.42}


def dividends(amounts: dict[date, float], source: str = "vendor") -> pl.DataFrame:
    rows = [("PNNY", day, "dividend", source, amount) for day, amount in amounts.items()]
    return pl.DataFrame(rows, schema=["symbol", "ex_date", "action", "source", "value"], orient="row")


def scaled(rows: pl.DataFrame, days: slice, factor: float) -> pl.DataFrame:
    wrong = pl.col("date").is_in(SESSIONS["session"][days].implode())
    return rows.with_columns(pl.when(wrong).then(pl.col(c) * factor).otherwise(pl.col(c)) for c in PRICES)


def stored(deps: Deps) -> pl.DataFrame:
    columns = ", ".join((*OHLC, "volume"))
    return deps.database.frame(statement(f"SELECT {columns} FROM bars_1d ORDER BY symbol, timestamp"))  # type: ignore[arg-type]  # noqa: S608


def test_faulty_rows_are_reported_corrected_accepted_and_then_right(cli: Cli, deps: Deps) -> None:
    right = vendor()
    wrong = scaled(scaled(right, slice(60, 63), 100.0), slice(140, 141), 0.01)
    wrong = wrong.with_columns(
        adjusted_close=pl.when(pl.col("date") < next(iter(DIVIDENDS)))
        .then(pl.col("adjusted_close") / (1 - 0.4 / right["close"][39]))
        .otherwise("adjusted_close")
    )
    first, second = DIVIDENDS
    wrong.write_parquet("bars.parquet")
    dividends({first: 0.4, second: 42.0}).write_parquet("paid.parquet")
    done(cli("ingest", "bars.parquet", "--granularity", "1d", "--price-basis", "split"))
    done(cli("ingest", "paid.parquet"))
    done(cli("refresh"))
    assert stored(deps)["close"].max() > 1000  # type: ignore[operator]

    told = answer(cli("quality", "--json", "--fail", "--corrections", "fix.parquet"), code=1)
    found = {(f["rule"], f["first"], f["last"]) for f in told["findings"]}
    days = SESSIONS["session"]
    assert found == {
        ("currency_unit", str(days[60]), str(days[62])),
        ("currency_unit", str(days[140]), str(days[140])),
        ("dividend_adjustment", str(days[0]), str(days[39])),
        ("dividend_amount", str(days[100]), str(days[100])),
    }
    assert all(f["confidence"] > 0.7 and f["correctable"] and f["source"] == "vendor" for f in told["findings"])
    assert [(Path(f["path"]).name, f["dataset"], f["rows"]) for f in told["corrections"]] == [
        ("fix.bars-split.parquet", "bars", 44),
        ("fix.actions.parquet", "actions", 1),
    ]
    assert stored(deps)["close"].max() > 1000  # type: ignore[operator]  # nothing was repaired

    for file in told["corrections"]:
        done(cli("ingest", *file["arguments"]))
    done(cli("refresh"))
    again = answer(cli("quality", "--json", "--fail"))
    assert (again["findings"], again["rows"]) == ([], len(right))
    assert_frame_equal(stored(deps), right.select(*OHLC, "volume"), check_exact=False, rel_tol=1e-12, abs_tol=0)
    kept = deps.database.frame(statement("SELECT max(close) AS close, count(*) AS n FROM stock_data_history"))
    assert kept.row(0) == (pytest.approx(wrong["close"].max()), 44)
    amounts = deps.derived.actions(["PNNY"]).sort("ex_date")["value"].to_list()
    assert amounts == [0.4, 0.42]


def test_a_split_that_nobody_told_is_told_and_then_adjusted_for(cli: Cli, deps: Deps) -> None:
    ex_date = SESSIONS["session"][90]
    before = pl.col("date") < ex_date
    right = vendor()
    raw = right.with_columns(pl.when(before).then(pl.col(c) * 4).otherwise(pl.col(c)) for c in OHLC)
    raw = raw.with_columns(volume=pl.when(before).then(pl.col("volume") / 4).otherwise("volume"))
    raw.write_parquet("bars.parquet")
    dividends({d: v * (4 if d < ex_date else 1) for d, v in DIVIDENDS.items()}).write_parquet("paid.parquet")
    done(cli("ingest", "bars.parquet", "--granularity", "1d"))
    done(cli("ingest", "paid.parquet"))
    told = answer(cli("quality", "PNNY", "--json", "--corrections", "fix.parquet"))
    assert [(f["rule"], f["first"], f["confidence"]) for f in told["findings"]] == [
        ("missing_split", str(ex_date), 0.95)
    ]
    assert "a split of 4.0" in told["findings"][0]["reason"]
    (file,) = told["corrections"]
    done(cli("ingest", *file["arguments"]))
    done(cli("refresh"))
    assert answer(cli("quality", "--json"))["findings"] == []
    factors = deps.derived.whole("adjustment_factors", ["PNNY"], ("to_date", "price", "volume"))
    assert factors.sort("to_date").rows()[0] == (ex_date, 0.25, 4.0)
    assert stored(deps)["close"].max() == raw["close"].max()  # raw bars stay raw


def test_the_page_says_where_why_and_how_to_accept(cli: Cli) -> None:
    scaled(vendor(), slice(60, 63), 100.0).write_parquet("bars.parquet")
    done(cli("ingest", "bars.parquet", "--granularity", "1d", "--price-basis", "split"))
    page = cli("quality", "--corrections", "fix.parquet")
    assert page.exit_code == 0
    assert f"{SESSIONS['session'][60]} to {SESSIONS['session'][62]}" in page.stdout
    for words in ("PNNY", "currency_unit", "0.99", "as between a currency and its hundredth", "Nothing was changed"):
        assert words in " ".join(page.stdout.split())
    line = next(line for line in page.stdout.splitlines() if " ingest " in line)
    arguments = shlex.split(line)[shlex.split(line).index("ingest") :]
    done(cli(*arguments))
    assert "nothing found" in cli("quality").stdout
    nothing = cli("quality", "--corrections", "none.parquet")
    assert "nothing to correct" in nothing.stderr
    assert not Path("none.parquet").exists()


def test_only_what_touches_the_asked_sessions_and_is_certain_enough(cli: Cli, deps: Deps) -> None:
    spiked = scaled(vendor(), slice(60, 61), 1.35)
    scaled(spiked, slice(140, 141), 100.0).write_parquet("bars.parquet")
    done(cli("ingest", "bars.parquet", "--granularity", "1d", "--price-basis", "split"))
    days = SESSIONS["session"]

    def rules(**asked: Any) -> list[str]:
        return inspect(deps, Question(**asked), LAST).findings["rule"].to_list()

    assert rules() == ["currency_unit", "spike"]
    assert rules(start=days[61]) == ["currency_unit"]
    assert rules(end=days[139]) == ["spike"]
    assert rules(start=days[100], end=days[120]) == []
    assert rules(start=date(2030, 1, 1)) == []
    found = inspect(deps, Question(["PNNY"], min_confidence=0.9), LAST)
    assert (found.findings["rule"].to_list(), found.less_certain, found.bars.height) == (["currency_unit"], 1, 1)
    assert cli("quality", "--min-confidence", "1", "--fail").exit_code == 0
    assert cli("quality", "--fail").exit_code == 1


def test_sources_are_judged_apart_and_rejected_rows_are_counted(cli: Cli, deps: Deps) -> None:
    good, other = vendor(), vendor(source="other")
    crossed = other.with_columns(high=pl.when(pl.col("date") == SESSIONS["session"][5]).then(1.0).otherwise("high"))
    pl.concat([good, scaled(crossed, slice(60, 61), 100.0)]).write_parquet("bars.parquet")
    done(cli("ingest", "bars.parquet", "--granularity", "1d"))
    told = answer(cli("quality", "--json"))
    assert [(f["source"], f["rule"]) for f in told["findings"]] == [("other", "currency_unit")]
    assert told["rejected"] == [{"symbol": "PNNY", "dataset": "bars", "rule": "high_below_low", "rows": 1}]
    assert "1 high_below_low" in cli("quality").stdout


def test_what_is_not_there_is_said(cli: Cli, deps: Deps) -> None:
    with pytest.raises(UnknownSymbol, match="no daily bars are stored; ingest some"):
        inspect(deps, Question(), LAST)
    vendor().write_parquet("bars.parquet")
    done(cli("ingest", "bars.parquet", "--granularity", "1d"))
    unknown = cli("quality", "NOPE")
    assert (unknown.exit_code, unknown.stdout) == (1, "")
    assert "NOPE" in unknown.stderr
    for file, words in (("fix.csv", "*.parquet"), ("no/such/dir/x.parquet", "there is no directory no/such/dir")):
        wrong = cli("quality", "NOPE", "--corrections", file)
        assert (wrong.exit_code, words in wrong.stderr, "NOPE" in wrong.stderr) == (1, True, False)  # nothing looked at


def test_a_file_that_cannot_be_written_is_a_message(cli: Cli, deps: Deps) -> None:
    scaled(vendor(), slice(60, 63), 100.0).write_parquet("bars.parquet")
    done(cli("ingest", "bars.parquet", "--granularity", "1d", "--price-basis", "split"))
    Path("taken.parquet").mkdir()
    result = cli("quality", "--corrections", "taken.parquet")
    assert result.exit_code == 1
    assert "error taken.parquet cannot be written" in result.stderr


def test_rows_before_the_calendar_have_their_date_in_utc() -> None:
    stamps = [SESSIONS["open"][0], SESSIONS["open"][0].replace(year=1960)]
    rows = pl.DataFrame({"symbol": "A", "source": "v", "timestamp": stamps})
    dated = in_sessions(rows, SESSIONS.select("session", "day_start"))
    assert dated["session"].to_list() == [date(1960, 1, 3), date(2023, 1, 3)]
