"""Forecasts: targets and scores by hand and by others, no look-ahead, and what real days say of the models."""

import math
import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from scipy import stats

from transforms.errors import PermanentError
from transforms.forecast import baselines, models
from transforms.forecast.baselines import Floats
from transforms.forecast.evaluate import (
    FEWEST_SESSIONS,
    FORECASTS,
    RETURN,
    VOLATILITY,
    Rules,
    Series,
    evaluate,
    forecast,
    series_of,
)
from transforms.forecast.intervals import FEWEST_ERRORS, LEVELS, conformal
from transforms.forecast.scores import (
    coverage,
    diebold_mariano,
    mase,
    skill,
    weighted_interval_score,
)
from transforms.forecast.targets import targets
from transforms.forecast.verdict import verdict

FEW = Rules(window=300, calibration=60, scored=80)
DAYS = pl.date_range(date(2020, 1, 1), date(2024, 12, 31), "1d", eager=True)
WEEKDAYS = DAYS.filter(DAYS.dt.weekday() <= 5)


def bars(count: int, seed: int = 1, symbol: str = "AAA", days: pl.Series = WEEKDAYS) -> pl.DataFrame:
    """A random walk with days of all sizes."""
    random = np.random.default_rng(seed)
    close = 50 * np.exp(np.cumsum(random.normal(0, 0.01, count)))
    open_ = close * np.exp(random.normal(0, 0.003, count))
    spread = np.exp(random.normal(-5, 0.5, count))
    return pl.DataFrame(
        {
            "symbol": [symbol] * count,
            "session": days.head(count),
            "open": open_,
            "high": np.maximum(open_, close) * (1 + spread),
            "low": np.minimum(open_, close) * (1 - spread),
            "close": close,
        }
    )


def values_of(frame: pl.DataFrame, sessions: pl.Series = WEEKDAYS) -> pl.DataFrame:
    return targets(frame.lazy(), sessions.to_frame("session").lazy()).collect()


@pytest.fixture(scope="module")
def real(shared: Path) -> pl.DataFrame:
    """Targets of 59 symbols over five years of real days."""
    daily = pl.read_parquet(shared / "data" / "daily.parquet").drop_nulls("close").rename({"date": "session"})
    return values_of(daily.sort("symbol", "session"), daily["session"].unique())


def of(real: pl.DataFrame, symbol: str) -> pl.DataFrame:
    return real.filter(pl.col("symbol") == symbol)


# --- targets


def test_the_targets_are_those_of_the_books() -> None:
    found = values_of(bars(30))
    o, h, low, c = (bars(30)[name].to_numpy() for name in ("open", "high", "low", "close"))
    assert found["log_return"][0] is None
    np.testing.assert_allclose(found["log_return"][1:], np.diff(np.log(c)), rtol=1e-12)
    garman_klass = np.sqrt(0.5 * np.log(h / low) ** 2 - (2 * math.log(2) - 1) * np.log(c / o) ** 2)
    np.testing.assert_allclose(found["volatility"], garman_klass, rtol=1e-12)
    level = np.log(garman_klass[0])
    for day in range(30):
        level = 0.94 * level + 0.06 * np.log(garman_klass[day]) if day else level
        assert found["spread"][day] == pytest.approx(math.exp(level), rel=1e-12)


def test_what_two_sessions_brought_is_no_return_of_one() -> None:
    found = values_of(bars(10).filter(pl.col("session") != WEEKDAYS[4]))
    assert found["log_return"].is_null().to_list() == [True, False, False, False, True, False, False, False, False]
    assert found["volatility"].null_count() == 0


def test_a_session_at_one_price_has_no_volatility_and_keeps_the_spread() -> None:
    flat = pl.col("session") == WEEKDAYS[5]
    one_price = bars(10).with_columns(
        pl.when(flat).then("close").otherwise(c).alias(c) for c in ("open", "high", "low")
    )
    found = values_of(one_price)
    assert found["volatility"].is_null().arg_true().to_list() == [5]
    assert found["spread"][5] == found["spread"][4] != found["spread"][6]


