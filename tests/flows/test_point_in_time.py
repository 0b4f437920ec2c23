"""What would have been known at a moment is what a refresh stored at that moment."""

import csv
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from flows import steps
from flows.export import exported
from flows.point_in_time import Moment, Wanted, checked, compute
from flows.wiring import Deps
from storage.market.database import statement, table_name
from storage.settings import DEFAULT_INDICATORS
from tests.flows.conftest import Cli
from tests.flows.story import DAYS, OPEN, Story
from tests.storage.market.rows import bar_rows, minutes
from transforms.errors import PermanentError, UnknownSymbol
from transforms.schema import BARS, INTERVALS, Interval

pytestmark = [pytest.mark.postgres, pytest.mark.redis]
SEEDS = range(int(os.environ.get("WARMBARS_TEST_SEEDS", "3")))
START = datetime(2024, 1, 3, 14, 30, tzinfo=UTC)


def server_clock(deps: Deps) -> datetime:
    moment: datetime = deps.database.frame(statement("SELECT clock_timestamp() AS now")).item()
    return moment


def stored(deps: Deps, table: str, symbol: str) -> pl.DataFrame:
    query = statement("SELECT * FROM {table} WHERE symbol = {symbol}", table=table_name(table), symbol=symbol)
    return deps.database.frame(query).drop("run_id").sort("timestamp")


@dataclass(frozen=True)
class Record:
    """What was stored at a moment, by interval."""

    moment: Moment
    bars: dict[Interval, pl.DataFrame]
    indicators: dict[Interval, pl.DataFrame]

    @classmethod
    def of(cls, story: Story) -> "Record":
        deps, symbol = story.deps, story.symbol
        return cls(
            Moment(story.now, server_clock(deps)),
            {i: stored(deps, f"bars_{i}", symbol).select(BARS.names()) for i in INTERVALS},
            {i: stored(deps, f"indicators_{i}", symbol) for i in INTERVALS[1:]},
        )


@pytest.mark.parametrize("seed", SEEDS)
def test_as_of_a_moment_is_what_a_refresh_stored_then(deps: Deps, seed: int) -> None:
    story, records = Story(deps, seed), []
    story.bars()
    for _ in range(16):
        story.happen()
        story.pass_time()
        if story.draw.random() < 0.5:
            story.refresh()
            records.append(Record.of(story))
    assert len(records) > 1
    shown = Wanted("5m", DEFAULT_INDICATORS).columns[len(BARS) :]
    moved = 0
    for record in records:
        for interval, expected in record.bars.items():
            found = compute(deps, story.symbol, Wanted(interval, adjusted=False), record.moment)
            assert_frame_equal(found, expected, check_exact=True)
            latest = compute(deps, story.symbol, Wanted(interval, adjusted=False), Moment(record.moment.as_of, None))
            moved += not latest.equals(expected)
        for interval, expected in record.indicators.items():
            found = compute(deps, story.symbol, Wanted(interval, DEFAULT_INDICATORS), record.moment)
            columns = ("symbol", "timestamp", "session", *shown)
            assert_frame_equal(found.select(columns), expected.select(columns), rel_tol=1e-9, abs_tol=1e-7)
    assert moved  # what came later would have shown


def corrected(price: float) -> pl.DataFrame:
    return minutes(10, start=START).with_columns(close=pl.lit(price), high=pl.lit(price + 1), low=pl.lit(1.0))


def test_bars_are_left_out_by_time_and_corrections_by_arrival(deps: Deps) -> None:
    deps.raw.upsert(bar_rows(minutes(10, start=START)))
    before = server_clock(deps)
    deps.raw.upsert(bar_rows(corrected(20.0)))
    noon = START + timedelta(minutes=7)
    then, now = (compute(deps, "AAA", Wanted("5m"), Moment(noon, known)) for known in (before, None))
    assert then["timestamp"].to_list() == now["timestamp"].to_list() == [START]
    assert (then["close"][0], now["close"][0]) == (10.04, 20.0)
    nothing = compute(deps, "AAA", Wanted("5m", ("sma_2",)), Moment(noon, before - timedelta(days=1)))
    assert nothing.is_empty()
    assert nothing.columns == [*BARS, "sma_2"]


