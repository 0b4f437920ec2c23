"""What is made of all symbols together, under the lock of the market's own symbol.

A commit of a symbol that changes something of it leaves a window for the market, whose dataset says what: `quotes`
(the board and the catalogue are read as they are when published), `correlations` (which findings stand depends on
every other test) or `returns` (the matrix). The market gets a new version only if a result changed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from flows.batch import difference
from flows.derive import Market, as_factors
from storage.market.derived import LEFTOVER, Changes, Claim, DerivedStore
from transforms.adjust import split_adjust
from transforms.correlation import MATRIX, findings, return_matrix
from transforms.equal import Scale
from transforms.schema import BARS, MARKET_SYMBOL, UTC_US

_FINDING_KEY = ("symbol", "x", "y", "lag", "method")
_FINDING: Mapping[str, Scale] = {
    **{"r": 1.0, "n": None, "p": 1e-6, "p_adjusted": 1e-6, "family_size": None},
    **{"ci_low": 1.0, "ci_high": 1.0},
}
_MATRIX_COLUMNS = ("symbol", "position", "n", "r")


@dataclass(slots=True)
class MarketWide:
    """What changed of the market: rows by table, and its symbol if it has a new version."""

    changes: list[Changes] = field(default_factory=list)
    changed: set[str] = field(default_factory=set)


def recompute_market(store: DerivedStore, claim: Claim, market: Market, as_of: datetime) -> MarketWide:
    """Bring what is made of all symbols to what their rows say now, and consume the claim.

    `market`: the exchange of the setting `market`, whose sessions the matrix counts.
    """
    asked = set(claim.windows["dataset"])
    done = MarketWide()
    if "correlations" in asked:
        done.changes.append(_findings(store))
        claim.keep_alive()
    if "returns" in asked:
        done.changes.append(_matrix(store, market))
    done.changes = [changes for changes in done.changes if len(changes)]
    for changes in done.changes:
        claim.write(changes)
    claim.finish(pl.DataFrame(schema=LEFTOVER))
    if done.changes or "quotes" in asked:
        claim.publish([MARKET_SYMBOL], as_of)
        done.changed.add(MARKET_SYMBOL)
    return done


def _findings(store: DerivedStore) -> Changes:
    """Every correlation that was tested, adjusted for the number of tests."""
    tested = ("r", "n", "p", "ci_low", "ci_high")
    computed = findings(store.everything("correlations", (*_FINDING_KEY, *tested)).lazy()).collect()
    stored = store.everything("correlation_findings", (*_FINDING_KEY, *_FINDING))
    return difference("correlation_findings", computed, stored, _FINDING_KEY, _FINDING)


def _matrix(store: DerivedStore, market: Market) -> Changes:
    """The return matrix; one more session changes all of it, so it is written whole or not at all."""
    computed = _computed_matrix(store, market).select(_MATRIX_COLUMNS)
    stored = store.everything("return_matrix", _MATRIX_COLUMNS).sort("position")
    if computed.equals(stored):
        computed, stored = computed.clear(), stored.clear()
    return Changes("return_matrix", computed, stored.select("symbol"))


def _computed_matrix(store: DerivedStore, market: Market) -> pl.DataFrame:
    """Over `matrix_window` sessions, and one before for the first return, up to that with which most symbols end.

    Not up to the newest of all: one stray bar of one symbol would leave the others without a return.
    """
    settings = market.settings
    newest = store.newest_days()
    if newest.is_empty():
        return MATRIX.to_frame()
    ends = newest.group_by("session").len().sort("len", "session", descending=True)
    past = market.sessions.filter(pl.col("session") <= ends["session"][0]).collect()
    window = past.tail(settings.matrix_window + 1)
    if window.height < 2:
        return MATRIX.to_frame()
    before, after, since = window["day_start"][0], window["day_end"][-1], window["session"][1]
    symbols = newest.filter(pl.col("session") >= since)["symbol"]
    spans = pl.DataFrame({"symbol": symbols}).with_columns(lo=pl.lit(before, UTC_US), hi=pl.lit(after, UTC_US))
    bars = store.stored("bars_1d", spans, BARS.names()).sort("symbol", "timestamp")
    adjusted = split_adjust(bars.lazy(), as_factors(store.factors(symbols.to_list()))).collect()
    return return_matrix(adjusted, since, settings.matrix_symbols, settings.correlation_min_n)
