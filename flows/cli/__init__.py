"""The command line. `main` is the program."""

from flows.cli import pipeline, run, show, status, settings, flow, servers  # isort: skip  (the order in the help)
from flows.cli.app import app

__all__ = ["app", "flow", "main", "pipeline", "run", "servers", "settings", "show", "status"]


def main() -> None:
    """Run the command that was typed."""
    app()
