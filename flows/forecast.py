"""The step `forecast`: next-session return and volatility of every symbol whose daily bars changed. No Prefect here.

It is no part of `run`: models take a thousand times as long as bars. Nothing is locked while they are fitted. What
comes out is written if the bars it was made of are still the stored ones, in one transaction a batch, so that a killed
run leaves whole batches behind and the next one does the rest.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import orjson
import polars as pl

from flows.batch import difference
from flows.steps import Progress
from flows.wiring import Deps, silent
from storage.market.derived import Changes, Claim
from storage.market.forecasts import ForecastStore, Standing
from storage.market.runs import Run
from storage.settings import Settings
from transforms.equal import Scale
from transforms.errors import UnknownSymbol
from transforms.forecast.evaluate import FORECASTS, METHOD, Rules
from transforms.forecast.evaluate import forecast as forecast_one
from transforms.forecast.models import require
from transforms.forecast.targets import targets

_KEY: Final = ("symbol", "target", "model")
_INPUTS: Final[Mapping[str, Scale]] = dict.fromkeys(("fingerprint", "method", "made_from", "missing"))
_SCALES: Final[Mapping[str, Scale]] = {
    "session": None,
    "made_from": None,
    **{c: 1.0 if kind == pl.Float64 else None for c, kind in FORECASTS.items() if c not in _KEY},
}


@dataclass(slots=True)
class Forecasted:
    """What a forecast did.

    `due`: symbols whose bars, or the way they are forecast from, changed; `symbols`: those whose stored forecasts
    changed; `rows`: rows written and deleted by table; `missing`: why a symbol has no forecast of a target, also where
    that was known before; `left`: symbols left as they were, and why; `standing`: of all that is stored.
    """

    due: int = 0
    symbols: set[str] = field(default_factory=set)
    rows: dict[str, int] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    standing: list[Standing] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Work:
    """What every batch needs."""

    deps: Deps
    store: ForecastStore
    rules: Rules
    method: str
    run: Run
    done: Forecasted


def forecast(
    deps: Deps,
    as_of: datetime,
    progress: Progress | None = None,
    *,
    symbols: Sequence[str] | None = None,
    everything: bool = False,
) -> Forecasted:
    """Forecast the next session of each symbol (`symbols`: of these only) whose daily bars changed since.

    From the bars of sessions that closed by `as_of`. `everything`: also where nothing changed. Forecasts that were
    made as of a later moment stay. Raises `ConfigurationError` where statsforecast is not installed and
    `UnknownSymbol` for a symbol that was never refreshed.
    """
    require()
    started = time.perf_counter()
    done = Forecasted()
    store, rules = ForecastStore(deps.database), _rules(deps.settings)
    _all_known(deps, symbols or ())
    method = _method(rules)
    due = _due(store, rules, method, as_of, symbols, everything=everything)
    done.due = due.height
    if not due.is_empty():
        with deps.runs.run("forecast", as_of) as run:
            work = _Work(deps, store, rules, method, run, done)
            for market, batch, so_far in _batches(due, deps.settings.forecast_batch_symbols):
                names = batch[0] if len(batch) == 1 else f"{batch[0]} to {batch[-1]}"
                (progress or silent)(f"forecasting {names} ({so_far}/{due.height})")
                _forecast_batch(work, market, batch)
            run.summary = {"symbols": len(done.symbols), "due": done.due, "rows": done.rows}
    made = store.made(symbols).drop_nulls("missing")
    done.missing = dict(made.select("symbol", "missing").iter_rows())
    done.standing = store.standing()
    done.seconds = time.perf_counter() - started
    return done


def outdated(deps: Deps, as_of: datetime) -> tuple[list[str], list[str]]:
    """Symbols that were forecast, and those of them whose bars, or the way they are forecast from, changed since.

    As of `as_of`, later forecasts aside. Nothing is fitted: fingerprints of the bars are compared.
    """
    store, rules = ForecastStore(deps.database), _rules(deps.settings)
    made = store.made()["symbol"].to_list()
    if not made:
        return [], []
    due = _due(store, rules, _method(rules), as_of, made, everything=False)
    return made, due["symbol"].sort().to_list()


def _all_known(deps: Deps, symbols: Sequence[str]) -> None:
    known = deps.outbox.newest(symbols)
    unknown = [symbol for symbol in symbols if symbol not in known]
    if unknown:
        raise UnknownSymbol(
            f"there is nothing of {', '.join(unknown)} yet: ingest its rows, then run `warmbars run`;"
            " `warmbars status` counts what is there"
        )


def _rules(settings: Settings) -> Rules:
    return Rules(
        window=settings.forecast_window,
        calibration=settings.forecast_calibration,
        scored=settings.forecast_scored,
        fewest=settings.forecast_min_history,
    )


def _method(rules: Rules) -> str:
    """How forecasts are made: another method makes every stored one due."""
    parts = {"method": METHOD, **{name: getattr(rules, name) for name in ("window", "calibration", "scored", "fewest")}}
    return orjson.dumps(parts).decode()


def _due(
    store: ForecastStore,
    rules: Rules,
    method: str,
    as_of: datetime,
    symbols: Sequence[str] | None,
    *,
    everything: bool,
) -> pl.DataFrame:
    """Symbols to forecast, and those whose forecasts have to go because they have no bars any more (market null)."""
    there = store.inputs(rules.rows, as_of, symbols)
    made = store.made(symbols).select("symbol", "method", "as_of", made_of="fingerprint")
    both = there.join(made, on="symbol", how="full", coalesce=True)
    differs = pl.col("fingerprint").ne_missing(pl.col("made_of")) | (pl.col("method") != method)
    wanted = both.filter(differs.fill_null(value=True) | pl.lit(everything)).filter(_not_later(as_of))
    return wanted.select("symbol", "market").sort("market", "symbol", nulls_last=True)


def _not_later(as_of: datetime) -> pl.Expr:
    return (pl.col("as_of") <= as_of).fill_null(value=True)


def _batches(due: pl.DataFrame, most: int) -> Iterator[tuple[str | None, list[str], int]]:
    """A market, some of its symbols, and how many there were up to these."""
    so_far = 0
    for (market,), rows in due.group_by("market", maintain_order=True):
        for part in rows.iter_slices(most):
            so_far += part.height
            yield None if market is None else str(market), part["symbol"].to_list(), so_far


def _forecast_batch(work: _Work, market: str | None, symbols: list[str]) -> None:
    """Forecast, then write what is not equal to the stored; a killed one never happened."""
    as_of = work.run.as_of
    inputs, bars = work.store.read(work.rules.rows, as_of, symbols)
    forecasts, missing = _computed(work, market, inputs, bars)
    made_of = inputs.join(missing, on="symbol", how="left").select(
        "symbol", "fingerprint", method=pl.lit(work.method), made_from="made_from", missing="missing"
    )
    with work.store.claim(symbols, work.run.id) as claim:
        steady = _steady(work, claim, symbols, inputs)
        mine = pl.col("symbol").is_in(steady)
        changes = [
            difference("forecasts", forecasts.filter(mine), _stored(work, steady), _KEY, _SCALES),
            difference("forecast_inputs", made_of.filter(mine), work.store.made(steady), ("symbol",), _INPUTS),
        ]
        _write(work, claim, changes)


def _computed(
    work: _Work, market: str | None, inputs: pl.DataFrame, bars: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Forecasts of the symbols with bars, and why some have none (symbol, missing)."""
    found = [pl.DataFrame(schema={"symbol": pl.String(), **FORECASTS})]
    missing: dict[str, str] = {}
    if market is not None:
        sessions = work.deps.market(market, work.run.as_of).sessions
        values = targets(bars.lazy(), sessions).collect().partition_by("symbol", as_dict=True)
        for symbol in inputs["symbol"]:
            rows, reasons = forecast_one(values[symbol,], work.rules)
            found.append(rows.select(pl.lit(symbol).alias("symbol"), pl.all()))
            if reasons:
                missing[symbol] = "; ".join(reasons)
    dates = inputs.select("symbol", "made_from", "session")
    forecasts = pl.concat(found).join(dates, on="symbol", how="left", maintain_order="left")
    reasons_frame = pl.DataFrame(
        {"symbol": list(missing), "missing": list(missing.values())},
        schema={"symbol": pl.String(), "missing": pl.String()},
    )
    return forecasts, reasons_frame


