"""Parameters that a definition cannot take."""

from transforms.errors import UnknownIndicator


def rows_at_least(least: int, name: str, window: int) -> None:
    """Raise `UnknownIndicator` for a window too short to compute anything from."""
    if window < least:
        raise UnknownIndicator(f"{name!r} needs a window of at least {least} rows; {window} says nothing")


def step_within(most: float, name: str, step: float) -> None:
    """Raise `UnknownIndicator` for a factor that starts above the most it may become."""
    if step > most:
        raise UnknownIndicator(f"{name!r} starts at {step:g}, above its limit {most:g}; write the step first")
