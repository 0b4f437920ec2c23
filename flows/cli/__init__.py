"""The command line. `main` is the program."""

# The order in the help.
# isort: off
from flows.cli import pipeline, run, forecast
from flows.cli import delete, symbol, retention
from flows.cli import show, status, gaps, quality, verify, explain, compute, indicators, settings, flow, servers

# isort: on
from flows.cli.app import app

__all__ = [
    "app",
    "delete",
    "compute",
    "explain",
    "flow",
    "forecast",
    "gaps",
    "indicators",
    "main",
    "pipeline",
    "quality",
    "retention",
    "run",
    "servers",
    "settings",
    "show",
    "status",
    "symbol",
    "verify",
]


def main() -> None:
    """Run the command that was typed."""
    app()
