"""The transforms: factors, bars of trades, indicators, correlation, beside peers and floors; and their memory."""

from benchmarks.bench import Bench
from benchmarks.harness import Measure
from benchmarks.peers.pandas_ta import PandasTa
from benchmarks.peers.ta_lib import TaLib
from benchmarks.peers.ta_library import Ta
from benchmarks.transforms.indicators import Expressions, Indicators
from benchmarks.transforms.inputs import Inputs
from benchmarks.transforms.matrix import Matrix
from benchmarks.transforms.panel import Factors
from benchmarks.transforms.peak import Peak
from benchmarks.transforms.trades import TradesDuck, TradesFloor


def measures(bench: Bench) -> list[Measure]:
    """In the order they are run."""
    inputs = Inputs(bench)
    return [
        Factors(inputs, cached=False),
        Factors(inputs, cached=True),
        TradesFloor(inputs),
        TradesDuck(inputs),
        *(
            Indicators(inputs, which, library, target)
            for which in ("daily", "minutes")
            for library, target in ((TaLib, 1.0), (PandasTa, 20.0), (Ta, 20.0))
        ),
        Expressions(inputs),
        Matrix(inputs),
        Peak(inputs, "factors", "factors"),
        Peak(inputs, "ticks", "ticks"),
        Peak(inputs, "indicators, daily", "daily"),
        Peak(inputs, "indicators, minutes", "minutes"),
        Peak(inputs, "matrix", "returns"),
    ]
