"""One symbol's forecasts of its next session, and how each model did on the sessions before."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from transforms.forecast import baselines, models
from transforms.forecast.baselines import Floats
from transforms.forecast.intervals import FEWEST_ERRORS, LEVELS, conformal
from transforms.forecast.scores import (
    Bounds,
    coverage,
    diebold_mariano,
    mase,
    skill,
    weighted_interval_score,
)
from transforms.forecast.verdict import FEWEST_SCORED, beats, verdict

METHOD: Final = "2"
"""Changes when the same bars would be forecast otherwise: what is stored is then computed again."""

_MONTH: Final = 31
"""Sessions a month has at the most, those of a market that never closes; a model is fitted at its beginning."""
FEWEST_SESSIONS: Final = models.FEWEST + _MONTH + FEWEST_ERRORS + FEWEST_SCORED
"""Sessions that suffice to fit (up to the end of a month), to make intervals of errors, and to score."""

_DECIMALS: Final = 8

Role = Literal["forecast", "baseline", "benchmark"]

FORECASTS: Final = pl.Schema(
    {
        "target": pl.String(),
        "model": pl.String(),
        "role": pl.String(),
        "point": pl.Float64(),
        **{f"{side}_{level}": pl.Float64() for level in LEVELS for side in ("low", "high")},
        "n": pl.Int32(),
        "mae": pl.Float64(),
        "mase": pl.Float64(),
        **{f"coverage_{level}": pl.Float64() for level in LEVELS},
        "interval_score": pl.Float64(),
        "skill": pl.Float64(),
        "interval_skill": pl.Float64(),
        "p": pl.Float64(),
        "beats_baseline": pl.Boolean(),
        "verdict": pl.String(),
    }
)
"""A row a target and model.

`target`: log_return or volatility. `role`: the forecast, the baseline it has to beat, or a benchmark beside them.
`point`, `low_50` … `high_95`: of the next session, in the target's units. Scores are of the `n` sessions before, each
forecast from what was known the session before it: `mae` mean absolute error, `mase` over that of the naive forecast
in the sessions before those, `coverage_50` … the share inside an interval, `interval_score` the mean weighted interval
score, `skill` and `interval_skill` = 1 - loss / loss of the baseline (absolute error, weighted interval score), `p` of
the Diebold-Mariano test that the absolute errors are less than the baseline's. The last five are null for the
baseline itself.
"""


@dataclass(frozen=True, slots=True)
class Rules:
    """How much history is used. `window`: values a model is fitted to. `calibration`: errors an interval is made of.

    `scored`: sessions forecasts are scored on, at most. `fewest`: sessions below which nothing is forecast.
    """

    window: int = 1000
    calibration: int = 250
    scored: int = 250
    fewest: int = 250

    @property
    def rows(self) -> int:
        """Newest bars of a symbol that its forecasts are made of: older ones do not count."""
        return max(self.window + self.calibration + self.scored + _MONTH, self.fewest) + 1


@dataclass(frozen=True, slots=True)
class Series:
    """One target of one symbol, oldest first: n values as they are modelled, the month of each (a number).

    `spread`: n + 1 of what was to be expected before each value, and of the next one.
    """

    values: Floats
    months: NDArray[np.int64]
    spread: Floats


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to forecast. `scaled`: its intervals widen with the expected spread."""

    name: str
    role: Role
    forecasts: Callable[[Series, int, int], Floats]
    scaled: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """Something to forecast, and how; `back`: from modelled values to the target's units."""

    name: str
    candidates: tuple[Candidate, ...]
    back: Callable[[Floats], Floats]


def _plain(forecasts: Callable[[Floats], Floats]) -> Callable[[Series, int, int], Floats]:
    return lambda series, first, window: forecasts(series.values)


def _same(values: Floats) -> Floats:
    return values


RETURN: Final = Target(
    "log_return",
    (
        Candidate(
            "ses", "forecast", lambda s, first, window: models.ses(s.values, s.months, first, window), scaled=True
        ),
        Candidate("zero", "baseline", _plain(baselines.zero)),
        Candidate("historic_mean", "benchmark", _plain(baselines.historic_mean)),
    ),
    _same,
)
VOLATILITY: Final = Target(
    "volatility",
    (
        Candidate(
            "arima_111", "forecast", lambda s, first, window: models.arima_111(s.values, s.months, first, window)
        ),
        Candidate("ewma", "baseline", _plain(baselines.ewma)),
        Candidate("last", "benchmark", _plain(baselines.last)),
        Candidate("mean_22", "benchmark", _plain(lambda values: baselines.rolling_mean(values, 22))),
    ),
    np.exp,
)
"""Modelled as its logarithm, whose errors are near to symmetric; the point is then the median of what is expected."""
TARGETS: Final = (RETURN, VOLATILITY)


