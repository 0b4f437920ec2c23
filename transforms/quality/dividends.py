"""Dividends against the vendor's adjusted closes and against what the price did.

Of a dividend there are up to three witnesses: the amount told, the step of adjusted close / close at the ex-date, and
the fall of the price. Where amount and step disagree, the price and what dividends usually are decide which of them
is wrong; where they agree, the price alone can say that both are. Evidence is a difference of log likelihoods: returns
after the dividend is put back have Student's t distribution with 3 degrees of freedom (markets have fat tails), a
dividend's share of the price is lognormal. `confidence` is the posterior probability that this gives.
"""

import math

import polars as pl

from transforms.quality.evidence import CERTAIN, SMALLEST, probability, usual
from transforms.quality.payouts import fits, payouts, stepped
from transforms.quality.report import ACTION_EDITS, Faults, edits, findings, new_actions
from transforms.quality.series import KEY, Rules

_WORTH_TELLING = 0.2
_HUNDRED = 100.0
_LARGE, _SMALL = 0.05, 0.002
"""Shares of the price above and below which a single dividend may be in the wrong unit."""

_COLUMNS = (
    *KEY,
    *("start", "end", "rows", "rule", "reason", "confidence"),
    *("ex_date", "first", "last_before", "step", "share", "ratio", "value"),
)
"""What every rule answers with. `share`: what the vendor's step should be; null leaves adjusted closes alone.
`ratio`: what the amounts told have to be multiplied by; `value`: an amount that nobody told."""


def dividend_faults(moves: pl.DataFrame, actions: pl.DataFrame, rules: Rules) -> Faults:
    """All findings about dividends, one an ex-date; `moves`: rows with their levels, by `levels.levelled`."""
    rows = stepped(moves, rules)
    events = payouts(rows, actions, rules)
    parts = (
        _contradictions(events, rules),
        _wrong_units(events, rules),
        _pairs(events, rules),
        _untold(rows, events, rules),
    )
    found = pl.concat([part.select(_COLUMNS) for part in parts], how="vertical_relaxed")
    best = found.sort("confidence", descending=True).unique([*KEY, "ex_date"], keep="first", maintain_order=True)
    told = best.sort(*KEY, "ex_date").with_row_index("finding")
    return Faults(findings(told), _step_edits(told), _amounts(told, actions))