def _steady(work: _Work, claim: Claim, symbols: Sequence[str], inputs: pl.DataFrame) -> list[str]:
    """The claimed symbols whose bars are those that were forecast from, and not forecast as of a later moment."""
    as_of = work.run.as_of
    now = work.store.inputs(work.rules.rows, as_of, claim.locked)
    later = work.store.made(claim.locked).filter(~_not_later(as_of))["symbol"].to_list()
    before, after = (dict(f.select("symbol", "fingerprint").iter_rows()) for f in (inputs, now))
    for symbol in symbols:
        if symbol not in claim.locked:
            work.done.left[symbol] = "another run is refreshing it"
        elif before.get(symbol) != after.get(symbol):
            work.done.left[symbol] = "its bars changed meanwhile"
        elif symbol in later:
            work.done.left[symbol] = "it was forecast as of a later moment"
    return [symbol for symbol in symbols if symbol not in work.done.left]


def _stored(work: _Work, symbols: Sequence[str]) -> pl.DataFrame:
    return work.deps.derived.whole("forecasts", symbols, (*_KEY, *_SCALES))


def _write(work: _Work, claim: Claim, changes: Sequence[Changes]) -> None:
    """Write; the symbols of the first of the changes, the forecasts, draw their next version."""
    for change in changes:
        if len(change):
            claim.write(change)
            work.done.rows[change.table] = work.done.rows.get(change.table, 0) + len(change)
    changed = changes[0].symbols
    if changed:
        claim.publish(sorted(changed), work.run.as_of)
        work.done.symbols |= changed
