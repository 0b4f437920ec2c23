"""`settings`: every setting, its value and where that came from; and the page docs/settings.md."""

import os
import tomllib
from pathlib import Path
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
    from storage.settings import load_settings

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


def origin(name: str) -> str:
    """`environment`, the file's name, or `default`."""
    from storage.settings import CONFIG_FILE

    variable = f"WARMBARS_{name.upper()}"
    if any(key.upper() == variable or key.upper().startswith(f"{variable}__") for key in os.environ):
        return "environment"
    file = Path(CONFIG_FILE)
    in_file = file.is_file() and name in tomllib.loads(file.read_text(encoding="utf-8"))
    return CONFIG_FILE if in_file else "default"


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