def test_prices_that_cannot_be_leave_nulls_and_no_nan() -> None:
    wrong = bars(10).with_columns(
        close=pl.when(pl.col("session") == WEEKDAYS[3]).then(0.0).otherwise("close"),
        low=pl.when(pl.col("session") == WEEKDAYS[7]).then(None).otherwise("low"),
    )
    found = values_of(wrong)
    assert found["log_return"].is_null().arg_true().to_list() == [0, 3, 4]
    assert found["volatility"].is_null().arg_true().to_list() == [3, 7]
    assert not found.select(pl.any_horizontal(pl.col("log_return", "volatility", "spread").is_nan().any())).item()


@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4), cut=st.integers(1, 40), factor=st.floats(0.01, 99))
def test_many_symbols_are_one_by_one_later_rows_change_nothing_and_a_factor_neither(
    lengths: list[int], cut: int, factor: float
) -> None:
    each = [bars(length, seed, f"S{seed}") for seed, length in enumerate(lengths)]
    together = values_of(pl.concat(each))
    assert_frame_equal(together, pl.concat([values_of(frame) for frame in each]))
    assert_frame_equal(values_of(each[0].head(cut)), values_of(each[0]).head(cut))
    scaled = each[0].with_columns(pl.col("open", "high", "low", "close") * factor)
    assert_frame_equal(values_of(scaled), values_of(each[0]), rel_tol=1e-9, abs_tol=1e-12)


# --- baselines


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=60).map(np.array))
def test_baselines_by_hand(values: Floats) -> None:
    for name, made in {
        "zero": (baselines.zero(values), lambda past: 0.0),
        "historic_mean": (baselines.historic_mean(values), np.mean),
        "last": (baselines.last(values), lambda past: past[-1]),
        "mean_22": (
            baselines.rolling_mean(values, 22),
            lambda past: np.mean(past[-22:]) if len(past) >= 22 else np.nan,
        ),
        "ewma": (baselines.ewma(values), smoothed),
    }.items():
        found, by_hand = made
        assert len(found) == len(values) + 1
        expected = [by_hand(values[:day]) for day in range(1, len(values) + 1)]
        np.testing.assert_allclose(found[1:], expected, atol=1e-12, err_msg=name)


def smoothed(past: Floats) -> float:
    level = past[0]
    for value in past[1:]:
        level = 0.94 * level + 0.06 * value
    return float(level)


# --- models


@pytest.mark.data
def test_models_forecast_what_the_cross_validation_of_statsforecast_does(real: pl.DataFrame) -> None:
    """Its rolling origins with parameters held: the month after the values that the models are fitted to."""
    from statsforecast import StatsForecast
    from statsforecast.models import ARIMA, AutoETS

    series = series_of(of(real, "AAPL").head(600), VOLATILITY)
    start = int(np.flatnonzero(np.diff(series.months))[-2]) + 1
    end = int(np.flatnonzero(np.diff(series.months))[-1]) + 1
    frame = pl.DataFrame({"unique_id": "AAPL", "ds": np.arange(end), "y": series.values[:end]})
    both = StatsForecast(models=[AutoETS(model="ANN", alias="ses"), ARIMA(order=(1, 1, 1), alias="arima_111")], freq=1)
    theirs = both.cross_validation(df=frame, h=1, n_windows=end - start, step_size=1, refit=False)
    for name, model in {"ses": models.ses, "arima_111": models.arima_111}.items():
        mine = model(series.values, series.months, start, 1000)[start + 1 : end]
        assert len(mine) > 15
        np.testing.assert_allclose(mine, theirs[name][1:], rtol=1e-9)


@pytest.mark.parametrize("model", [models.ses, models.arima_111])
def test_later_rows_never_change_a_forecast(model: Callable[..., Floats]) -> None:
    series = series_of(values_of(bars(420)), VOLATILITY)
    whole = model(series.values, series.months, 330, 250)
    for cut in (331, 345, 360, 400):
        before = model(series.values[:cut], series.months[:cut], 330, 250)
        assert np.isfinite(before[-1])
        np.testing.assert_array_equal(before[330:], whole[330 : cut + 1])


def test_a_series_that_never_changed_is_forecast_to_stay() -> None:
    constant, months = np.zeros(300), np.arange(300) // 21
    found = models.ses(constant, months, 200, 1000)
    np.testing.assert_array_equal(found[200:], 0)


class Failing:
    """A model that gives up, or gives what is no number."""

    def __init__(self, answer: float | None = None) -> None:
        self.answer = answer

    def __repr__(self) -> str:
        return "Failing"

    def fit(self, y: Floats) -> "Failing":
        if self.answer is None:
            raise ValueError("no model able to be fitted")
        return self

    def forward(self, y: Floats, h: int) -> dict[str, list[float | None]]:
        return {"mean": [self.answer]}


