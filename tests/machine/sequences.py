"""How many sequences are driven through which case, and how they are drawn."""

import os
import random
from datetime import date, timedelta
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis.stateful import run_state_machine_as_test

from flows import full
from tests.machine.lab import Lab
from tests.machine.machine import Machine
from tests.machine.world import Case

_COMMON: dict[str, Any] = {
    "intervals": ("1m", "1h", "1d"),
    "indicators": ("ema_3", "obv", "sma_3"),
    "correlation_min_n": 3,
    "correlation_lags": (0, 1),
    "correlation_windows": (3,),
    "rolling_lags": (0,),
    "sentiment_baseline": 2,
}
_SMALL = _COMMON | {"refresh_batch_symbols": 1, "publish_batch_symbols": 1, "indicators": ("macd_2_4_2", "vwap")}


def _from(first: date) -> tuple[date, ...]:
    return tuple(first + timedelta(days=n) for n in range(11))


NEW_YORK = Case(
    "XNYS",
    "America/New_York",
    _from(date(2024, 11, 22)),  # a weekend, three sessions, a holiday, a half day, a weekend, a session
    (
        _COMMON,
        _COMMON | {"indicators": ("ema_3", "obv", "sma_4")},
        _COMMON | {"intervals": ("1m", "15m", "1d")},
        _COMMON | {"trading_hours": "all"},
        _COMMON | {"sentiment_retweets": "drop", "sentiment_baseline": 3, "correlation_lags": (0, 1, 2)},
        _COMMON | {"intervals": ("1m", "1h")},
        _COMMON | {"published_bars": 2, "source_rank": ("other", "tape")},
    ),
)
SYDNEY = Case(
    "XASX",
    "Australia/Sydney",
    _from(date(2024, 12, 18)),  # three sessions, a weekend, two more, the second short, two holidays, a session
    (
        _SMALL | {"trading_hours": "all", "sentiment_cutoff": "midnight"},
        _SMALL | {"trading_hours": "regular", "sentiment_cutoff": "midnight", "missing_sentiment": "zero"},
        _SMALL | {"trading_hours": "all", "indicators": ("macd_2_4_2", "vwap", "rsi_3", "atr_3")},
        _SMALL | {"align": "clock", "correlation_windows": (3, 4), "close_grace": timedelta(minutes=5)},
        _SMALL | {"intervals": ("1m", "5m"), "sentiment_duplicates": "drop"},
    ),
)
_STEADY = {"XNYS": 0, "XASX": 324}
"""The seeds of `make test`. What they reach is made sure of: sequences that do nothing much would pass as well."""
_REACHED = (
    "run",
    "run, died",
    "ingest upsert, died",
    "ingest replace",
    "settings",
    "delete",
    "rename",
    "late publisher",
    "restore",
)


def prepared(lab: Lab, case: Case) -> None:
    """Make room for the indicators of every variant."""
    lab.prepare(*(lab.settings(**variant) for variant in case.variants))


def drive(lab: Lab, case: Case, sequences: int, steps: int = 14) -> None:
    """Draw sequences and drive them.

    The seed is printed, and with WARMBARS_MACHINE_SEED the same are drawn again. `make test` draws the same every time.
    """
    prepared(lab, case)
    steady = os.environ.get("WARMBARS_TEST_EXAMPLES", "steady") == "steady"
    drawn = _STEADY[case.market] if steady else random.SystemRandom().randrange(10**6)
    seed = int(os.environ.get("WARMBARS_MACHINE_SEED", drawn))
    print(f"{case.market}: {sequences} sequences of seed {seed}", flush=True)
    made = hypothesis.seed(seed)(type("Sequence", (Machine,), {"lab": lab, "case": case}))
    lab.tally.clear()
    try:
        run_state_machine_as_test(made, settings=_settings(sequences, steps))
    except BaseException as exc:
        exc.add_note(f"drawn by WARMBARS_MACHINE_SEED={seed}")
        raise
    print(dict(sorted(lab.tally.items())))
    if seed == _STEADY[case.market]:
        reached = {what for what, times in lab.tally.items() if times}
        tables = (*full.tables(lab.settings(**case.variants[0])), *full.MARKET_TABLES)
        expected = {*_REACHED, *(f"rows in {table.name}" for table in tables if not table.name.endswith("1h_fill"))}
        missed = [what for what in sorted(expected) if not any(told.startswith(what) for told in reached)]
        assert not missed, f"too few sequences, or too poor ones: nothing of {', '.join(missed)}"


def _settings(sequences: int, steps: int) -> hypothesis.settings:
    return hypothesis.settings(
        max_examples=sequences,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        derandomize=False,  # the seed says it all
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
        print_blob=True,
    )
