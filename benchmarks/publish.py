"""Publications into the cache, against a pipelined HSET of the same bodies."""

import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import batched

import redis

from benchmarks.bench import Bench
from benchmarks.harness import Measure, seconds
from storage.cache.codec import Body, body_of
from storage.cache.keys import bars_name, indicators_name, sentiment_name
from storage.cache.publisher import Publication
from transforms.schema import INTERVALS

NAMES = (
    "quote",
    *map(bars_name, INTERVALS),
    *map(indicators_name, INTERVALS[1:]),
    *map(sentiment_name, ("1h", "1d")),
)
BODY_BYTES = 8_192
_PIPELINES = (96, 480, 2_400)
"""Commands a pipeline is tried with; the reference uses what is quickest here."""

Bodies = dict[str, dict[str, Body]]