def series_of(rows: pl.DataFrame, target: Target) -> Series:
    """The values of a target in rows of one symbol as `targets` gives them, in order; rows without one are left out.

    So are rows before the first spread, where a candidate's intervals need it. Values are rounded to 8 decimals: what
    a factor common to all prices leaves in the last bits would otherwise grow in the search for parameters.
    """
    value = pl.col("log_return") if target is RETURN else pl.col("volatility").log()
    dated = rows.select(
        value=value.round(_DECIMALS),
        month=pl.col("session").dt.year().cast(pl.Int64) * 12 + pl.col("session").dt.month(),
        spread=pl.col("spread").shift(1).round(_DECIMALS),
    )
    scaled = any(candidate.scaled for candidate in target.candidates)
    kept = dated.drop_nulls(["value", "spread"] if scaled else ["value"])
    spread = pl.concat([kept["spread"], rows["spread"].tail(1).round(_DECIMALS)])
    return Series(kept["value"].to_numpy(), kept["month"].to_numpy(), spread.fill_null(np.nan).to_numpy())


def forecast(rows: pl.DataFrame, rules: Rules) -> tuple[pl.DataFrame, list[str]]:
    """Forecasts of the session after the last of `rows` (one symbol's, as `targets` gives them) in FORECASTS form.

    Beside them: why a target has no forecast, in words. Nothing is forecast from fewer than `rules.fewest` values.
    Needs statsforecast; a model that fails is named and its target left out.
    """
    found: list[dict[str, Any]] = []
    reasons: list[str] = []
    for target in TARGETS:
        series = series_of(rows.tail(rules.rows), target)
        n, fewest = len(series.values), max(rules.fewest, FEWEST_SESSIONS)
        if n < fewest:
            reasons.append(f"{target.name}: {n} sessions have one, {fewest} are needed")
            continue
        try:
            found += evaluate(series, target, rules)
        except models.ModelFailed as exc:
            reasons.append(f"{target.name}: {exc}")
    return pl.DataFrame(found, schema=FORECASTS), reasons


def evaluate(series: Series, target: Target, rules: Rules) -> list[dict[str, Any]]:
    """Forecast the next value with every candidate and score each on the same sessions before, one step ahead."""
    n = len(series.values)
    first = max(0, n - rules.scored - rules.calibration)
    made = {c.name: c.forecasts(series, first, rules.window) for c in target.candidates}
    known = max(first, *(int(np.flatnonzero(np.isfinite(points)).min()) for points in made.values()))
    start = max(n - rules.scored, known + FEWEST_ERRORS)
    outcomes = [_outcome(c, made[c.name], series, target, (known, start, rules)) for c in target.candidates]
    (baseline,) = (o for o in outcomes if o.candidate.role == "baseline")
    training = target.back(series.values[max(0, start - rules.window) : start])
    return [_row(target.name, outcome, baseline, training) for outcome in outcomes]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a candidate forecast of the scored sessions and of the next one (last), in the target's units."""

    candidate: Candidate
    values: Floats
    points: Floats
    bounds: dict[int, Bounds]

    @property
    def past(self) -> dict[int, Bounds]:
        return {level: (low[:-1], high[:-1]) for level, (low, high) in self.bounds.items()}

    @property
    def errors(self) -> Floats:
        return np.abs(self.values - self.points[:-1])

    @property
    def interval_scores(self) -> Floats:
        return weighted_interval_score(self.values, self.points[:-1], self.past)


def _outcome(
    candidate: Candidate, points: Floats, series: Series, target: Target, span: tuple[int, int, Rules]
) -> _Outcome:
    known, start, rules = span
    spread = series.spread if candidate.scaled else np.ones(len(points))
    errors = (series.values[known:] - points[known:-1]) / spread[known:-1]
    bounds: dict[int, Bounds] = {}
    for level in LEVELS:
        low, high = (offset[start - known :] for offset in conformal(errors, level, rules.calibration))
        bounds[level] = (
            target.back(points[start:] + low * spread[start:]),
            target.back(points[start:] + high * spread[start:]),
        )
    return _Outcome(candidate, target.back(series.values[start:]), target.back(points[start:]), bounds)


def _row(target: str, outcome: _Outcome, baseline: _Outcome, training: Floats) -> dict[str, Any]:
    """A row of FORECASTS."""
    row: dict[str, Any] = {
        "target": target,
        "model": outcome.candidate.name,
        "role": outcome.candidate.role,
        "point": float(outcome.points[-1]),
        "n": len(outcome.values),
        "mae": float(outcome.errors.mean()),
        "mase": mase(outcome.errors, training),
        "interval_score": float(outcome.interval_scores.mean()),
    }
    for level, (low, high) in outcome.bounds.items():
        row |= {f"low_{level}": float(low[-1]), f"high_{level}": float(high[-1])}
        row[f"coverage_{level}"] = coverage(outcome.values, outcome.past[level])
    if outcome is not baseline:
        row["skill"] = skill(outcome.errors, baseline.errors)
        row["interval_skill"] = skill(outcome.interval_scores, baseline.interval_scores)
        row["p"] = diebold_mariano(outcome.errors, baseline.errors)
        row["beats_baseline"] = beats(row)
        row["verdict"] = verdict(row, baseline.candidate.name, mase(baseline.errors, training))
    return row
