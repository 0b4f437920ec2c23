"""Ours beside a peer or a physical limit, in the same run: a machine's speed drifts, the ratio of neighbours less."""

import gc
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
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
    """What one measure gave: medians of both sides, and the lowest and highest ratio of neighbouring samples."""

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
        """Median of ours over median of the reference."""
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
    try:
        progress(f"{measure.name}: preparing")
        measure.setup()
        for n in range(-measure.warm_ups, repeats):
            progress(f"{measure.name}: {'warming up' if n < 0 else f'{n + 1} of {repeats}'}")
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
        ours=statistics.median(ours for ours, _ in samples),
        reference=statistics.median(reference for _, reference in samples),
        spread=(min(ratios), max(ratios)),
        target=measure.target,
        direction=measure.direction,
        repeats=repeats,
        details=details,
    )


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
