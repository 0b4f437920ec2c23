"""What has to be computed again when a setting changes: declared here, a row a setting.

Each derived dataset has the settings that its rows depend on, and beside each setting the dirty windows that a change
of it opens. A refresh first compares the settings it runs under with those recorded (`storage.market.applied`). A test
holds the declaration to the settings: one that is neither in DEPENDS nor in INDEPENDENT fails it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from flows.wiring import Deps, Report, silent
from storage.market.applied import Applied, Chosen, Mark, remove_rows
from storage.market.columns import COARSE
from storage.market.derived import Claim, MarketDataset
from storage.settings import Settings
from transforms import catalogue
from transforms.schema import INTERVALS

Rule = Callable[[Any, Any], Iterable[Mark]]
"""The windows that a setting's change from the first value to the second opens."""
Named = tuple[str, Sequence[str]]
"""An indicator and its columns, state included."""

_BARS: Final = tuple(f"bars_{interval}_{kind}" for interval in COARSE for kind in ("rollup", "fill"))
_SENTIMENT: Final = ("sentiment_1h", "sentiment_1d")
_DAILY: Final = ("bars_1d_rollup", "bars_1d_fill", "sentiment_1d")
_RAW: Final = ("stock_ticks", "stock_data", "sentiment_data")

PRICES: Final = Mark("prices", ("stock_ticks", "stock_data"), by_year=True)
TRADES: Final = Mark("prices", ("stock_ticks",), by_year=True)
ACTIONS: Final = Mark("actions", ("corporate_actions",))
QUOTES: Final = Mark("prices", ("quotes",))
INDICATORS: Final = Mark("indicators", _BARS, beside=_RAW[:2])
SCORES: Final = Mark("scores", ("sentiment_data",), ("sentiment_1d",), margin=timedelta(days=14), by_year=True)
"""The sessions beside the messages as well: another cutoff takes them away from one and gives them to the next."""
CORRELATIONS: Final = Mark("correlations", _DAILY, beside=_RAW)
KEYS: Final = Mark("keys", beside=(*_BARS, *_SENTIMENT, *_RAW))
KEYS_OF_BARS: Final = Mark("keys", beside=(*_BARS, *_RAW[:2]))
KEYS_OF_SCORES: Final = Mark("keys", beside=(*_SENTIMENT, "sentiment_data"))
KEYS_OF_ROLLING: Final = Mark("keys", beside=(*_DAILY, *_RAW))
"""Of symbols without a message too: silence may count as a score of 0."""
RETURNS: Final = Mark("returns", market=True)

DEFINITIONS: Final[Mapping[str, int]] = {
    "prices": 1,
    "indicators": 1,
    "scores": 1,
    "correlations": 1,
    "market": 1,
    "keys": 1,
}
"""To be raised where a dataset's rows are made in another way than the release before made them: the first refresh
after the upgrade then computes that dataset again, and what depends on it."""


def _always(*marks: Mark) -> Rule:
    return lambda _old, _new: marks


def _intervals(old: Sequence[str], new: Sequence[str]) -> Iterator[Mark]:
    """A new one is made of raw rows; one given up takes its rows and keys along. Quotes are made of the coarsest."""
    if {*new} - {*old}:
        yield PRICES
    elif old[-1:] != new[-1:]:
        yield QUOTES
    if {*old} - {*new}:
        yield KEYS_OF_BARS


def _indicators(old: Sequence[Named], new: Sequence[Named]) -> Iterator[Mark]:
    """Only columns that were not stored so far have to be computed; the keys look different in any case."""
    stored = {column for _, columns in old for column in columns}
    if {column for _, columns in new for column in columns} - stored:
        yield INDICATORS
    yield KEYS_OF_BARS


