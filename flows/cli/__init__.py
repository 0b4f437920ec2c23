"""The command line. `main` is the program."""

# The order in the help.
# isort: off
from flows.cli import pipeline, run, forecast
from flows.cli import show, status, gaps, quality, indicators, settings, flow, servers

# isort: on
from flows.cli.app import app

__all__ = [
    "app",
    "flow",
    "forecast",
    "gaps",
    "indicators",
    "main",
    "pipeline",
    "quality",
    "run",
    "servers",
    "settings",
    "show",
    "status",
]


def main() -> None:
    """Run the command that was typed."""
    app()
