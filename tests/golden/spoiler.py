"""Faults of every kind put into clean prices, one a symbol, at places drawn once for all."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from transforms.schema import ACTIONS, OHLC

PRICES = (*OHLC, "adjusted_close")


class Spoiler:
    """Clean prices of 59 symbols with one fault each, at a place of its own: bars with `bad`, and actions."""

    def __init__(self, daily: pl.DataFrame, told: pl.DataFrame, rows: int = 300) -> None:
        self.bars = daily.group_by("symbol", maintain_order=True).tail(rows)
        self.bars = self.bars.with_columns(k=pl.int_range(pl.len()).over("symbol"), last=pl.len().over("symbol"))
        symbols = self.bars["symbol"].unique(maintain_order=True)
        rng = np.random.default_rng(7)
        n = len(symbols)
        draws = pl.DataFrame(
            {
                "symbol": symbols,
                "at": rng.integers(30, rows - 60, n),
                "long": rng.integers(2, 40, n),
                "late": rng.integers(1, 8, n),
                "field": rng.integers(0, 4, n),
                "unit": rng.choice([100.0, 0.01], n),
                "ratio": rng.choice([2.0, 3.0, 0.1, 7.0, 1.5, 0.5], n),
            }
        )
        self.bars = self.bars.join(draws, on="symbol", maintain_order="left")
        since = self.bars.group_by("symbol").agg(since=pl.col("session").min())
        self.paid = told.join(since, on="symbol").filter(pl.col("ex_date") > pl.col("since")).select(ACTIONS.names())
        on = self.bars.filter(pl.col("k") == pl.col("at"))
        self.split = on.select(
            "symbol", ex_date="session", action=pl.lit("split"), source=pl.lit("yahoo"), ordinal=0, value="ratio"
        ).select(pl.col(n).cast(t) for n, t in ACTIONS.items())

    def priced(
        self, bad: pl.Expr, factor: pl.Expr | str, columns: tuple[str, ...] = PRICES, **kept: pl.Expr
    ) -> pl.DataFrame:
        by = pl.col(factor) if isinstance(factor, str) else factor
        marked = self.bars.with_columns(bad=bad, **kept)
        return marked.with_columns(pl.when("bad").then(pl.col(c) * by).otherwise(pl.col(c)) for c in columns)

    def split_priced(self, bad: pl.Expr, factor: pl.Expr | str) -> pl.DataFrame:
        by = pl.col(factor) if isinstance(factor, str) else factor
        volume = pl.when("bad").then(pl.col("volume") / by).otherwise("volume")
        return self.priced(bad, by).with_columns(volume=volume)

    def field(self, fields: int) -> pl.DataFrame:
        bars = self.bars.with_columns(bad=pl.col("k") == pl.col("at"))
        chosen = [(pl.lit(i) - pl.col("field")) % 4 < fields for i in range(4)]
        return bars.with_columns(
            pl.when(pl.col("bad") & hit).then(pl.col(c) * pl.col("unit")).otherwise(pl.col(c))
            for c, hit in zip(OHLC, chosen, strict=True)
        )

    def repeated(self) -> pl.DataFrame:
        bars = self.bars.with_columns(bad=pl.col("k") == pl.col("at"))
        return bars.with_columns(
            pl.when("bad").then(pl.col(c).shift(1)).otherwise(pl.col(c)) for c in (*PRICES, "volume")
        )

    def dividend(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Bars with `on`, the place of one dividend of each symbol, and `share`, what it is of the close before."""
        places = self.bars.select("symbol", ex_date="session", on="k")
        ones = self.paid.join(places, on=["symbol", "ex_date"]).filter(pl.col("on") > 20)
        one = ones.unique("symbol", keep="last", maintain_order=True).select("symbol", "ex_date", "on", "value")
        bars = self.bars.join(one.drop("ex_date"), on="symbol", maintain_order="left")
        before = pl.col("close").filter(pl.col("k") == pl.col("on") - 1).first().over("symbol")
        return bars.with_columns(share=pl.col("value") / before), one

    def adjusted(self, share: pl.Expr, bad: pl.Expr) -> pl.DataFrame:
        """Adjusted closes before the dividend as if it had been that share of the price."""
        bars, _ = self.dividend()
        ratio = (1 - share) / (1 - pl.col("share"))
        marked = bars.with_columns(bad=bad.fill_null(value=False))
        return marked.with_columns(
            adjusted_close=pl.when(pl.col("k") < pl.col("on"))
            .then(pl.col("adjusted_close") * ratio)
            .otherwise("adjusted_close")
        )

    def amounts(self, factor: float) -> pl.DataFrame:
        _, one = self.dividend()
        hit = self.paid.join(one.select("symbol", "ex_date", hit=True), on=["symbol", "ex_date"], how="left")
        by = pl.when("hit").then(factor).otherwise(1.0)
        return hit.with_columns(value=pl.col("value") * by).select(ACTIONS.names())

    def twice(self) -> pl.DataFrame:
        """The dividends, and each chosen one again two sessions later."""
        bars, _ = self.dividend()
        again = bars.filter(pl.col("k") == pl.col("on") + 2).select(
            "symbol",
            ex_date="session",
            action=pl.lit("dividend"),
            source=pl.lit("stocknet_yahoo"),
            ordinal=0,
            value="value",
        )
        return pl.concat([self.paid, again.select(pl.col(n).cast(t) for n, t in ACTIONS.items())])

    def kinds(self) -> Iterator[tuple[str, pl.DataFrame, pl.DataFrame]]:
        k, at, on, share = (pl.col(c) for c in ("k", "at", "on", "share"))
        run, split = k.is_between(at, at + pl.col("long")), pl.concat([self.paid, self.split])
        raw = pl.lit("raw")
        yield "one row in the wrong unit", self.priced(k == at, "unit"), self.paid
        yield "2 to 40 rows in the wrong unit", self.priced(run, "unit"), self.paid
        yield "all rows up to a day in the wrong unit", self.priced(k < at, "unit"), self.paid
        yield "the newest row in the wrong unit", self.priced(k == pl.col("last") - 1, "unit"), self.paid
        yield "one price of a row in the wrong unit", self.field(1), self.paid
        yield "two prices of a row in the wrong unit", self.field(2), self.paid
        yield "one row not adjusted, near a split", self.split_priced(k == at + pl.col("late"), "ratio"), split
        yield (
            "rows up to some days after a split not adjusted",
            self.split_priced(k < at + pl.col("late"), "ratio"),
            split,
        )
        yield "rows before a split adjusted twice", self.split_priced(k < at, 1 / pl.col("ratio")), split
        yield "a split that raw prices do not show", self.bars.with_columns(bad=k < at, price_basis=raw), split
        missing = self.split_priced(k < at, "ratio").with_columns(bad=k == at, price_basis=raw)
        yield "a split of raw prices that nobody told", missing.drop("adjusted_close"), self.paid.clear()
        spike = pl.when(pl.col("unit") > 1).then(1.5).otherwise(1 / 1.5)
        yield "one row 1.5 times too high or low", self.priced(k == at, spike), self.paid
        yield "one row repeated", self.repeated(), self.paid
        yield "a dividend not adjusted for", self.adjusted(pl.lit(0.0), k < on), self.paid
        yield "a dividend adjusted for by a hundredth", self.adjusted(share / 100, k < on), self.paid
        yield "a dividend adjusted for twice", self.adjusted(1 - (1 - share) ** 2, k < on), self.paid
        yield "an amount 100 times too large", self.adjusted(share, k == on), self.amounts(100.0)
        yield "an amount 100 times too small", self.adjusted(share, k == on), self.amounts(0.01)
        large = self.adjusted(share * 100, k <= on).filter((share < 0.009).fill_null(value=True))
        yield "amount and adjustment 100 times too large", large, self.amounts(100.0)
        untold = self.paid.join(self.dividend()[1], on=["symbol", "ex_date"], how="anti")
        yield "a dividend that nobody told", self.adjusted(share, k == on), untold
        yield "a dividend told again two days later", self.adjusted(share, k == on + 2), self.twice()
