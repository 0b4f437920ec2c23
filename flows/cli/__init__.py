"""The command line. `main` is the program."""

from importlib import import_module
from importlib.util import find_spec

from flows.cli import pipeline, run, servers, settings, show, status
from flows.cli.app import app

__all__ = ["app", "main", "pipeline", "run", "servers", "settings", "show", "status"]

if find_spec("flows.flow_cli") is not None:  # the Prefect commands; their module imports Prefect only when one runs
    app.add_typer(import_module("flows.flow_cli").app, name="flow")


def main() -> None:
    """Run the command that was typed."""
    app()
