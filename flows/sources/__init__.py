"""Where raw rows come from. Every source hands over batches in the raw schemas; `steps` ingests them."""

from flows.sources.base import REFUSED, Batch, Failure, Markets, Mode, Origin, Source, refuse
from flows.sources.files import FileSource
from flows.sources.simulated import SimulatedSource, Wrongs
from storage.settings import SourceSettings

__all__ = [
    "REFUSED",
    "Batch",
    "Failure",
    "FileSource",
    "Markets",
    "Mode",
    "Origin",
    "SimulatedSource",
    "Source",
    "Wrongs",
    "open_source",
    "refuse",
]


def open_source(name: str, settings: SourceSettings, markets: Markets) -> Source:
    """The source a configuration describes."""
    kind = SimulatedSource if settings.kind == "simulated" else FileSource
    return kind(name, settings, markets)