def test_a_model_that_fails_says_on_what() -> None:
    values, months = np.sin(np.arange(300)), np.arange(300) // 21
    with pytest.raises(models.ModelFailed, match="Failing cannot be fitted to 189 values: no model able"):
        models.one_step(Failing, values, months, 200, 1000)
    with pytest.raises(models.ModelFailed, match="Failing fitted to 189 values forecasts something that is no number"):
        models.one_step(lambda: Failing(math.inf), values, months, 200, 1000)
    assert issubclass(models.ModelFailed, PermanentError)


def test_the_library_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, transforms.forecast.evaluate; print('statsforecast' in sys.modules)"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# --- intervals


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), count=st.integers(0, 130), calibration=st.integers(FEWEST_ERRORS, 90))
def test_offsets_are_the_order_statistics_of_the_errors_before(seed: int, count: int, calibration: int) -> None:
    errors = np.random.default_rng(seed).normal(size=count)
    for level in LEVELS:
        low, high = conformal(errors, level, calibration)
        assert len(low) == len(high) == count + 1
        for day in range(count + 1):
            past = sorted(errors[max(0, day - calibration) : day])
            if len(past) < FEWEST_ERRORS:
                assert math.isnan(low[day])
                assert math.isnan(high[day])
                continue
            tail = (100 - level) / 200
            assert low[day] == past[math.floor((len(past) + 1) * tail) - 1]
            assert high[day] == past[math.ceil((len(past) + 1) * (1 - tail)) - 1]


def test_of_independent_errors_the_stated_share_is_inside() -> None:
    errors = np.random.default_rng(5).standard_t(3, size=20_000)
    for level in LEVELS:
        low, high = conformal(errors, level, 250)
        inside = coverage(errors[250:], (low[250:-1], high[250:-1]))
        assert level / 100 - 0.01 <= inside <= level / 100 + 0.02


# --- scores


@pytest.mark.data
@pytest.mark.filterwarnings("ignore:invalid escape sequence")
def test_scores_are_those_of_others(real: pl.DataFrame) -> None:
    """MASE, coverage and interval scores by utilsforecast, the test by SciPy; on real days."""
    from utilsforecast import losses

    values = series_of(of(real, "AAPL"), VOLATILITY).values
    points = baselines.ewma(values)
    errors = values - points[:-1]
    low, high = conformal(errors, 80, 250)
    past, days = slice(-200, None), slice(-201, -1)
    frame = pl.DataFrame(
        {
            "unique_id": 1,
            "ds": np.arange(200),
            "y": values[past],
            "ewma": points[days],
            "ewma-lo-80": points[days] + low[days],
            "ewma-hi-80": points[days] + high[days],
        }
    )
    training = pl.DataFrame({"unique_id": 1, "ds": np.arange(len(values) - 200), "y": values[:-200]})
    theirs = losses.mase(frame, models=["ewma"], seasonality=1, train_df=training)["ewma"].item()
    assert mase(errors[past], values[:-200]) == pytest.approx(theirs, rel=1e-12)
    bounds = {80: (frame["ewma-lo-80"].to_numpy(), frame["ewma-hi-80"].to_numpy())}
    theirs = losses.coverage(frame, models=["ewma"], level=80)["ewma"].item()
    assert coverage(values[past], bounds[80]) == pytest.approx(theirs)
    pinball = frame.with_columns(lo="ewma-lo-80", hi="ewma-hi-80")
    quantiles = [losses.quantile_loss(pinball, models={c: c}, q=q)[c].item() for c, q in (("lo", 0.1), ("hi", 0.9))]
    half = np.abs(errors[past]).mean() / 2  # the median's pinball loss; each bound's is half its part of the score
    mine = weighted_interval_score(values[past], points[days], bounds).mean()
    assert mine == pytest.approx((half + sum(quantiles)) / 1.5, rel=1e-12)
    other = np.abs(values[past] - values[-201:-1])
    test = stats.ttest_rel(other, np.abs(errors[past]), alternative="greater")
    assert diebold_mariano(np.abs(errors[past]), other) == pytest.approx(test.pvalue, rel=1e-9)
    assert skill(np.abs(errors[past]), other) == pytest.approx(1 - np.abs(errors[past]).mean() / other.mean())


