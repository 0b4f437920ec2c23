"""Publications into the cache, against a pipelined HSET of the same bodies."""

import itertools
import random
from collections.abc import Iterator, Mapping
from functools import partial

import redis

from benchmarks.bench import Bench, soon
from benchmarks.harness import Measure, seconds
from storage.cache.codec import Body, body_of
from storage.cache.entries import format_moment
from storage.cache.keys import CORRELATION, ROLLING, SENTIMENT_CURRENT, bars_name, indicators_name, sentiment_name
from storage.cache.publisher import Publication
from transforms.schema import INTERVALS

NAMES = (
    "quote",
    *map(bars_name, INTERVALS),
    *map(indicators_name, INTERVALS[1:]),
    *map(sentiment_name, ("1h", "1d")),
    SENTIMENT_CURRENT,
    CORRELATION,
    ROLLING,
)
"""What a run publishes of a symbol that has messages; forecasts are made apart."""
EVEN = dict.fromkeys(NAMES, 8_192)
_PRICES = (420, *[33_000] * 4, 41_000, *[130_000] * 3, 146_000)
_MESSAGES = (41_000, 80_000, 640, 7_400, 92_000)
USUAL = dict(zip(NAMES, (*_PRICES, *_MESSAGES), strict=True))
"""Bytes of each body: all alike, and as 500 bars, their indicators, 500 buckets of sentiment and 250 sessions of
rolling correlations have them."""
PIPELINES = (24, 96, 480, 2_400)
"""Commands a pipeline; the reference uses what is quickest here."""

Bodies = dict[str, dict[str, Body]]
Row = tuple[str, dict[str, str | bytes]]


def pipelined_hset(client: redis.Redis, rows: list[Row], size: int) -> None:
    """Write hashes with redis-py's pipeline, `size` commands at a time."""
    for start in range(0, len(rows), size):
        with client.pipeline(transaction=False) as pipe:
            for key, fields in rows[start : start + size]:
                pipe.hset(key, mapping=fields)  # type: ignore[arg-type]
            pipe.execute()


class Publish(Measure):
    """`CachePublisher.send` of symbols whose every body changed."""

    unit = "MB/s"
    target = 1.0
    direction = "at least"

    def __init__(self, bench: Bench, name: str, sizes: Mapping[str, int]) -> None:
        """Publish bodies of these sizes to the cache of `bench`."""
        self.name = f"publish, {name}"
        self._bench = bench
        self._sizes = sizes
        self._versions = itertools.count(1)
        self._pipeline = PIPELINES[0]
        even = bench.size.publish_symbols * sum(EVEN.values())
        self._symbols = max(2, even // sum(sizes.values()))

    @property
    def about(self) -> str:
        """With the sizes of this run."""
        sizes = sorted(self._sizes.values())
        span = f"{sizes[0]:,}" if sizes[0] == sizes[-1] else f"{sizes[0]:,} to {sizes[-1]:,}"
        return (
            f"{self._symbols} symbols x {len(sizes)} bodies of {span} bytes, every one changed, "
            f"{self._bench.size.publish_rounds} rounds a sample; encoding and etags made beforehand for both. "
            "Ours: CachePublisher.send (fence, heads, events, atomic by symbol). Reference: redis-py pipeline without "
            f"MULTI, HSET of the same seven fields, {self._pipeline} commands a pipeline, the quickest here of "
            f"{', '.join(map(str, PIPELINES))}."
        )

    def setup(self) -> None:
        """Make two sets of bodies to publish by turns; find the reference's best pipeline."""
        made = random.Random(7)
        symbols = [f"S{n:03}" for n in range(self._symbols)]
        self._sets = [{symbol: self._bodies(made, symbol) for symbol in symbols} for _ in range(2)]
        self._turns = {side: itertools.cycle(self._sets) for side in ("ours", "reference")}
        self._client = redis.Redis.from_url(self._bench.servers.redis_url)
        self._bench.clear()
        tried = {size: min(self._hset_once(size, bodies) for bodies in self._sets * 2) for size in PIPELINES}
        self._pipeline = min(tried, key=lambda size: tried[size])

    def _bodies(self, made: random.Random, symbol: str) -> dict[str, Body]:
        """Bytes of no meaning; the names make bodies differ, whatever the dice say."""
        return {
            name: body_of(f"{symbol} {name} {made.randbytes(size // 2 + 1).hex()}".encode()[:size])
            for name, size in self._sizes.items()
        }

    def ours(self) -> float:
        """Body bytes a second through the publisher."""
        taken = 0.0
        for bodies in self._round("ours"):
            as_of, version = soon(), next(self._versions)
            ready = [Publication(symbol, 1, version, as_of, version, its) for symbol, its in bodies.items()]
            taken += seconds(partial(self._send, ready))
        return self._megabytes() / taken

    def _send(self, ready: list[Publication]) -> None:
        outcomes = self._bench.deps.cache.send(ready)
        if any(outcome.written != len(self._sizes) for outcome in outcomes):
            raise RuntimeError("not every body was written")

    def reference(self) -> float:
        """Body bytes a second through HSET."""
        return self._megabytes() / sum(self._hset_once(self._pipeline, bodies) for bodies in self._round("reference"))

    def _megabytes(self) -> float:
        return self._bench.size.publish_rounds * self._symbols * sum(self._sizes.values()) / 1e6

    def _round(self, side: str) -> Iterator[Bodies]:
        """The sets by turns, going on where the sample before left off: every body differs from what is there."""
        return itertools.islice(self._turns[side], self._bench.size.publish_rounds)

    def _hset_once(self, size: int, bodies: Bodies) -> float:
        stamp = {"version": "1-1", "as_of": format_moment(soon()), "run": "1"}
        rows: list[Row] = [
            (f"floors:{{{symbol}}}:{name}", {**_fields(body), **stamp})
            for symbol, its in bodies.items()
            for name, body in its.items()
        ]
        return seconds(lambda: pipelined_hset(self._client, rows, size))

    def details(self) -> Mapping[str, float]:
        """How much is sent a sample."""
        return {"MB of bodies a sample": self._megabytes()}

    def teardown(self) -> None:
        """Empty the cache."""
        self._client.flushdb()
        self._client.close()


def _fields(body: Body) -> dict[str, str | bytes]:
    return {"body": body.content, "encoding": body.encoding, "type": body.type, "etag": body.etag}
