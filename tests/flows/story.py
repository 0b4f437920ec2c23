"""Rows of one symbol that come, are corrected and taken back at random; for tests that look at what became of them."""

import random
from datetime import UTC, date, datetime, timedelta

import polars as pl

from flows import steps
from flows.wiring import Deps
from storage.market.raw import Rows, Written
from storage.market.removal import Removal, RemovalStore
from transforms.schema import RAW_SCHEMAS, Dataset

ZONE = "America/New_York"
DAYS = [date(2024, 11, day) for day in (25, 26, 27, 29)]
"""A holiday and a half day among them."""
OPEN = {day: datetime(day.year, day.month, day.day, 14, 30, tzinfo=UTC) for day in DAYS}
_DAY = timedelta(days=1)


class Story:
    """Rows of one symbol that come, are corrected and taken back; refreshed now and then."""

    def __init__(self, deps: Deps, seed: int) -> None:
        self.deps, self.draw, self.symbol = deps, random.Random(seed), f"S{seed}"
        self.now = OPEN[DAYS[0]]

    def moment(self) -> datetime:
        day = self.draw.choice([day for day in DAYS if OPEN[day] <= self.now])
        return OPEN[day] + timedelta(minutes=self.draw.choice([0, 1, 2, 5, 7, 61, 200, 209, 389, 390]))

    def write(self, dataset: Dataset, rows: list[dict[str, object]], basis: str = "raw") -> None:
        schema = RAW_SCHEMAS[dataset]
        width = 4 if dataset in ("ticks", "bars") else 5
        frame = pl.DataFrame(rows, schema=schema).unique(list(schema)[:width], keep="last", maintain_order=True)
        ready = Rows(dataset, frame.sort(list(schema)[:width]), basis, "XNYS", 1)
        if dataset == "ticks":
            sum(self.deps.raw.replace(ready, ZONE), Written())
        else:
            self.deps.raw.upsert(ready)

    def trades(self) -> None:
        """A day of trades: other ones than before, perhaps fewer."""
        at = self.moment()
        source = self.draw.choice(["feed", "tape"])
        offsets = sorted(self.draw.sample(range(-60, 4000), self.draw.randrange(1, 8)))
        self.write(
            "ticks",
            [
                {"symbol": self.symbol, "timestamp": at + timedelta(seconds=s), "source": source, "sequence": n}
                | {
                    "price": self.draw.randrange(900, 1100) / 8,
                    "size": float(self.draw.randrange(9)),
                    "condition": None,
                }
                for n, s in enumerate(offsets)
            ],
        )

    def bars(self) -> None:
        granularity, source, basis = self.draw.choice(
            [("1m", "vendor", "raw"), ("1m", "other", "raw"), ("1h", "hourly", "raw"), ("1d", "adjusted", "split")]
        )
        at = [self.moment() for _ in range(5)]
        if granularity == "1d":
            at = [OPEN[day] for day in DAYS if OPEN[day] <= self.now]
        rows = []
        for moment in at:
            low, *inside, high = sorted(self.draw.randrange(900, 1100) / 8 for _ in range(4))
            prices = {"open": inside[0], "high": high, "low": low, "close": inside[1], "adjusted_close": None}
            key = {"symbol": self.symbol, "granularity": granularity, "timestamp": moment, "source": source}
            rows.append(key | prices | {"volume": float(self.draw.randrange(500))})
        self.write("bars", rows, basis)

    def split(self) -> None:
        """Announced or changed, for a day that has been or is to come."""
        day, value = self.draw.choice(DAYS), self.draw.choice([2.0, 4.0, 0.5])
        key = {"symbol": self.symbol, "ex_date": day, "action": "split", "source": "news", "ordinal": 0}
        self.write("actions", [key | {"value": value}])

    def mentions(self) -> None:
        """Messages, some of them at night."""
        at = self.moment() + timedelta(hours=self.draw.choice([-9, 0, 3]))
        key = {"symbol": self.symbol, "timestamp": at, "source": "words", "external_id": ""}
        flags = {"is_retweet": self.draw.choice([None, False, True]), "is_duplicate": None}
        self.write(
            "sentiment",
            [
                {**key, **flags, "ordinal": n, "sentiment_score": self.draw.randrange(-10, 11) / 10, "confidence": 0.5}
                for n in range(self.draw.choice([1, 3]))
            ],
        )

    def take_back(self) -> None:
        """What a source said of some day was wrong and is deleted."""
        day = self.draw.choice(DAYS)
        dataset: Dataset = self.draw.choice(["bars", "ticks", "actions"])
        span = (day, day + _DAY) if dataset == "actions" else (OPEN[day] - _DAY / 2, OPEN[day] + _DAY / 2)
        RemovalStore(self.deps.database).delete(Removal(dataset, self.symbol, *span), 1)

    def happen(self) -> None:
        """One random thing."""
        self.draw.choice([self.trades, self.bars, self.bars, self.split, self.mentions, self.take_back])()

    def pass_time(self) -> None:
        """Nothing, or some hours."""
        self.now += timedelta(hours=self.draw.choice([0, 0, 1, 5, 20]))

    def refresh(self) -> None:
        """Bring what is derived up to now."""
        assert not steps.refresh(self.deps, self.now).busy
