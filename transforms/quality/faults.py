"""Quality rules: what in raw bars and corporate actions is probably a vendor's fault. It reports and never repairs.

    faults = find_faults(bars, actions)
    faults.findings                       where, which rule, why, how sure
    faults.corrected_bars(bars)           the rows as they should be, for somebody to look at and ingest

docs/quality.md describes every rule and says how many real faults they find, and how many that are none.
"""

import polars as pl

from transforms.quality.dividends import dividend_faults
from transforms.quality.fields import mixed_fields
from transforms.quality.levels import levelled, wrong_levels
from transforms.quality.moves import spikes, unknown_jumps
from transforms.quality.report import FINDINGS, Faults, together
from transforms.quality.rows import duplicates, order, values, volumes
from transforms.quality.series import Rules, actions_of, filled, prepared
from transforms.schema import ACTIONS

__all__ = ["FINDINGS", "RULES", "Faults", "Rules", "actions_of", "find_faults"]

RULES = {
    "newest_first": "rows are in descending order of time",
    "unsorted": "rows are not in the order of time",
    "duplicate_timestamp": "more than one row of one time",
    "null_value": "a price or the volume is missing",
    "non_positive_price": "a price is zero or less",
    "ohlc_order": "high below low, or a price outside of them",
    "currency_unit": "prices 100 times too high or too low",
    "currency_unit_field": "one or two prices of a row 100 times too high or too low",
    "split_adjustment": "prices on the wrong side of a split: not, doubly or wrongly adjusted",
    "split_not_in_prices": "a split is known that raw prices do not show",
    "missing_split": "raw prices show a split that is not known",
    "unexplained_jump": "the price changes more than fivefold for good, and nothing explains it",
    "spike": "the price jumps for one row and comes back",
    "wick": "a high or a low far from everything around it",
    "dividend_adjustment": "the adjusted close does not allow for a dividend as it should",
    "dividend_amount": "a dividend's amount fits neither its adjustment nor the price",
    "dividend_unit": "a dividend and its adjustment are 100 times too large or too small",
    "phantom_dividend": "a dividend that neither the adjusted close nor the price knows",
    "duplicate_dividend": "a dividend told twice, days apart",
    "missing_dividend": "the adjusted close knows a dividend that is not told",
    "repeated_row": "prices and volume of the row before",
    "carried_forward": "the last price repeated without volume",
    "zero_volume_move": "the price moves without volume",
}
"""Every rule, and what it finds."""


def find_faults(bars: pl.DataFrame, actions: pl.DataFrame | None = None, rules: Rules | None = None) -> Faults:
    """Findings about bars of any length, of any number of symbols and sources, in the order they came.

    Rows of one symbol and source are of one granularity, or a `PermanentError` is raised.

    `bars`: symbol, session (date), timestamp, open, high, low, close, volume; optional source, granularity,
    price_basis (raw unless it says otherwise), adjusted_close. `actions`: ACTIONS of these symbols, one source per
    (symbol, action), dividends per share as the prices are: raw, or in today's shares where those are adjusted.
    Without actions only faults that show in the prices are found. `bars` may be unsorted, doubled, with nulls.
    """
    chosen = rules or Rules()
    known = pl.DataFrame(schema=ACTIONS) if actions is None else actions.select(ACTIONS.names())
    series = prepared(bars, known)
    moves = levelled(series, known, chosen)
    return together(
        [
            order(bars),
            duplicates(bars),
            values(series, chosen),
            volumes(series, chosen),
            wrong_levels(moves, known),
            mixed_fields(moves),
            unknown_jumps(moves, known, chosen),
            spikes(moves, chosen),
            dividend_faults(moves, known, chosen),
        ]
    )


def corrected_bars(bars: pl.DataFrame, faults: Faults) -> pl.DataFrame:
    """The rows of `bars` that the edits of `faults` reach, as they should be, in the columns of `bars`."""
    return faults.corrected_bars(filled(bars)).select(bars.columns)