def test_a_split_counts_once_announced_and_in_force(deps: Deps) -> None:
    story = Story(deps, 0)
    days = [{"symbol": story.symbol, "granularity": "1d", "timestamp": OPEN[day], "source": "vendor"} for day in DAYS]
    prices = dict.fromkeys(("open", "high", "low", "close"), 100.0) | {"volume": 10.0, "adjusted_close": None}
    story.write("bars", [day | prices for day in days])
    untold = server_clock(deps)
    split = {"symbol": story.symbol, "ex_date": DAYS[2], "action": "split", "source": "news", "ordinal": 0}
    story.write("actions", [split | {"value": 4.0}])
    told = server_clock(deps)

    def closes(last: date, known_at: datetime, *, adjusted: bool = True) -> list[float]:
        moment = Moment(OPEN[last] + timedelta(hours=9), known_at)
        return compute(deps, story.symbol, Wanted("1d", adjusted=adjusted), moment)["close"].to_list()

    assert closes(DAYS[2], untold) == [100.0, 100.0, 100.0]
    assert closes(DAYS[1], told) == [100.0, 100.0]  # not in force yet
    assert closes(DAYS[2], told) == [25.0, 25.0, 100.0]
    assert closes(DAYS[2], told, adjusted=False) == [100.0, 100.0, 100.0]


def test_a_window_of_sessions_has_the_indicators_of_the_whole(deps: Deps) -> None:
    story = Story(deps, 4)
    story.now = OPEN[DAYS[-1]]
    for _ in range(6):
        story.bars()
    moment, names = Moment(story.now + timedelta(days=1), None), ("ema_3", "obv", "sma_4")
    whole = compute(deps, story.symbol, Wanted("15m", names), moment)
    part = compute(deps, story.symbol, Wanted("15m", names, first=DAYS[1], last=DAYS[2]), moment)
    assert_frame_equal(part, whole.filter(pl.col("session").is_between(DAYS[1], DAYS[2])))
    assert 0 < len(part) < len(whole)


