"""The step `forecast`: what is due, what is written and published, and that nothing is torn or goes backwards."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from flows import artifacts, steps
from flows import forecast as forecasting
from flows.cli import app
from flows.forecast import Forecasted
from flows.wiring import Deps
from storage.cache.codec import decode
from storage.market.database import statement
from storage.market.forecasts import ForecastStore, Standing
from storage.settings import Settings
from tests.storage.market.rows import bar_rows
from transforms.errors import ConfigurationError, UnknownSymbol
from transforms.forecast import models
from transforms.schema import RAW_BARS

pytestmark = [pytest.mark.postgres, pytest.mark.redis]
AS_OF = datetime(2024, 1, 3, 23, tzinfo=UTC)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """As little history as is allowed, so that few models are fitted."""
    few = {"forecast_min_history": 231, "forecast_calibration": 40, "forecast_scored": 60, "forecast_batch_symbols": 1}
    return settings.model_copy(update=few)


@pytest.fixture
def stored(deps: Deps) -> Deps:
    """Two symbols with 260 sessions up to AS_OF, one with 40; refreshed."""
    frames = [daily(deps, "AAA", 260, 1), daily(deps, "BBB", 260, 2), daily(deps, "FEW", 40, 3)]
    deps.raw.upsert(bar_rows(pl.concat(frames)))
    steps.refresh(deps, AS_OF)
    return deps


def daily(deps: Deps, symbol: str, count: int, seed: int, until: datetime = AS_OF) -> pl.DataFrame:
    """A random walk with days of all sizes, its newest session the last that closed by `until`."""
    closed = deps.market("XNYS", until).sessions.filter(pl.col("close") <= until).collect().tail(count)
    random = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(random.normal(0, 0.01, count)))
    open_ = close * np.exp(random.normal(0, 0.004, count))
    spread = np.exp(random.normal(-4.5, 0.4, count))
    return pl.DataFrame(
        {
            "symbol": [symbol] * count,
            "granularity": ["1d"] * count,
            "timestamp": closed["open"],
            "source": ["test"] * count,
            "open": open_,
            "high": np.maximum(open_, close) * (1 + spread),
            "low": np.minimum(open_, close) * (1 - spread),
            "close": close,
            "volume": [1000.0] * count,
            "adjusted_close": pl.Series([None] * count, dtype=pl.Float64),
        }
    ).select(RAW_BARS.names())


def rows(deps: Deps, query: str) -> list[tuple[object, ...]]:
    return deps.database.frame(statement(query)).rows()


def versions(deps: Deps) -> dict[str, int]:
    return {symbol: version for symbol, (_, version) in deps.outbox.versions().items()}


def content(deps: Deps) -> dict[str, pl.DataFrame]:
    return {
        table: deps.database.frame(statement(f"SELECT * FROM {table} ORDER BY 1, 2, 3")).drop("run_id")
        for table in ("forecasts", "forecast_inputs")
    }


def hidden(deps: Deps, symbol: str) -> None:
    """Take the daily bars of a symbol away."""
    with deps.database.transaction() as connection:
        connection.execute("DELETE FROM bars_1d_fill WHERE symbol = %s", [symbol])


def test_bars_become_a_published_key_with_its_scores(stored: Deps) -> None:
    before = versions(stored)
    said: list[str] = []
    done = forecasting.forecast(stored, AS_OF, said.append)
    assert said == ["forecasting AAA (1/3)", "forecasting BBB (2/3)", "forecasting FEW (3/3)"]
    assert (done.due, done.symbols, done.left) == (3, {"AAA", "BBB"}, {})
    assert done.missing["FEW"] == (
        "log_return: 39 sessions have one, 231 are needed; volatility: 40 sessions have one, 231 are needed"
    )
    assert [(s.target, s.model, s.symbols) for s in done.standing] == [
        ("log_return", "ses", 2),
        ("volatility", "arima_111", 2),
    ]
    changed = {symbol for symbol, version in versions(stored).items() if version != before[symbol]}
    assert changed == {"AAA", "BBB"}
    steps.publish(stored, AS_OF)
    cached = stored.reader().forecast("AAA")
    assert (cached.origin, cached.as_of) == ("cache", AS_OF)
    assert cached.value.select("target", "model", "role").rows() == [
        ("log_return", "ses", "forecast"),
        ("log_return", "zero", "baseline"),
        ("log_return", "historic_mean", "benchmark"),
        ("volatility", "arima_111", "forecast"),
        ("volatility", "ewma", "baseline"),
        ("volatility", "last", "benchmark"),
        ("volatility", "mean_22", "benchmark"),
    ]
    first = cached.value.row(0, named=True)
    assert (str(first["made_from"]), str(first["session"]), first["n"]) == ("2024-01-03", "2024-01-04", 60)
    assert first["low_95"] < first["low_80"] < first["low_50"] < first["high_50"] < first["high_80"] < first["high_95"]
    assert first["beats_baseline"] is (first["p"] < 0.05)
    assert first["verdict"].startswith("ses ")
    assert stored.reader().forecast("FEW").value.is_empty()
    key = f"wb:1:{stored.settings.namespace}:{{AAA}}:forecast"
    assert decode(stored.client.hget(key, "body")).equals(cached.value)  # type: ignore[arg-type]


def test_the_same_again_changes_nothing(stored: Deps) -> None:
    forecasting.forecast(stored, AS_OF)
    before, inside = versions(stored), content(stored)
    again = forecasting.forecast(stored, AS_OF)
    assert (again.due, again.symbols, again.rows) == (0, set(), {})
    assert "FEW" in again.missing
    assert rows(stored, "SELECT count(*) FROM runs WHERE kind = 'forecast'") == [(1,)]
    anew = forecasting.forecast(stored, AS_OF, everything=True)
    assert (anew.due, anew.symbols, anew.rows) == (3, set(), {})
    assert versions(stored) == before
    assert all(frame.equals(content(stored)[table]) for table, frame in inside.items())


def test_only_a_symbol_with_a_new_session_is_forecast_again(stored: Deps) -> None:
    forecasting.forecast(stored, AS_OF)
    before = versions(stored)
    tomorrow = AS_OF + timedelta(days=1)
    stored.raw.upsert(bar_rows(daily(stored, "AAA", 1, 9, tomorrow)))
    steps.refresh(stored, tomorrow)
    between = versions(stored)
    done = forecasting.forecast(stored, tomorrow)
    assert (done.due, done.symbols) == (1, {"AAA"})
    assert versions(stored) == between | {"AAA": between["AAA"] + 1}
    assert between["BBB"] == before["BBB"]
    made = rows(stored, "SELECT DISTINCT symbol, made_from::text, session::text FROM forecasts ORDER BY 1")
    assert made == [("AAA", "2024-01-04", "2024-01-05"), ("BBB", "2024-01-03", "2024-01-04")]


def test_a_correction_of_an_old_day_is_noticed_and_a_split_changes_no_forecast(stored: Deps) -> None:
    forecasting.forecast(stored, AS_OF)
    before = content(stored)["forecasts"]
    with stored.database.transaction() as connection:
        connection.execute(
            "INSERT INTO adjustment_factors VALUES ('BBB', '0001-01-01', '2023-06-01', 0.25, 4, 0),"
            " ('BBB', '2023-06-01', '9999-12-31', 1, 1, 0)"
        )
        connection.execute("UPDATE bars_1d_fill SET high = high * 1.1 WHERE symbol = 'AAA' AND session = '2023-12-01'")
        connection.execute(
            "UPDATE bars_1d_fill SET open = open * 4, high = high * 4, low = low * 4, close = close * 4"
            " WHERE symbol = 'BBB' AND session < '2023-06-01'"
        )
    done = forecasting.forecast(stored, AS_OF)
    assert (done.due, done.symbols) == (1, {"AAA"})  # times four and a factor of a quarter is no change at all
    after = content(stored)["forecasts"]
    assert after.filter(pl.col("symbol") == "BBB").equals(before.filter(pl.col("symbol") == "BBB"))
    with stored.database.transaction() as connection:
        connection.execute("UPDATE adjustment_factors SET price = price / 3, volume = volume * 3")
    done = forecasting.forecast(stored, AS_OF)
    assert (done.due, done.symbols) == (1, set())


@contextmanager
def closed_on(deps: Deps, *days: str) -> Iterator[None]:
    """As if the calendar had no session on these days; the table outlives a test."""
    chosen = "FROM sessions WHERE market = 'XNYS' AND session = ANY(%s)"
    with deps.database.transaction() as connection:
        gone = connection.execute(f"SELECT * {chosen}", [list(days)]).fetchall()
        connection.execute(f"DELETE {chosen}", [list(days)])
    try:
        yield
    finally:
        with deps.database.transaction() as connection, connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO sessions VALUES ({', '.join(['%s'] * len(gone[0]))})", gone)


def test_another_next_session_makes_a_symbol_due(stored: Deps) -> None:
    forecasting.forecast(stored, AS_OF, symbols=["AAA"])
    with closed_on(stored, "2024-01-05"):
        assert forecasting.forecast(stored, AS_OF, symbols=["AAA"]).due == 0
    with closed_on(stored, "2024-01-04"):
        done = forecasting.forecast(stored, AS_OF, symbols=["AAA"])
        assert (done.due, done.symbols) == (1, {"AAA"})
        assert rows(stored, "SELECT DISTINCT session::text FROM forecasts") == [("2024-01-05",)]


def test_a_changed_setting_makes_every_symbol_due(stored: Deps) -> None:
    forecasting.forecast(stored, AS_OF, symbols=["FEW"])
    other = replace(stored, settings=stored.settings.model_copy(update={"forecast_min_history": 240}))
    assert forecasting.forecast(other, AS_OF, symbols=["FEW"]).due == 1
    assert forecasting.forecast(other, AS_OF, symbols=["FEW"]).due == 0


def test_forecasts_of_a_symbol_without_bars_go(stored: Deps) -> None:
    forecasting.forecast(stored, AS_OF)
    steps.publish(stored, AS_OF)
    hidden(stored, "BBB")
    hidden(stored, "FEW")
    done = forecasting.forecast(stored, AS_OF)
    assert (done.due, done.symbols, done.missing) == (2, {"BBB"}, {})
    assert rows(stored, "SELECT DISTINCT symbol FROM forecasts") == [("AAA",)]
    assert rows(stored, "SELECT symbol FROM forecast_inputs") == [("AAA",)]
    steps.publish(stored, AS_OF)
    assert stored.reader().forecast("BBB").value.is_empty()
    head = stored.reader().head("BBB")
    assert head is not None
    assert "forecast" not in head.listed


def test_killed_between_two_batches_the_next_run_does_the_rest(stored: Deps, monkeypatch: pytest.MonkeyPatch) -> None:
    def dying(said: str) -> None:
        if "BBB" in said:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        forecasting.forecast(stored, AS_OF, dying)
    assert rows(stored, "SELECT DISTINCT symbol FROM forecasts") == [("AAA",)]

    def fail(*_: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr("storage.market.derived.Claim.publish", fail)
        with pytest.raises(RuntimeError, match="killed"):
            forecasting.forecast(stored, AS_OF)
    assert rows(stored, "SELECT DISTINCT symbol FROM forecasts") == [("AAA",)]
    assert rows(stored, "SELECT state FROM runs WHERE kind = 'forecast' ORDER BY id") == [("failed",), ("failed",)]
    rest = forecasting.forecast(stored, AS_OF)
    assert (rest.due, rest.symbols) == (2, {"BBB"})


def test_what_is_refreshed_or_changes_meanwhile_is_left_as_it_is(stored: Deps, monkeypatch: pytest.MonkeyPatch) -> None:
    one = forecasting.forecast_one

    def meddled(*arguments: object) -> object:
        hidden(stored, "AAA")
        return one(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(forecasting, "forecast_one", meddled)
        done = forecasting.forecast(stored, AS_OF, symbols=["AAA"])
    assert done.left == {"AAA": "its bars changed meanwhile"}
    assert rows(stored, "SELECT count(*) FROM forecasts") == [(0,)]

    holding, finished = threading.Event(), threading.Event()

    def hold() -> None:
        with ForecastStore(stored.database).claim(["FEW"], 0):
            holding.set()
            finished.wait(30)

    other = threading.Thread(target=hold)
    other.start()
    holding.wait(30)
    try:
        done = forecasting.forecast(stored, AS_OF, symbols=["FEW"])
    finally:
        finished.set()
        other.join()
    assert done.left == {"FEW": "another run is refreshing it"}
    assert rows(stored, "SELECT count(*) FROM forecast_inputs") == [(0,)]


def test_an_earlier_moment_sees_less_and_replaces_nothing_later(stored: Deps) -> None:
    yesterday = AS_OF - timedelta(days=1)
    early = forecasting.forecast(stored, yesterday, symbols=["AAA"])
    assert early.symbols == {"AAA"}
    made = "SELECT DISTINCT made_from::text, session::text FROM forecasts"
    assert rows(stored, made) == [("2024-01-02", "2024-01-03")]
    forecasting.forecast(stored, AS_OF, symbols=["AAA"])
    again = forecasting.forecast(stored, yesterday, symbols=["AAA"], everything=True)
    assert (again.due, again.symbols) == (0, set())
    assert rows(stored, made) == [("2024-01-03", "2024-01-04")]


def test_a_forecast_that_took_long_moves_no_as_of_back(stored: Deps) -> None:
    later = AS_OF + timedelta(minutes=5)
    with stored.database.transaction() as connection:
        connection.execute("UPDATE dirty_windows SET due_at = %s", [later + timedelta(days=9)])
        connection.execute(
            "INSERT INTO dirty_windows (symbol, dataset, starts_at, ends_at, due_at, rows, run_id)"
            " VALUES ('AAA', 'bars', %(at)s, %(end)s, %(end)s, 1, 0)",
            {"at": AS_OF - timedelta(hours=9), "end": later},
        )
        connection.execute(
            "UPDATE bars_1d_fill SET close = close + 0.01 WHERE symbol = 'AAA' AND session = '2024-01-03'"
        )
    before = versions(stored)
    steps.refresh(stored, later)
    steps.publish(stored, later)
    assert forecasting.forecast(stored, AS_OF, symbols=["AAA"]).symbols == {"AAA"}
    steps.publish(stored, later)
    head = stored.reader().head("AAA")
    assert head is not None
    assert (head.version.n, head.as_of) == (before["AAA"] + 2, later)


def test_a_symbol_nobody_ingested_or_refreshed_is_named_before_anything_is_done(stored: Deps) -> None:
    stored.raw.upsert(bar_rows(daily(stored, "NEW", 2, 4)))
    with pytest.raises(UnknownSymbol, match="nothing of NEW, NOPE yet"):
        forecasting.forecast(stored, AS_OF, symbols=["AAA", "NEW", "NOPE"])
    assert rows(stored, "SELECT count(*) FROM runs WHERE kind = 'forecast'") == [(0,)]


def test_without_the_extra_it_says_what_to_install(deps: Deps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'warmbars\[forecast\]'"):
        forecasting.forecast(deps, AS_OF)


def test_the_command_forecasts_and_publishes(stored: Deps, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("WARMBARS_HOME", str(stored.settings.home))
    monkeypatch.setenv("WARMBARS_NAMESPACE", stored.settings.namespace)
    for name in ("min_history", "calibration", "scored"):
        monkeypatch.setenv(f"WARMBARS_FORECAST_{name}", str(getattr(stored.settings, f"forecast_{name}")))
    result = CliRunner().invoke(app, ["forecast", "AAA", "FEW", "--json"])
    assert result.exit_code == 0, result.stderr
    answer = json.loads(result.stdout)
    assert (answer["due"], answer["symbols"], list(answer["missing"])) == (2, ["AAA"], ["FEW"])
    assert [row["role"] for row in answer["forecasts"]["AAA"]].count("forecast") == 2
    assert answer["published"]["written"] > 0
    again = CliRunner().invoke(app, ["forecast", "AAA"])
    assert again.exit_code == 0, again.stderr
    assert "0 symbols due, 0 changed, 0 keys published" in again.stdout
    assert "log_return by ses" in again.stdout
    assert "its baseline zero" in again.stdout
    unknown = CliRunner().invoke(app, ["forecast", "NOPE"])
    assert (unknown.exit_code, "NOPE" in unknown.stderr) == (1, True)
    with ForecastStore(stored.database).claim(["AAA"], 0):
        left = CliRunner().invoke(app, ["forecast", "AAA", "--all"])
        assert (left.exit_code, "AAA was left as it is" in left.stderr) == (1, True)
        of_all = CliRunner().invoke(app, ["forecast", "--all"])
        assert (of_all.exit_code, "AAA was left as it is" in of_all.stderr) == (0, True)


def test_its_summary_names_what_was_left_and_why() -> None:
    standing = [Standing("log_return", "ses", 2, 1)]
    report = Forecasted(due=3, symbols={"AAA"}, missing={"FEW": "too few"}, left={"BBB": "busy"}, standing=standing)
    part = artifacts.section(report)
    assert part.words == "3 symbols due, 1 changed"
    for line in ("| log_return by ses | 2 | beats its baseline for 1 |", "| BBB was left as it is |  | busy |"):
        assert line in part.table
    assert "| FEW has no forecast |  | too few |" in part.table


def test_its_summary_names_so_many_symbols_and_no_more() -> None:
    many = {f"S{number}": "busy" for number in range(artifacts.MOST_FILES + 1)}
    part = artifacts.section(Forecasted(left=many, missing=many))
    assert part.table.count("was left as it is") == part.table.count("has no forecast") == artifacts.MOST_FILES
