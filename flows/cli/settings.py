"""`settings`: every setting, its value and where that came from; and the page docs/settings.md."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from flows.cli.app import LOOK, AsJson, command
from flows.cli.console import out, print_json

if TYPE_CHECKING:
    from storage.settings import Settings


@command(LOOK, "warmbars settings", "warmbars settings --json")
def settings(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the reference of all settings (docs/settings.md).")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the settings in force and where each came from: environment, warmbars.toml or default."""
    from flows.cli.settings_page import settings_markdown
    from storage.settings import load_settings, origin

    if markdown:
        typer.echo(settings_markdown(), nl=False)
        return
    in_force = load_settings()
    told = {name: {"value": shown(in_force, name), "from": origin(name)} for name in type(in_force).model_fields}
    if as_json:
        print_json(told)
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("setting", "value", "from"):
        table.add_column(column)
    for name, line in told.items():
        default = line["from"] == "default"
        table.add_row(name, Text(_short(line["value"])), line["from"], style="dim" if default else "bold")
    out().print(table)


def shown(in_force: "Settings", name: str) -> Any:
    """A setting's value in plain types, passwords masked."""
    value = in_force.model_dump(mode="json")[name]
    if name.endswith("_url") and value is not None:
        from storage.embedded import masked

        return masked(getattr(in_force, name).get_secret_value())
    return value


def _short(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict):
        return ", ".join(f"{key}={_short(item)}" for key, item in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return str(value)