def test_little_by_little_reads_the_same(deps: Deps, monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(deps, 5)
    story.now = OPEN[DAYS[-1]]
    for _ in range(8):
        story.happen()
        story.trades()
    moment = Moment(story.now + timedelta(days=1), None)
    at_once = [compute(deps, story.symbol, Wanted(i), moment) for i in INTERVALS]
    monkeypatch.setattr("flows.point_in_time._SESSIONS", 1)
    assert [compute(deps, story.symbol, Wanted(i), moment).equals(f) for i, f in zip(INTERVALS, at_once, strict=True)]
    assert len(at_once[0]) > 10


def test_where_raw_rows_have_expired_the_stored_bars_stand(deps: Deps) -> None:
    rows = pl.concat([minutes(10, start=START + timedelta(days=day)) for day in range(2)])
    deps.raw.upsert(bar_rows(rows))
    now = START + timedelta(days=3)
    steps.refresh(deps, now)
    whole = compute(deps, "AAA", Wanted("5m", ("sma_3",)), Moment(now, None))
    deps.retention.advance("bars", START + timedelta(days=1, hours=-9))
    for _ in deps.retention.expire("bars"):
        pass
    assert deps.database.frame(statement("SELECT count(*) FROM stock_data")).item() == 10
    assert_frame_equal(compute(deps, "AAA", Wanted("5m", ("sma_3",)), Moment(now, None)), whole)
    early = compute(deps, "AAA", Wanted("5m"), Moment(START + timedelta(minutes=7), None))
    assert early["timestamp"].to_list() == [START]


def test_what_cannot_be_computed_is_refused(deps: Deps) -> None:
    deps.raw.upsert(bar_rows(minutes(1, start=START)))
    assert checked(deps, [], Wanted("5m")) == checked(deps, ["AAA", "AAA"], Wanted("5m")) == ["AAA"]
    with pytest.raises(UnknownSymbol, match="did you mean AAA"):
        checked(deps, ["AAB"], Wanted("5m"))
    with pytest.raises(PermanentError, match="beta_60 reads benchmark"):
        checked(deps, ["AAA"], Wanted("5m", ("beta_60",)))
    with pytest.raises(PermanentError, match="no days from"):
        checked(deps, ["AAA"], Wanted("5m", first=date(2024, 2, 1), last=date(2024, 1, 1)))


def interrupted(path: Path, frame: pl.DataFrame) -> None:
    """Ctrl-C when half is written."""
    with exported(path) as write:
        write(frame)
        raise KeyboardInterrupt


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    frame, path = pl.DataFrame({"symbol": ["A"], "close": [1.5]}), tmp_path / "bars.parquet"
    with exported(path) as write:
        write(frame)
        write(frame)
    assert_frame_equal(pl.read_parquet(path), pl.concat([frame, frame]))
    for other in (path, tmp_path / "bars.csv"):
        with pytest.raises(KeyboardInterrupt):
            interrupted(other, frame)
    assert [p.name for p in tmp_path.iterdir()] == ["bars.parquet"]
    assert pl.read_parquet(path).height == 2
    with pytest.raises(PermanentError, match="called .parquet or .csv"), exported(tmp_path / "bars.xlsx"):
        pass
    with pytest.raises(PermanentError, match="no directory"), exported(tmp_path / "there" / "bars.csv"):
        pass


@pytest.fixture
def cli(program: Cli, deps: Deps, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    """The program on the session's servers, with ten minutes of AAA and BBB, corrected later."""
    for symbol in ("AAA", "BBB"):
        deps.raw.upsert(bar_rows(minutes(10, symbol=symbol, start=START)))
    monkeypatch.setenv("COLUMNS", "120")
    yield partial(program, "compute")
    assert deps.outbox.versions() == {}  # nothing was refreshed or published


def test_the_command_writes_files(cli: Cli, tmp_path: Path) -> None:
    told = cli("--all", "--interval", "5m", "--indicators", "sma_2,ema_2", "-o", "bars.parquet", "--json")
    assert told.exit_code == 0, told.stderr
    assert json.loads(told.stdout)["rows"] == {"AAA": 2, "BBB": 2}
    written = pl.read_parquet(tmp_path / "bars.parquet")
    assert written.columns == [*BARS, "sma_2", "ema_2"]
    assert written["symbol"].to_list() == ["AAA", "AAA", "BBB", "BBB"]
    plain = cli("AAA", "BBB", "--interval", "5m", "-o", "-")
    rows = list(csv.DictReader(io.StringIO(plain.stdout)))
    assert [(row["symbol"], row["timestamp"]) for row in rows] == [
        (symbol, f"2024-01-03T14:{minute}:00Z") for symbol in ("AAA", "BBB") for minute in (30, 35)
    ]


def test_the_command_knows_what_it_is_told(cli: Cli, deps: Deps) -> None:
    known = server_clock(deps).isoformat()
    deps.raw.upsert(bar_rows(corrected(20.0)))

    def close(*options: str) -> list[float]:
        result = cli("AAA", "--interval", "5m", "--json", *options)
        assert result.exit_code == 0, result.stderr
        return [row["close"] for row in json.loads(result.stdout)["rows"]]

    moment = (START + timedelta(minutes=5)).isoformat()
    assert close() == [20.0, 20.0]
    assert close("--as-of", moment) == []  # nothing had arrived in 2024
    assert close("--as-of", moment, "--knowledge", "latest") == [20.0]
    assert close("--as-of", moment, "--knowledge", known) == [10.04]
    assert close("--as-of", known) == [10.04, 10.09]
    assert "10.04" in cli("AAA", "--interval", "5m", "--as-of", known).stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "name symbols, or say --all"),
        (["AAA", "--all"], "not both"),
        (["AAA", "--as-of", "2024-01-03"], "is no moment"),
        (["AAA", "--as-of", "2100-01-03T00:00Z"], "has not been yet"),
        (["AAA", "--knowledge", "gut"], "is no moment"),
        (["AAA", "--indicators", "smaa_3"], "smaa_3"),
        (["AAB"], "did you mean AAA"),
    ],
)
def test_the_command_says_what_is_wrong(cli: Cli, arguments: list[str], told: str) -> None:
    result = cli(*arguments)
    assert result.exit_code in (1, 2)
    assert told in " ".join(result.stderr.split())
