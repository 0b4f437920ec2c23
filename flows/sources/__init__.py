"""Where raw rows come from. Every source hands over batches in the raw schemas; `steps` ingests them."""

from flows.sources.base import REFUSED, Batch, Failure, Markets, Mode, Origin, Source, refuse
from flows.sources.files import FileSource

__all__ = [
    "REFUSED",
    "Batch",
    "Failure",
    "FileSource",
    "Markets",
    "Mode",
    "Origin",
    "Source",
    "refuse",
]
