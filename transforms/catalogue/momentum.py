"""Momentum, as the catalogue offers it."""

from typing import Final

from transforms.catalogue.entry import CLOSE, Column, Family, Indicator, Kernel, Magnitude, State, Window
from transforms.catalogue.trend import smoothed_columns, span
from transforms.indicators import momentum


def _rsi(name: str, window: int) -> Indicator:
    state = gain_loss_columns(name, window)
    columns = (Column(name, momentum.rsi(CLOSE, window), "percent"), *state)
    about = f"relative strength index (Wilder) of {window} changes, 0 to 100"
    reach = State(tuple(c.name for c in state), reads=2, weight=1 / window)
    return Indicator(name, about, columns, ("close",), window, reach, kernel=Kernel("rsi", ("close",), (window,)))


def gain_loss_columns(name: str, window: int) -> tuple[Column, ...]:
    """The averages of rises and falls that a recursion resumes from, as hidden columns: only their ratio counts."""
    averages = momentum.gain_loss(CLOSE, window)._asdict().items()
    both = (f"{name}_gain", f"{name}_loss")
    return tuple(Column(f"{name}_{part}", expr, "price", shown=False, beside=both) for part, expr in averages)


def _macd(name: str, fast: int, slow: int, signal: int) -> Indicator:
    lines = momentum.macd(CLOSE, fast, slow, signal)
    about = f"EMA {fast} minus EMA {slow}, its EMA {signal} as signal, and their difference"
    return _two_averages(name, about, lines, "price", Kernel("macd", ("close",), (fast, slow, signal)))


def _ppo(name: str, fast: int, slow: int, signal: int) -> Indicator:
    lines = momentum.ppo(CLOSE, fast, slow, signal)
    about = f"EMA {fast} over EMA {slow} in percent, its EMA {signal} as signal, and their difference"
    return _two_averages(name, about, lines, "percent", Kernel("ppo", ("close",), (fast, slow, signal)))


def _two_averages(name: str, about: str, lines: momentum.Macd, unit: Magnitude, kernel: Kernel) -> Indicator:
    """Two averages compared, the average of that, and the difference of these; `kernel` knows the windows."""
    columns = (
        Column(name, lines.line, unit),
        Column(f"{name}_signal", lines.signal, unit),
        Column(f"{name}_histogram", lines.histogram, unit),
        Column(f"{name}_fast", lines.fast, "price", shown=False),
        Column(f"{name}_slow", lines.slow, "price", shown=False),
    )
    fast, slow, signal = map(int, kernel.parameters)
    weight = span(max(fast, slow, signal))
    state = State((f"{name}_fast", f"{name}_slow", f"{name}_signal"), weight=weight)
    return Indicator(name, about, columns, ("close",), max(fast, slow) + signal - 2, state, kernel=kernel)


def _roc(name: str, window: int) -> Indicator:
    column = Column(name, momentum.roc(CLOSE, window), "percent")
    about = f"rate of change over {window} bars, in percent"
    return Indicator(name, about, (column,), ("close",), window, Window(window + 1))


def _momentum(name: str, window: int) -> Indicator:
    column = Column(name, momentum.momentum(CLOSE, window), "price")
    about = f"change of the close over {window} bars"
    return Indicator(name, about, (column,), ("close",), window, Window(window + 1))


def _trix(name: str, window: int) -> Indicator:
    state = smoothed_columns(name, window, 3)
    columns = (Column(name, momentum.trix(CLOSE, window), "percent"), *state)
    about = f"one-bar rate of change of a triple exponential average, span {window}, in percent"
    reach = State(tuple(c.name for c in state), weight=span(window))
    kernel = Kernel("trix", ("close",), (window,))
    return Indicator(name, about, columns, ("close",), window, reach, kernel=kernel)


def _tsi(name: str, long: int, short: int, signal: int) -> Indicator:
    lines = momentum.tsi(CLOSE, long, short, signal)
    state = {"change": "size", "change_twice": "size_twice", "size": "size", "size_twice": "size_twice"}
    columns = (
        Column(name, lines.line, "percent"),
        Column(f"{name}_signal", lines.signal, "percent"),
        *(
            Column(f"{name}_{part}", getattr(lines, part), "price", shown=False, beside=(f"{name}_{size}",))
            for part, size in state.items()
        ),
    )
    about = f"true strength index of spans {long} and {short}, -100 to 100, and its EMA {signal} as signal"
    weight = span(max(long, short, signal))
    reach = State((*(f"{name}_{part}" for part in state), f"{name}_signal"), reads=2, weight=weight)
    kernel = Kernel("tsi", ("close",), (long, short, signal))
    return Indicator(name, about, columns, ("close",), long + short + signal - 2, reach, kernel=kernel)


FAMILIES: Final = (
    Family(
        "rsi",
        _rsi,
        formula="100 * gain / (gain + loss), Wilder averages of the rises and of the falls",
        seed="simple mean of the first window changes",
        undefined="50 where nothing moved at all: neither side was stronger (TA-Lib 0, Skender 100)",
        source="J. W. Wilder, New Concepts in Technical Trading Systems (1978)",
        usual=((14,),),
    ),
    Family(
        "macd",
        _macd,
        formula="ema(close, fast) - ema(close, slow); signal = ema(line, signal); histogram = line - signal",
        seed="each average by its own simple mean (TA-Lib starts both where the slow one starts)",
        source="G. Appel",
        usual=((12, 26, 9),),
        plain=(12, 26, 9),
    ),
    Family(
        "ppo",
        _ppo,
        formula="100 * (ema(close, fast) / ema(close, slow) - 1); signal = ema(line, signal); "
        "histogram = line - signal",
        seed="each average by its own simple mean",
        undefined="null where the slow average is 0",
        source="G. Appel; ChartSchool sheet cs-ppo",
        usual=((12, 26, 9),),
        plain=(12, 26, 9),
    ),
    Family(
        "roc",
        _roc,
        formula="100 * (close[t] / close[t-window] - 1)",
        undefined="null where the close before was 0",
        source="reference column roc_20",
        usual=((12,),),
    ),
    Family(
        "momentum",
        _momentum,
        formula="close[t] - close[t-window]",
        source="reference column mom_20",
        usual=((10,),),
    ),
    Family(
        "trix",
        _trix,
        formula="100 * (y[t] / y[t-1] - 1), y = ema(ema(ema(close)))",
        seed="first average by its simple mean, the others by the first value of that (TA-Lib: by means too)",
        undefined="null where the average before was 0",
        source="J. Hutson, Technical Analysis of Stocks & Commodities 1 (1983)",
        usual=((15,),),
    ),
    Family(
        "tsi",
        _tsi,
        formula="100 * ema(ema(d, long), short) / ema(ema(|d|, long), short), d = close[t] - close[t-1]; "
        "signal = ema(line, signal)",
        seed="each average by its own simple mean",
        undefined="0 where nothing moved at all",
        source="W. Blau (1991)",
        usual=((25, 13, 7),),
        plain=(25, 13, 7),
    ),
)
