"""Publications into the cache, against a pipelined HSET of the same bodies."""

import itertools
import random
from collections.abc import Iterator, Mapping

import redis

from benchmarks.bench import Bench, soon
from benchmarks.harness import Measure, seconds
from storage.cache.codec import Body, body_of
from storage.cache.entries import format_moment
from storage.cache.keys import bars_name, indicators_name, sentiment_name
from storage.cache.publisher import Publication
from transforms.schema import INTERVALS

NAMES = (
    "quote",
    *map(bars_name, INTERVALS),
    *map(indicators_name, INTERVALS[1:]),
    *map(sentiment_name, ("1h", "1d")),
)
"""Twelve keys a symbol."""
BODY_BYTES = 8_192
PIPELINES = (96, 480, 2_400)
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

    name = "publish"
    unit = "bodies/s"
    target = 1.0
    direction = "at least"

    def __init__(self, bench: Bench) -> None:
        """Publish to the cache of `bench`."""
        self._bench = bench
        self._versions = itertools.count(1)

    @property
    def about(self) -> str:
        """With the sizes of this run."""
        size = self._bench.size
        return (
            f"{size.publish_symbols} symbols x {len(NAMES)} bodies of {BODY_BYTES:,} bytes, every one changed, "
            f"{size.publish_rounds} rounds a sample; encoding and etags made beforehand for both. "
            "Ours: CachePublisher.send (fence, heads, events, one function call a symbol). Reference: redis-py "
            f"pipeline without MULTI, HSET of the same seven fields, {self._pipeline} commands a pipeline, the "
            f"quickest here of {', '.join(map(str, PIPELINES))}."
        )

    _pipeline = PIPELINES[1]

    def setup(self) -> None:
        """Make two sets of bodies to publish by turns; find the reference's best pipeline."""
        made = random.Random(7)  # noqa: S311 - bytes of no meaning
        symbols = [f"S{n:03}" for n in range(self._bench.size.publish_symbols)]
        self._sets: list[Bodies] = [
            {symbol: {name: _body(made, symbol, name) for name in NAMES} for symbol in symbols} for _ in range(2)
        ]
        self._turns = {side: itertools.cycle(self._sets) for side in ("ours", "reference")}
        self._client = redis.Redis.from_url(self._bench.servers.redis_url)
        self._bench.clear()
        tried = {size: min(self._hset_once(size, bodies) for bodies in self._sets * 2) for size in PIPELINES}
        self._pipeline = min(tried, key=lambda size: tried[size])

    def ours(self) -> float:
        """Bodies a second through the publisher."""
        total, taken = 0, 0.0
        for bodies in self._round("ours"):
            as_of, version = soon(), next(self._versions)
            ready = [Publication(symbol, 1, version, as_of, version, its) for symbol, its in bodies.items()]
            taken += seconds(lambda ready=ready: self._send(ready))  # type: ignore[misc]
            total += sum(len(its) for its in bodies.values())
        return total / taken

    def _send(self, ready: list[Publication]) -> None:
        outcomes = self._bench.deps.cache.send(ready)
        if any(outcome.written != len(NAMES) for outcome in outcomes):
            raise RuntimeError("not every body was written")

    def reference(self) -> float:
        """Bodies a second through HSET."""
        taken = sum(self._hset_once(self._pipeline, bodies) for bodies in self._round("reference"))
        return self._bench.size.publish_rounds * len(self._sets[0]) * len(NAMES) / taken

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
        """Bytes on the wire a round."""
        return {"MB a round": self._bench.size.publish_symbols * len(NAMES) * BODY_BYTES / 1e6}

    def teardown(self) -> None:
        """Empty the cache."""
        self._client.flushdb()
        self._client.close()


def _body(made: random.Random, symbol: str, name: str) -> Body:
    return body_of(f"{symbol} {name} {made.randbytes(BODY_BYTES // 2).hex()}".encode()[:BODY_BYTES])


def _fields(body: Body) -> dict[str, str | bytes]:
    return {"body": body.content, "encoding": body.encoding, "type": body.type, "etag": body.etag}