def test_nothing_is_divided_by_nothing() -> None:
    zero, one = np.zeros(5), np.ones(5)
    assert mase(zero, zero) is None
    assert mase(one, zero) is None
    assert mase(one, np.array([1.0])) is None
    assert skill(one, zero) is None
    assert diebold_mariano(one, one) is None
    assert diebold_mariano(one[:1], zero[:1]) is None


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ({"skill": 0.1, "p": 0.01, "beats_baseline": True}, "x beats its baseline y: MASE 0.600 against 0.700"),
        ({"skill": 0.1, "p": 0.2, "beats_baseline": False}, "x is not shown to beat its baseline y"),
        ({"skill": 0.1, "p": 0.01, "beats_baseline": False, "n": 30}, "over 30 sessions, with too few to tell."),
        ({"skill": -0.1, "p": 0.9, "beats_baseline": False}, "x does not beat its baseline y"),
        ({"mase": None, "skill": None, "p": None, "beats_baseline": False}, "what is forecast never changed"),
    ],
)
def test_the_verdict_is_one_plain_sentence(scores: dict[str, object], said: str) -> None:
    row = {"model": "x", "n": 250, "mase": 0.6} | scores
    assert said in verdict(row, "y", 0.7)


# --- the whole


def test_what_was_forecast_at_the_time_is_what_is_looked_back_at() -> None:
    """The forecast of each of the last sessions, made when it was the next one, has the errors and bounds scored."""
    rows = values_of(bars(400))
    for target in (RETURN, VOLATILITY):
        series = series_of(rows, target)
        n = len(series.values)
        at_the_time = []
        for day in range(n - 5, n):
            so_far = Series(series.values[:day], series.months[:day], series.spread[: day + 1])
            (row, *_) = evaluate(so_far, target, Rules(window=300, calibration=60, scored=90))
            at_the_time.append(row)
        (scored, *_) = evaluate(series, target, Rules(window=300, calibration=60, scored=5))
        coming = target.back(series.values[-5:])
        errors = [abs(value - row["point"]) for value, row in zip(coming, at_the_time, strict=True)]
        assert np.mean(errors) == pytest.approx(scored["mae"], rel=1e-9)
        inside = [row["low_50"] <= value <= row["high_50"] for value, row in zip(coming, at_the_time, strict=True)]
        assert np.mean(inside) == scored["coverage_50"]


def test_past_forecasts_stay_what_they_were_while_the_window_slides() -> None:
    """Of a market that never closes, whose months are longest, from the newest rows alone as a run reads them."""
    rules = Rules(window=300, calibration=40, scored=60)
    looked_back = rules.calibration + rules.scored
    ends = [end for end in range(500, 561) if DAYS[end - looked_back].day in (1, 16, 31)]
    assert len(ends) >= 5
    for target in (RETURN, VOLATILITY):
        whole = series_of(values_of(bars(600, days=DAYS), DAYS), target)
        for candidate in target.candidates:
            ever = candidate.forecasts(whole, 0, rules.window)
            for end in ends:
                newest = bars(600, days=DAYS).head(end).tail(rules.rows)
                series = series_of(values_of(newest, DAYS), target)
                first = len(series.values) - looked_back
                found = candidate.forecasts(series, first, rules.window)[first:]
                last = end - 600 + len(whole.values)
                expected = ever[last - looked_back : last + 1]
                if candidate.name in ("ses", "arima_111", "zero", "last"):
                    np.testing.assert_array_equal(found, expected)
                elif candidate.name == "historic_mean":  # of what there is in the window
                    assert not np.allclose(found, expected, rtol=0, atol=1e-6)
                else:
                    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)  # 0.94 to the power of 300


def test_every_column_of_every_model_is_there() -> None:
    found, reasons = forecast(values_of(bars(300)), FEW)
    assert reasons == []
    assert found.schema == FORECASTS
    assert found.select("target", "role").rows() == [
        *(("log_return", role) for role in ("forecast", "baseline", "benchmark")),
        *(("volatility", role) for role in ("forecast", "baseline", "benchmark", "benchmark")),
    ]
    against = [c for c in ("skill", "interval_skill", "p", "beats_baseline", "verdict")]
    for row in found.iter_rows(named=True):
        empty = {name for name, value in row.items() if value is None}
        assert empty == (set(against) if row["role"] == "baseline" else set())
        edges = [row[f"low_{level}"] for level in (95, 80, 50)] + [row[f"high_{level}"] for level in LEVELS]
        assert edges == sorted(edges)
        assert row["n"] == 80
    volatility = found.filter(pl.col("target") == "volatility")
    assert volatility["low_95"].min() > 0  # type: ignore[operator]