DEPENDS: Final[Mapping[str, Mapping[str, Rule]]] = {
    "prices": {
        "trading_hours": _always(PRICES),
        "align": _always(PRICES),
        "close_grace": _always(PRICES),
        "message_conditions": _always(TRADES),
        "auction_conditions": _always(TRADES),
        "source_rank": _always(PRICES, ACTIONS),
        "intervals": _intervals,
        "definition": _always(PRICES, ACTIONS),
    },
    "indicators": {
        "indicators": _indicators,
        "definition": _always(INDICATORS),
    },
    "scores": {
        "trading_hours": _always(SCORES),
        "sentiment_retweets": _always(SCORES),
        "sentiment_duplicates": _always(SCORES),
        "sentiment_cutoff": _always(SCORES),
        "sentiment_cutoff_offset": _always(SCORES),
        "sentiment_baseline": _always(SCORES),
        "definition": _always(SCORES),
    },
    "correlations": {
        "correlation_lags": _always(CORRELATIONS),
        "correlation_min_n": _always(CORRELATIONS),
        "correlation_windows": _always(CORRELATIONS),
        "rolling_lags": _always(CORRELATIONS),
        "missing_sentiment": _always(CORRELATIONS),
        "definition": _always(CORRELATIONS),
    },
    "market": {
        "market": _always(RETURNS),
        "matrix_window": _always(RETURNS),
        "matrix_symbols": _always(RETURNS),
        "correlation_min_n": _always(RETURNS),
        "definition": _always(RETURNS),
    },
    "keys": {
        "published_bars": _always(KEYS_OF_BARS),
        "published_sentiment": _always(KEYS_OF_SCORES),
        "published_rolling": _always(KEYS_OF_ROLLING),
        "definition": _always(KEYS),
    },
}
"""Dataset -> what its rows depend on -> the windows of a change."""
_UNORDERED: Final = frozenset(
    {
        *("message_conditions", "auction_conditions"),
        *("correlation_lags", "correlation_windows", "rolling_lags"),
    }
)
"""Settings in which order says nothing."""

INDEPENDENT: Final[Mapping[str, str]] = {
    **dict.fromkeys(("home", "database_url", "redis_url", "namespace"), "where things are"),
    "markets": "read when a symbol is first stored; it keeps its market",
    "calendar_start": "read when a market's sessions are fetched",
    **dict.fromkeys(
        ("forecast_min_history", "forecast_window", "forecast_calibration", "forecast_scored"),
        "noticed by `warmbars forecast`, which stores with each forecast how it was made",
    ),
    **dict.fromkeys(("future_tolerance", "reject_limit", "sources"), "read by ingest"),
    "retention": "says what raw rows are kept; what was computed of those that go stays as it is",
    **dict.fromkeys(
        (
            "ingest_batch_rows",
            "refresh_batch_rows",
            "refresh_batch_symbols",
            "forecast_batch_symbols",
            "publish_batch_symbols",
        ),
        "how much is done at once",
    ),
    "soft_ttl_seconds": "read by readers",
    **dict.fromkeys(
        (
            "pool_min",
            "pool_max",
            "query_timeout_seconds",
            "idle_timeout_seconds",
            "connect_timeout_seconds",
            "redis_timeout_seconds",
            "application_name",
            "jit",
        ),
        "how servers are talked to",
    ),
}
"""Settings that no stored result depends on, and why."""


@dataclass(frozen=True, slots=True)
class Change:
    """A setting that is not what a dataset was computed under.

    `symbols`: of how many something is to be made again; `market`: whether of all of them together. `applied_at`: when
    the settings that differ were recorded.
    """

    dataset: str
    setting: str
    change: str
    symbols: int
    market: bool
    applied_at: datetime

    def __str__(self) -> str:
        whom = "the market" if self.market else f"{self.symbols:,} symbol{'s' if self.symbols != 1 else ''}"
        return f"{self.setting} ({self.dataset}: {self.change}): {whom} to compute again"


def wanted(settings: Settings) -> dict[str, Chosen]:
    """What every dataset depends on, as these settings have it."""
    values = settings.model_dump(mode="json", include={name for rules in DEPENDS.values() for name in rules})
    values |= {name: sorted(values[name]) for name in _UNORDERED}
    values["indicators"] = [
        [name, [column.name for column in catalogue.resolve(name).columns]] for name in settings.indicators
    ]
    return {
        dataset: {name: values[name] if name in values else DEFINITIONS[dataset] for name in rules}
        for dataset, rules in DEPENDS.items()
    }


