"""What options accept. The same words as in `transforms.schema`, whose import costs too much for a `--help`."""

import re
from datetime import timedelta
from typing import Literal

import typer

Dataset = Literal["ticks", "bars", "sentiment", "actions"]
Granularity = Literal["1m", "1h", "1d"]
Interval = Literal["1m", "5m", "15m", "1h", "1d"]
PriceBasis = Literal["raw", "split", "split_dividend"]
Mode = Literal["upsert", "replace"]
Label = Literal["start", "end"]

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def duration(text: str) -> timedelta:
    """`60s`, `5m`, `1h`; a bare number is seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if found is None or float(found[1]) == 0:
        raise typer.BadParameter(f"{text!r} is no duration; write 60s, 5m or 1h")
    return timedelta(seconds=float(found[1]) * _UNITS[found[2]])


def mapping(pairs: list[str]) -> dict[str, str]:
    """`["Adj Close=close"]`: their column = ours."""
    split = [pair.rpartition("=") for pair in pairs]
    wrong = [pair for pair, (theirs, _, ours) in zip(pairs, split, strict=True) if not theirs or not ours]
    if wrong:
        raise typer.BadParameter(f"{wrong[0]!r}: write theirs=ours, such as 'Adj Close=close'")
    return {theirs.strip(): ours.strip() for theirs, _, ours in split}


def zone(name: str) -> str:
    """The IANA name of a time zone."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise typer.BadParameter(
            f"no time zone is called {name!r}; write America/New_York, Asia/Kolkata or UTC"
        ) from exc