@pytest.mark.parametrize("count", [0, 1, 2, 100, 249])
def test_too_few_sessions_are_said(count: int) -> None:
    found, reasons = forecast(values_of(bars(count)), Rules())
    assert found.is_empty()
    assert [reason.split(":")[0] for reason in reasons] == ["log_return", "volatility"]
    assert all("250 are needed" in reason for reason in reasons)


def test_the_fewest_sessions_suffice_wherever_the_months_begin() -> None:
    cases = [(WEEKDAYS, offset) for offset in (0, 7, 14, 21)] + [(DAYS, offset) for offset in range(0, 31, 5)]
    for days, offset in cases:
        rows = values_of(bars(FEWEST_SESSIONS + 1 + offset, days=days), days).tail(FEWEST_SESSIONS + 1)
        found, reasons = forecast(rows, Rules(window=100, calibration=40, scored=60, fewest=1))
        assert reasons == []
        assert found["n"].to_list() == [60] * 7


def test_a_price_that_never_moves_has_a_return_and_no_volatility() -> None:
    flat = bars(300).with_columns(open=50.0, high=50.0, low=50.0, close=50.0)
    found, reasons = forecast(values_of(flat), FEW)
    assert reasons == [
        "log_return: 0 sessions have one, 250 are needed",
        "volatility: 0 sessions have one, 250 are needed",
    ]
    still = bars(300).with_columns(open=50.0, high=50.5, low=49.5, close=50.0)
    found, reasons = forecast(values_of(still), FEW)
    assert reasons == []
    (first, *_) = found.iter_rows(named=True)
    assert (first["point"], first["low_95"], first["high_95"], first["mae"], first["mase"]) == (0, 0, 0, 0, None)
    assert (first["coverage_95"], first["beats_baseline"]) == (1, False)
    assert "never changed" in first["verdict"]


def test_a_failing_model_costs_its_target_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> Floats:
        raise models.ModelFailed("ses cannot be fitted")

    monkeypatch.setattr(models, "ses", failing)
    found, reasons = forecast(values_of(bars(300)), FEW)
    assert reasons == ["log_return: ses cannot be fitted"]
    assert found["target"].unique().to_list() == ["volatility"]


# --- real days


@pytest.mark.data
def test_intervals_hold_what_they_say_over_many_symbols(real: pl.DataFrame) -> None:
    """Returns of every fourth symbol, and the volatility of every sixteenth; 250 sessions each, forecasts only."""
    shares: dict[str, list[list[float]]] = {"log_return": [], "volatility": []}
    beaten = 0
    for number, symbol in enumerate(real["symbol"].unique().sort().to_list()[::4]):
        for target in (RETURN, VOLATILITY) if number % 4 == 0 else (RETURN,):
            rows = {row["model"]: row for row in evaluate(series_of(of(real, symbol), target), target, Rules())}
            (row, *_) = rows.values()
            shares[target.name].append([row[f"coverage_{level}"] for level in LEVELS])
            beaten += target is RETURN and row["beats_baseline"]
            if target is VOLATILITY:
                assert row["mase"] < rows["last"]["mase"]
    assert [len(found) for found in shares.values()] == [15, 4]
    for found in shares.values():
        means, lowest, highest = np.mean(found, axis=0), np.min(found, axis=0), np.max(found, axis=0)
        for level, mean, low, high in zip(LEVELS, means, lowest, highest, strict=True):
            assert abs(mean - level / 100) < 0.03
            assert low > level / 100 - 0.09
            assert high < level / 100 + 0.09
    assert beaten <= 3  # of 15 that are no better, chance brings more than 3 to p < 0.05 once in 180 times


def test_sessions_are_looked_up_not_counted() -> None:
    """A market with a holiday in between: the sessions around it follow each other."""
    friday, monday = WEEKDAYS[2], WEEKDAYS[3]
    assert monday - friday == timedelta(days=3)
    assert values_of(bars(6))["log_return"].null_count() == 1
