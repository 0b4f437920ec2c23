"""Statistics of a price, as the catalogue offers them. Beta and correlation read the column `benchmark`."""

from typing import Final

from transforms.catalogue.entry import (
    BENCHMARK,
    CLOSE,
    Column,
    Family,
    Indicator,
    Kernel,
    State,
    Window,
)
from transforms.catalogue.limits import rows_at_least
from transforms.indicators import statistics

_PAIR: Final = ("close", "benchmark")


def _zscore(name: str, window: int) -> Indicator:
    rows_at_least(2, name, window)
    column = Column(name, statistics.zscore(CLOSE, window), "ratio")
    about = f"standard deviations of the close from the mean of {window} closes"
    return Indicator(name, about, (column,), ("close",), window - 1, Window(window))


def _drawdown(name: str) -> Indicator:
    found = statistics.drawdown(CLOSE)
    peak = Column(f"{name}_peak", found.peak, "price", shown=False)
    columns = (Column(name, found.now, "percent"), peak)
    about, state = "percent below the highest close so far", State((peak.name,))
    return Indicator(name, about, columns, ("close",), 0, state, kernel=Kernel("drawdown", ("close",)))


def _max_drawdown(name: str) -> Indicator:
    found = statistics.drawdown(CLOSE)
    peak = Column(f"{name}_peak", found.peak, "price", shown=False)
    columns = (Column(name, found.worst, "percent"), peak)
    about = "largest percentage any close so far was below an earlier one"
    state = State((name, peak.name))
    return Indicator(name, about, columns, ("close",), 0, state, kernel=Kernel("max_drawdown", ("close",)))


def _beta(name: str, window: int) -> Indicator:
    rows_at_least(2, name, window)
    column = Column(name, statistics.beta(CLOSE, BENCHMARK, window), "ratio")
    about = f"slope of {window} returns on those of the benchmark"
    return Indicator(name, about, (column,), _PAIR, window, Window(window + 1))


def _correlation(name: str, window: int) -> Indicator:
    rows_at_least(2, name, window)
    pair = (statistics.returns(CLOSE), statistics.returns(BENCHMARK))
    column = Column(name, statistics.correlation(*pair, window), "ratio")
    about = f"Pearson correlation of {window} returns with those of the benchmark"
    return Indicator(name, about, (column,), _PAIR, window, Window(window + 1))


def _sharpe(name: str, window: int) -> Indicator:
    rows_at_least(2, name, window)
    column = Column(name, statistics.sharpe(CLOSE, window), "ratio")
    about = f"mean of {window} returns over their deviation, per bar"
    return Indicator(name, about, (column,), ("close",), window, Window(window + 1))


FAMILIES: Final = (
    Family(
        "zscore",
        _zscore,
        formula="(close - mean) / population standard deviation of close[t-window+1 .. t]",
        undefined="0 where the window's closes are all the same",
        source="Excel's STANDARDIZE",
        usual=((20,),),
    ),
    Family(
        "drawdown",
        _drawdown,
        formula="100 * (close / highest close of the rows so far - 1)",
        source="ChartSchool",
        plain=(),
    ),
    Family(
        "max_drawdown",
        _max_drawdown,
        formula="lowest drawdown of the rows so far",
        source="ChartSchool's drawdown; Investopedia's example of a maximum drawdown",
        plain=(),
    ),
    Family(
        "beta",
        _beta,
        formula="covariance of returns with the benchmark's / variance of the benchmark's, over window returns",
        undefined="null where the benchmark's returns do not vary",
        source="Excel's COVARIANCE.P and VAR.P",
        usual=((20,),),
    ),
    Family(
        "correlation",
        _correlation,
        formula="Pearson correlation of simple returns with the benchmark's, over window returns",
        undefined="null where either's returns do not vary",
        source="Excel's CORREL",
        usual=((20,),),
    ),
    Family(
        "sharpe",
        _sharpe,
        formula="mean / population standard deviation of window simple returns; not annualised, no risk-free rate",
        undefined="null where the returns do not vary",
        source="W. Sharpe (1966); Lean's SharpeRatio",
        usual=((20,),),
    ),
)
