"""`flow`: the same steps under Prefect, which is imported only when it runs."""

from typing import Annotated

import typer
from rich.markup import escape

from flows.cli.app import FLOWS, app, command
from flows.cli.console import out
from flows.cli.edge import Group

flow = typer.Typer(cls=Group, help="The pipeline under Prefect: schedules, retries, a UI.", no_args_is_help=True)
app.add_typer(flow, name="flow", rich_help_panel=FLOWS)


@command(FLOWS, "warmbars flow serve", "warmbars flow serve --port 4300", on=flow)
def serve(
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the server; 4200 or a free one when left out.")
    ] = None,
) -> None:
    """Execute the schedules of prefect.yaml until Ctrl-C, and print where the UI is.

    A Prefect server is started beside the data, with its database in the same PostgreSQL; with PREFECT_API_URL set,
    that server is used. To keep things warm with no Prefect at all, see [bold]warmbars run --every 60s[/].
    """
    from flows import serve as serving
    from storage.settings import load_settings

    raise typer.Exit(serving.serve(load_settings(), port=port, report=lambda text: out().print(escape(text))))


@flow.callback()
def _group() -> None:
    """A group also while it has one command."""