def apply(deps: Deps, as_of: datetime, progress: Report = silent) -> int:
    """Open the dirty windows of every setting that changed since the last refresh, once; how many.

    Raises `ConfigurationError` where another process has applied other settings since this one did.
    """
    mine, stored = wanted(deps.settings), deps.applied.stored()
    if _in_force(mine, stored):
        deps.applied.remember(mine)
        return 0
    differing = list(_differing(mine, stored))
    if not differing:  # a new store, or one that this release records more of
        return deps.applied.apply(mine, _marks, as_of, run_id=0)
    for _, name, old, new in differing:
        progress(f"the setting {name} changed: {_words(old, new)}")
    with deps.runs.run("settings", as_of) as run:
        run.summary = {"windows": deps.applied.apply(mine, _marks, as_of, run.id)}
    return int(run.summary["windows"])


def pending(deps: Deps) -> list[Change]:
    """The settings that the next refresh will find changed, and whom that reaches."""
    found = []
    for applied, name, old, new in _differing(wanted(deps.settings), deps.applied.stored()):
        marks = tuple(DEPENDS[applied.dataset][name](old, new))
        symbols, market = deps.applied.reached(marks), any(mark.market for mark in marks)
        found.append(Change(applied.dataset, name, _words(old, new), symbols, market, applied.applied_at))
    return found


def confirm(deps: Deps, claim: Claim) -> None:
    """Raise `ConfigurationError` where the claimed windows may be those of settings that are not these."""
    deps.applied.confirm(claim.connection, wanted(deps.settings))


def remove_unkept(deps: Deps, claim: Claim, as_of: datetime) -> dict[str, int]:
    """Delete rows of intervals that are not kept, of symbols with a claimed window of `keys`; rows by table.

    With those of `1d` go the correlations. Under the claim, so that a refresh under the settings of before cannot
    write them once more; to be called after what else the claim reads was read.
    """
    keys = claim.windows.filter(claim.windows["dataset"] == "keys")
    dropped = [interval for interval in INTERVALS if interval not in deps.settings.intervals]
    if keys.is_empty() or not dropped:
        return {}
    tables = [name for i in dropped for name in (f"bars_{i}_rollup", f"bars_{i}_fill", f"indicators_{i}")]
    reached: set[MarketDataset] = set()
    if "1d" in dropped:
        tables += ["correlations", "rolling_correlations"]
        reached = {"correlations", "returns"}
    removed = remove_rows(claim.connection, keys["symbol"].unique().to_list(), tables)
    if removed and reached:
        claim.mark_market(as_of, reached)
    return removed


def _marks(dataset: str, old: Chosen, new: Chosen) -> Iterator[Mark]:
    """The windows of everything that differs; what was not recorded before is taken to have been so."""
    for name, rule in DEPENDS.get(dataset, {}).items():
        if name in old and old[name] != new[name]:
            yield from rule(old[name], new[name])


def _in_force(mine: Mapping[str, Chosen], stored: Mapping[str, Applied]) -> bool:
    return all(
        dataset in stored and stored[dataset].since is None and stored[dataset].now == chosen
        for dataset, chosen in mine.items()
    )


def _differing(mine: Mapping[str, Chosen], stored: Mapping[str, Applied]) -> Iterator[tuple[Applied, str, Any, Any]]:
    """Every setting that a dataset was computed under another value of: the dataset, the setting, both values."""
    for dataset, applied in stored.items():
        before, now = applied.computed_under, mine.get(dataset, {})
        for name in now:
            if name in before and before[name] != now[name]:
                yield applied, name, before[name], now[name]


def _words(old: Any, new: Any) -> str:
    """What changed: `added ema_9; removed sma_50`, `regular → all`."""
    if not isinstance(old, list) or not isinstance(new, list):
        return f"{old} → {new}"
    before, after = ([str(v[0] if isinstance(v, list) else v) for v in side] for side in (old, new))
    sides = {"added": [v for v in after if v not in before], "removed": [v for v in before if v not in after]}
    told = [f"{side} {', '.join(values)}" for side, values in sides.items() if values]
    return "; ".join(told) or ("another order" if before != after else "other columns")