def _contradictions(events: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """`dividend_adjustment`, `dividend_amount`, `phantom_dividend`: amount and adjustment do not fit each other.

    Events of a series that are off in the same way are judged together: a vendor's mistake is seldom made once.
    """
    d, step = pl.col("d"), pl.max_horizontal("step", pl.lit(0.0))
    apart = (d.log() - pl.max_horizontal("step", pl.lit(SMALLEST)).log()).alias("apart")
    large = (pl.max_horizontal("d", "step") > rules.least_step) & ((d - pl.col("step")).abs() > rules.least_step)
    off = events.with_columns(apart).filter(
        large, pl.col("apart").abs() > math.log(rules.ratio_same), ~pl.col("paired")
    )
    group = (*KEY, "kind", "way")
    judged = (
        off.with_columns(kind=_kind(rules), way=pl.col("apart") > 0)
        .with_columns(gain=fits(d) - fits(step), prior=_prior(rules))
        .with_columns(odds=pl.col("gain").sum().over(group) + pl.col("prior").mean().over(group))
    )
    amount, missing = pl.col("odds") < 0, pl.col("kind") == "missing"
    factor = {"unit": pl.lit(math.log(_HUNDRED)), "split": pl.col("split").log().abs()}
    known = pl.coalesce(pl.when(pl.col("kind") == kind).then(log) for kind, log in factor.items())
    right = (-pl.col("apart").sign() * known.fill_null(pl.col("apart").abs())).exp()
    return judged.with_columns(
        rule=pl.when(~amount)
        .then(pl.lit("dividend_adjustment"))
        .when(missing)
        .then(pl.lit("phantom_dividend"))
        .otherwise(pl.lit("dividend_amount")),
        reason=_contradiction(),
        confidence=probability(pl.col("odds").abs()),
        start=pl.when(amount).then("timestamp").otherwise("first"),
        end=pl.when(amount).then("timestamp").otherwise("last_before"),
        rows=pl.when(amount).then(1).otherwise("place"),
        share=pl.when(~amount).then("d"),
        ratio=pl.when(amount).then(pl.when(missing).then(0.0).otherwise(right)),
        value=pl.lit(None, pl.Float64),
    )


def _kind(rules: Rules) -> pl.Expr:
    """How amount and adjustment differ."""
    size, same = pl.col("apart").abs(), math.log(rules.ratio_same)
    split = ((size - pl.col("split").log().abs()).abs() < same).fill_null(value=False)
    return (
        pl.when((size - math.log(_HUNDRED)).abs() < same)
        .then(pl.lit("unit"))
        .when(split)
        .then(pl.lit("split"))
        .when(pl.col("step").abs() < rules.least_step)
        .then(pl.lit("missing"))
        .when((size - math.log(2)).abs() < same)
        .then(pl.lit("twice"))
        .otherwise(pl.lit("other"))
    )


def _prior(rules: Rules) -> pl.Expr:
    """Log odds, before looking at the price, that the amount is right and the adjustment is not."""
    step = pl.max_horizontal("step", pl.lit(0.0))
    plausible = usual(pl.col("d"), rules) - usual(step, rules)
    larger_is_wrong = -pl.col("apart").sign() * math.log(rules.twice_odds)
    return (
        pl.when(pl.col("kind") == "missing")
        .then(-math.log(rules.phantom_odds))
        .when(pl.col("kind") == "twice")
        .then(plausible + larger_is_wrong)
        .otherwise(plausible)
    )


def _contradiction() -> pl.Expr:
    how = (
        pl.when(pl.col("kind") == "unit")
        .then(pl.lit("a factor of 100, as between a currency and its hundredth"))
        .when(pl.col("kind") == "split")
        .then(pl.format("a factor of the split of {}", "split_day"))
        .when(pl.col("kind") == "missing")
        .then(pl.lit("the dividend is not adjusted for"))
        .when(pl.col("kind") == "twice")
        .then(pl.lit("one is twice the other"))
        .otherwise(pl.lit("no known factor"))
    )
    return pl.format(
        "dividend {} of {} is {}% of the close before, the adjusted close allows for {}%: {}; the price moves {}%",
        pl.col("amount").round_sig_figs(6),
        "ex_date",
        _percent(pl.col("d")),
        _percent(pl.col("step")),
        how,
        _percent(pl.col("plain").exp() - 1),
    )


def _wrong_units(events: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """`dividend_unit`: dividends that fit their adjustment, if there is one, but not what the price did.

    Too large: one is enough when the price does not fall. Too small: it takes several, and a share of the price that is
    implausible, since the price alone hardly shows a fall of one or two percent.
    """
    ratio = (pl.col("d") / pl.col("step")).log().abs() < math.log(rules.ratio_same)
    agreeing = events.filter((ratio | (pl.col("d") - pl.col("step")).abs().le(rules.least_step)).fill_null(value=True))
    d = pl.col("d")
    gains = agreeing.with_columns(larger=fits(d / _HUNDRED) - fits(d), smaller=fits(d * _HUNDRED) - fits(d))
    large = gains.filter(d > _LARGE, pl.col("larger") > 0).with_columns(gain="larger", right=1 / _HUNDRED)
    small = gains.filter(d < _SMALL, (d * _HUNDRED).is_between(_SMALL, 3 * _LARGE)).with_columns(
        gain="smaller", right=_HUNDRED
    )
    small = small.filter(pl.len().over(KEY) >= rules.small_events)
    suspects = pl.concat([large, small])
    prior = (usual(d * pl.col("right"), rules) - usual(d, rules)).mean() + math.log(rules.fault_odds)
    judged = suspects.with_columns(p=probability((pl.col("gain").sum() + prior).over(*KEY, "right")))
    both = pl.col("step").is_not_null()
    return judged.filter(pl.col("p") > _WORTH_TELLING).with_columns(
        rule=pl.lit("dividend_unit"),
        reason=pl.format(
            "dividend {} of {} is {}% of the close before, the price moves {}%: it looks {} times too {}",
            pl.col("amount").round_sig_figs(6),
            "ex_date",
            _percent(d),
            _percent(pl.col("plain").exp() - 1),
            int(_HUNDRED),
            pl.when(pl.col("right") < 1).then(pl.lit("large")).otherwise(pl.lit("small")),
        ),
        confidence="p",
        start=pl.when(both).then("first").otherwise("timestamp"),
        end="timestamp",
        rows=pl.when(both).then(pl.col("place") + 1).otherwise(1),
        share=pl.when(both).then(d * pl.col("right")),
        ratio="right",
        value=pl.lit(None, pl.Float64),
    )


def _pairs(events: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """`duplicate_dividend`: two of similar size within days where others are far apart; the price fell for one.

    Reported is the one that the price, or the adjusted close, misses less.
    """
    untold = (pl.col("step").abs() < rules.least_step).fill_null(value=False)
    gain = fits(pl.lit(0.0)) - fits(pl.col("d")) + pl.when(untold).then(-math.log(rules.phantom_odds)).otherwise(0.0)
    columns = ("gain", "amount", "ex_date")
    pairs = events.filter("paired").with_columns(gain=gain)
    before = [pl.col(c).shift(1).over(*KEY, "pair").alias(f"_{c}") for c in columns]
    after = [pl.col(c).shift(-1).over(*KEY, "pair").alias(f"{c}_") for c in columns]
    other = [pl.coalesce(f"_{c}", f"{c}_").alias(f"other_{c}") for c in columns]
    weight, rival = pl.col("gain").exp(), pl.col("other_gain").exp()
    judged = pairs.with_columns(*before, *after).with_columns(other)
    judged = judged.with_columns(p=pl.min_horizontal(weight / (weight + rival + 2 * rules.pair_odds), pl.lit(CERTAIN)))
    both = (pl.col("step") > rules.least_step).fill_null(value=False)
    return judged.filter(pl.col("gain") >= pl.col("other_gain")).with_columns(
        rule=pl.lit("duplicate_dividend"),
        reason=pl.format(
            "dividend {} of {} is within days of one of {} on {}, others are far apart; the price moves {}% on it",
            pl.col("amount").round_sig_figs(6),
            "ex_date",
            pl.col("other_amount").round_sig_figs(6),
            "other_ex_date",
            _percent(pl.col("plain").exp() - 1),
        ),
        confidence="p",
        start=pl.when(both).then("first").otherwise("timestamp"),
        end="timestamp",
        rows=pl.when(both).then(pl.col("place") + 1).otherwise(1),
        share=pl.when(both).then(0.0),
        ratio=0.0,
        value=pl.lit(None, pl.Float64),
    )


def _untold(rows: pl.DataFrame, events: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """`missing_dividend`: the adjusted close allows for a dividend that nobody told; `dividend_adjustment`: it rises.

    Only of symbols that have dividends at all, not across gaps in the rows, and not where a split is missing.
    """
    followed = (pl.col("plain") - (1 - pl.col("step")).log()).abs() < pl.col("plain").abs() / 3
    split = followed & (pl.col("plain").abs() > rules.least_jump)
    known = events.select(*KEY, "place").with_columns(pl.col("place").cast(pl.Int64)).unique()
    whole_gap = (pl.col("session") - pl.col("session_before")).dt.total_days() <= rules.pair_days
    stepped = (
        rows.filter(whole_gap & (pl.col("step").abs() > 4 * rules.least_step) & ~split)
        .join(events.select(KEY).unique(), on=list(KEY), how="semi")
        .join(known, on=[*KEY, "place"], how="anti")
        .with_columns(quiet=(pl.col("volume") == 0) | (pl.col("plain") == 0), ex_date="session")
    )
    gain = fits(pl.max_horizontal("step", pl.lit(0.0))) - fits(pl.lit(0.0))
    falls = pl.col("step") > 0
    odds = gain - math.log(rules.phantom_odds)
    return (
        stepped.with_columns(odds=odds)
        .with_columns(
            rule=pl.when(falls & (pl.col("odds") > 0))
            .then(pl.lit("missing_dividend"))
            .otherwise(pl.lit("dividend_adjustment")),
            reason=pl.format(
                "the adjusted close allows for a dividend of {}% of the close before, none is told; price: {}%",
                _percent(pl.col("step")),
                _percent(pl.col("plain").exp() - 1),
            ),
            confidence=pl.when(falls).then(probability(pl.col("odds").abs())).otherwise(0.9),
            told=falls & (pl.col("odds") > 0),
        )
        .with_columns(
            start=pl.when("told").then("timestamp").otherwise("first"),
            end=pl.when("told").then("timestamp").otherwise("last_before"),
            rows=pl.when("told").then(1).otherwise("place"),
            share=pl.when(~pl.col("told")).then(0.0),
            ratio=pl.lit(None, pl.Float64),
            value=pl.when("told").then((pl.col("step") * pl.col("before") / pl.col("fold_before")).round_sig_figs(6)),
        )
    )


def _percent(share: pl.Expr) -> pl.Expr:
    return (share * 100).round_sig_figs(3)


def _step_edits(told: pl.DataFrame) -> pl.DataFrame:
    """Adjusted closes of the rows before the ex-date, times what the step should be over what it is."""
    factor = ((1 - pl.col("share")) / (1 - pl.col("step"))).alias("adjusted_close")
    frame = told.filter(pl.col("step").is_not_null()).with_columns(factor, start="first", end="last_before")
    return edits(frame, ["adjusted_close"])


def _amounts(told: pl.DataFrame, actions: pl.DataFrame) -> pl.DataFrame:
    """Each dividend of an ex-date times the ratio, and those that nobody told."""
    dividends = actions.filter(pl.col("action") == "dividend").rename({"source": "told_by", "value": "amount"})
    scaled = told.filter(pl.col("ratio").is_not_null()).drop("value").join(dividends, on=["symbol", "ex_date"])
    scaled = scaled.with_columns(value=(pl.col("amount") * pl.col("ratio")).round_sig_figs(9), source="told_by")
    rows = scaled.select(pl.col(n).cast(t) for n, t in ACTION_EDITS.items())
    return pl.concat([rows, new_actions(told.filter(pl.col("value").is_not_null()), "dividend", actions)])
