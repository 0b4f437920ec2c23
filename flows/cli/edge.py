"""The edge of the program: options every command has, and errors turned into messages and exit codes."""

import logging
from typing import Any

import typer
from typer.core import TyperGroup

from flows.cli.console import complain
from transforms.errors import PipelineError

DEBUG = "--debug"


class Group(TyperGroup):
    """Commands that start quickly."""

    def get_help_option(self, ctx: Any) -> Any:
        """The help option, off unless given: Typer imports pydantic to make nothing of the None it has."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.default = False
        return option


class Edge(Group):
    """Prints what we raise on purpose without a traceback (exit code 1), and takes `--debug` anywhere."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Bring `--debug` to the front, where it is declared."""
        own = args[: args.index("--")] if "--" in args else args
        if DEBUG in own:
            args = [DEBUG, *(arg for arg in own if arg != DEBUG), *args[len(own) :]]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; with `--debug` errors keep their traceback, and log messages are shown."""
        if ctx.params.get("debug"):
            logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
            return super().invoke(ctx)
        try:
            return super().invoke(ctx)
        except PipelineError as exc:
            complain(str(exc))
            raise typer.Exit(1) from exc
