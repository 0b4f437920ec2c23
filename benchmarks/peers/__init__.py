"""Somebody else's way to the same numbers, one file a peer; a peer that is not installed is reported, never faked."""

from importlib import import_module
from typing import Any

from benchmarks.harness import Unmeasurable

HOW = "`make bench-env` installs it, then run .venv-bench/bin/python -m benchmarks transforms"


def installed(module: str) -> Any:
    """The peer's module; `Unmeasurable` says how to get it."""
    try:
        return import_module(module)
    except ImportError as exc:
        raise Unmeasurable(f"{module} cannot be imported here ({exc}); {HOW}") from exc
