"""Ours beside a peer or a physical limit, in the same run: a machine's speed drifts, the ratio of neighbours less."""

import gc
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

Direction = Literal["at least", "at most"]
Progress = Callable[[str], None]


class Unmeasurable(Exception):
    """What a measure needs, mostly its peer, is not here or does not run; the message says why and what to do."""


class Measure(ABC):
    """Something of ours and what it is held against, both in `unit`; the ratio is ours / reference.

    A rate is to be at least `target` of the reference's, a cost at most `target` of it.
    """

    name: str
    unit: ClassVar[str]
    target: float
    direction: ClassVar[Direction]
    warm_ups: ClassVar[int] = 1
    """Times both sides run unmeasured first, so that caches, pools and lazy imports are warm."""
    quantile: ClassVar[float] = 0.5
    """Which of a side's samples stands for them: the median; 0.95 for what is to hold nearly always."""
    samples_a_repeat: int = 1
    """How many of its samples a measure takes where others take one."""
    progress: Progress = staticmethod(lambda _: None)
    """Told what takes long while it is prepared; set by `run`."""

    @property
    @abstractmethod
    def about(self) -> str:
        """What exactly is compared with what; a paragraph for the reader of the figures."""

    def setup(self) -> None:  # noqa: B027 - most measures have something to prepare, none has to
        """Prepare what is not measured."""

    @abstractmethod
    def ours(self) -> float:
        """Do it our way, once."""

    @abstractmethod
    def reference(self) -> float:
        """Do it the bare way, once."""

    def details(self) -> Mapping[str, float]:
        """Further figures in the measure's own words; for people, not held against anything."""
        return {}

    def teardown(self) -> None:  # noqa: B027
        """Leave nothing behind."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one measure gave: medians (or another quantile) of both sides, and the extreme ratios of neighbours."""

    measure: str
    about: str
    unit: str
    ours: float
    reference: float
    spread: tuple[float, float]
    target: float
    direction: Direction
    repeats: int
    details: Mapping[str, float]

    @property
    def ratio(self) -> float:
        """Ours over the reference, their medians if the measure takes no other quantile."""
        return self.ours / self.reference

    @property
    def met(self) -> bool:
        """Whether the ratio is on the right side of the target."""
        return self.ratio >= self.target if self.direction == "at least" else self.ratio <= self.target


@dataclass(frozen=True, slots=True)
class Skipped:
    """A measure that could not be made, and why."""

    measure: str
    reason: str


Outcome = Result | Skipped


def run(measure: Measure, repeats: int, progress: Progress) -> Outcome:
    """Measure A B A B ...: each of our samples has its reference right after it; skipped if `Unmeasurable`."""
    try:
        return _measured(measure, repeats, progress)
    except Unmeasurable as exc:
        return Skipped(measure.name, str(exc))


def _measured(measure: Measure, repeats: int, progress: Progress) -> Result:
    samples: list[tuple[float, float]] = []
    measure.progress = progress
    try:
        progress(f"{measure.name}: preparing")
        measure.setup()
        count = repeats * measure.samples_a_repeat
        for n in range(-measure.warm_ups, count):
            progress(f"{measure.name}: {'warming up' if n < 0 else f'{n + 1} of {count}'}")
            pair = measure.ours(), measure.reference()
            if n >= 0:
                samples.append(pair)
        details = measure.details()
    finally:
        measure.teardown()
    ratios = [ours / reference for ours, reference in samples]
    return Result(
        measure=measure.name,
        about=measure.about,
        unit=measure.unit,
        ours=quantile([ours for ours, _ in samples], measure.quantile),
        reference=quantile([reference for _, reference in samples], measure.quantile),
        spread=(min(ratios), max(ratios)),
        target=measure.target,
        direction=measure.direction,
        repeats=count,
        details=details,
    )


def quantile(samples: Sequence[float], share: float) -> float:
    """The value that `share` of the samples do not exceed, between neighbours in proportion; 0.5 is the median."""
    ordered = sorted(samples)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call; the garbage of what ran before is collected first."""
    gc.collect()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


class Stages:
    """Medians of named parts of a measure, gathered over its samples."""

    def __init__(self) -> None:
        """Start with nothing gathered."""
        self._samples: dict[str, list[float]] = {}

    def add(self, parts: Mapping[str, float]) -> None:
        """Note one sample's parts."""
        for name, value in parts.items():
            self._samples.setdefault(name, []).append(value)

    def medians(self) -> dict[str, float]:
        """The median of each part, in the order first seen."""
        return {name: statistics.median(values) for name, values in self._samples.items()}
