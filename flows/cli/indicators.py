"""`indicators`: what the catalogue offers; and the page docs/indicators.md."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from flows.cli.app import LOOK, AsJson, command
from flows.cli.console import out, print_json


@command(LOOK, "warmbars indicators", "warmbars indicators macd", "warmbars indicators --json")
def indicators(
    word: Annotated[str, typer.Argument(help="Only those whose name contains this.", show_default=False)] = "",
    markdown: Annotated[
        Path | None,
        typer.Option(metavar="DIRECTORY", help="Write the reference, indicators.md and its pictures, there."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the indicators by name, with what they are and how many rows they need.

    Every other parameter may be asked for too: sma_10, macd_5_35_5, bollinger_20_2.5. The setting
    [bold]indicators[/] says which are kept.
    """
    from flows.indicator_page import rows, write
    from transforms.errors import UnknownIndicator

    if markdown is not None:
        files = write(markdown)
        typer.echo(f"wrote {files[0]} and {len(files) - 1} pictures")
        return
    found = [row for row in rows() if word in str(row["name"])]
    if not found:
        raise UnknownIndicator(f"no indicator's name contains {word!r}; warmbars indicators lists all")
    if as_json:
        print_json(found)
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("name", no_wrap=True)
    table.add_column("rows", justify="right")
    table.add_column("what it is")
    for row in found:
        table.add_row(str(row["name"]), str(row["lookback"]), str(row["about"]))
    out().print(table)
