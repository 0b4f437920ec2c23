"""Correlations through the pipeline: what is stored and published of a symbol, and of the market as a whole."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import false_discovery_control, pearsonr, spearmanr

from flows import steps
from flows.sources_of import sources_of
from flows.wiring import Deps, wire
from storage.cache.bodies import PublicationLoader
from storage.cache.codec import decode_body
from storage.market.database import statement
from storage.market.raw import Rows
from storage.settings import Settings, SourceSettings
from tests.storage.market.rows import bar_rows, minutes
from transforms.schema import SENTIMENT

pytestmark = [pytest.mark.postgres, pytest.mark.redis]
NOW = datetime(2024, 3, 1, 23, tzinfo=UTC)
SYMBOLS = ["EMBR", "GLOW", "KILN", "WARM"]


@pytest.fixture
def market(settings: Settings) -> Iterator[Deps]:
    """Four symbols over 60 sessions, from raw rows to keys; the matrix is of the newest 30 and of three of them."""
    update = {"matrix_window": 30, "matrix_symbols": 3, "intervals": ("1m", "1d"), "indicators": ()}
    with wire(settings.model_copy(update=update)) as deps:
        simulated = SourceSettings(kind="simulated", symbols=4, sessions=60)
        steps.run(deps, sources_of(deps, [("simulated", simulated)], NOW), NOW)
        yield deps


def refresh_and_publish(deps: Deps) -> None:
    steps.refresh(deps, NOW)
    steps.publish(deps, NOW)


def contents(deps: Deps) -> dict[tuple[str, str], Any]:
    """Content version and etag of every key."""
    found = {}
    for symbol in deps.outbox.versions():
        head = deps.reader().head(symbol)
        assert head is not None
        found |= {(symbol, name): listed for name, listed in head.listed.items()}
    return found


def changed(before: dict[tuple[str, str], Any], after: dict[tuple[str, str], Any]) -> set[tuple[str, str]]:
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


def test_correlations_of_a_market_end_to_end(market: Deps) -> None:
    """One story, because the market takes a while to make."""
    findings_stand_among_all(market)
    the_matrix_is_of_the_newest_returns(market)
    rolling_windows_are_scipys(market)
    what_is_equal_makes_no_version(market)
    one_message_moves_its_symbol_and_every_adjusted_p(market)
    less_is_published_when_less_is_asked_for(market)
    a_stray_bar_of_one_symbol_does_not_move_the_window(market)


def findings_stand_among_all(deps: Deps) -> None:
    reader = deps.reader()
    tested = pl.concat([reader.correlations(s).value.with_columns(symbol=pl.lit(s)).drop_nulls("p") for s in SYMBOLS])
    found = reader.findings().value
    assert found.height == tested.height == 4 * 11 * 2 * 2
    assert found["family_size"].unique().to_list() == [found.height]
    key = ["symbol", "x", "y", "lag", "method"]
    both = found.join(tested, on=[*key, "r", "n", "p", "ci_low", "ci_high"])
    assert both.height == found.height
    assert found["p_adjusted"].to_numpy() == pytest.approx(false_discovery_control(found["p"].to_numpy()), rel=1e-12)
    assert found["p_adjusted"].is_sorted()
    surest = found.filter(x="sentiment_mean", method="pearson").unique("symbol", keep="first", maintain_order=True)
    assert surest["lag"].to_list() == [1] * 4
    assert (surest["p_adjusted"] < 0.05).sum() >= 3


def daily(deps: Deps, symbol: str) -> tuple[list[Any], np.ndarray]:
    """Sessions and returns by the published bars."""
    bars = deps.reader().bars(symbol, "1d").value
    close = bars["close"].to_numpy()
    return bars["session"].to_list(), np.concatenate([[np.nan], close[1:] / close[:-1] - 1])


def the_matrix_is_of_the_newest_returns(deps: Deps) -> None:
    found = deps.reader().matrix().value
    assert found["n"].to_list() == [30] * 3
    traded = {}
    for symbol in SYMBOLS:
        bars = deps.reader().bars(symbol, "1d").value.tail(30)
        traded[symbol] = (bars["close"] * bars["volume"]).sum()
    assert sorted(found["symbol"]) == sorted(sorted(traded, key=lambda s: -traded[s])[:3])
    returns = np.stack([daily(deps, symbol)[1][-30:] for symbol in found["symbol"]])
    assert np.array(found["r"].to_list()) == pytest.approx(np.corrcoef(returns), abs=5.1e-5)


def rolling_windows_are_scipys(deps: Deps) -> None:
    found = deps.reader().rolling_correlations("WARM").value
    assert found.select("window_sessions", "lag").unique().height == 4  # 20 and 60 sessions; 120 there are not
    sessions, returns = daily(deps, "WARM")
    moods = dict(deps.reader().sentiment_history("WARM", "1d").value.select("session", "mean_score").iter_rows())
    checked = 0
    for row in found.filter(window_sessions=20).rows(named=True):
        end, lag = sessions.index(row["session"]), row["lag"]
        sample = [(moods[sessions[t - lag]], returns[t]) for t in range(end - 19, end + 1) if t >= max(lag, 1)]
        assert row["n"] == len(sample)
        assert row["pearson"] == pytest.approx(pearsonr(*zip(*sample, strict=True)).statistic, abs=1e-12)
        assert row["spearman"] == pytest.approx(spearmanr(*zip(*sample, strict=True)).statistic, abs=1e-12)
        checked += 1
    assert checked == 2 * 40  # whole windows of 20 pairs: the first return has none before it


def what_is_equal_makes_no_version(deps: Deps) -> None:
    before = deps.outbox.versions()
    with deps.database.transaction() as connection:
        connection.execute(
            "INSERT INTO dirty_windows (symbol, dataset, starts_at, ends_at, due_at, rows, run_id)"
            " SELECT '@market', unnest(ARRAY['returns', 'correlations']), %(at)s, %(at)s, %(at)s, 0, 0",
            {"at": NOW - timedelta(days=1)},
        )
    assert steps.refresh(deps, NOW).windows == 2
    assert deps.outbox.versions() == before
    assert deps.derived.due(NOW) == []


def one_message_moves_its_symbol_and_every_adjusted_p(deps: Deps) -> None:
    before, findings, stored = contents(deps), deps.reader().findings().value, rolling(deps)
    at = datetime(2024, 2, 21, 18, tzinfo=UTC)
    message = {"symbol": "KILN", "timestamp": at, "source": "late", "external_id": "1", "ordinal": 0}
    row = pl.DataFrame([{**message, "sentiment_score": -1.0, "confidence": 1.0}], schema=SENTIMENT, orient="row")
    deps.raw.upsert(Rows("sentiment", row, "raw", "XNYS", 0))
    refresh_and_publish(deps)
    moved = changed(before, contents(deps))
    assert {symbol for symbol, _ in moved} == {"KILN", "@market"}
    assert {name for symbol, name in moved if symbol == "@market"} == {"correlations"}
    assert {("KILN", "correlation"), ("KILN", "correlation:rolling")} <= moved
    assert not {name for _, name in moved} & {"bars:1d", "quote"}
    assert not deps.reader().findings().value["p_adjusted"].equals(findings["p_adjusted"])
    rewritten = rolling(deps).join(stored, on=rolling(deps).columns, how="anti", nulls_equal=True)
    assert rewritten["session"].min() == at.date()
    with deps.database.transaction() as connection:
        connection.execute("DELETE FROM sentiment_data WHERE source = 'late'")
        connection.execute(
            "INSERT INTO dirty_windows (symbol, dataset, starts_at, ends_at, due_at, rows, run_id)"
            " VALUES ('KILN', 'sentiment', %(at)s, %(end)s, %(at)s, 1, 0)",
            {"at": at, "end": at + timedelta(seconds=1)},
        )
    refresh_and_publish(deps)
    after = contents(deps)
    assert {key: listed.etag for key, listed in after.items()} == {key: listed.etag for key, listed in before.items()}


def rolling(deps: Deps) -> pl.DataFrame:
    """Rolling correlations with the run that wrote each."""
    return deps.database.frame(statement("SELECT * FROM rolling_correlations"))


def less_is_published_when_less_is_asked_for(deps: Deps) -> None:
    settings = deps.settings.model_copy(update={"published_rolling": 7})
    newest = daily(deps, "WARM")[0][-7:]
    published = PublicationLoader(deps.outbox, settings, ()).load_many(["WARM", "KILN"])
    assert {publication.symbol for publication in published} == {"WARM", "KILN"}
    for publication in published:
        found = decode_body(publication.bodies["correlation:rolling"])
        assert sorted(found["session"].unique()) == newest


def a_stray_bar_of_one_symbol_does_not_move_the_window(deps: Deps) -> None:
    before = deps.reader().matrix()
    late = NOW + timedelta(days=402)  # a Monday
    deps.raw.upsert(bar_rows(minutes(1, symbol="WARM", start=late.replace(hour=15))))
    steps.refresh(deps, late + timedelta(days=2))
    steps.publish(deps, late + timedelta(days=2))
    assert deps.reader().bars("WARM", "1d").value["session"].max() > NOW.date() + timedelta(days=300)
    assert deps.reader().matrix().value.equals(before.value)
