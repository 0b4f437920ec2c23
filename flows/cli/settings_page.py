"""The page docs/settings.md, made from the settings themselves."""

import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from storage.settings import CONFIG_FILE, Settings, SourceSettings

_WORDS: Final[dict[type, str]] = {
    bool: "`true`, `false`",
    int: "integer",
    float: "number",
    str: "text",
    Path: "path",
    SecretStr: "URL",
    date: "date",
    timedelta: "duration: seconds, or ISO 8601 (`PT2M`)",
}
_INTRODUCTION: Final = f"""\
# Settings

Made by `warmbars settings --markdown`; a test keeps it so. What is in force, and where each value came from, is shown
by `warmbars settings`.

A setting is read from the environment variable `WARMBARS_` and its name in capitals, else from `{CONFIG_FILE}` in the
working directory, else it has its default. In the environment, lists and tables are written as JSON.

```sh
export WARMBARS_MARKET=XKRX WARMBARS_INTERVALS='["5m", "1d"]'
```

```toml
# {CONFIG_FILE}
market = "XKRX"
intervals = ["5m", "1d"]

[sources.vendor]
path = "/data/vendor/*.parquet"
dataset = "bars"
columns = {{ "Adj Close" = "adjusted_close" }}
```

## All settings
"""


def settings_markdown() -> str:
    """The whole page."""
    sources = "\n## Sources\n\nKeys of each `[sources.NAME]`; the name is what `warmbars run NAME` takes.\n"
    parts = [_INTRODUCTION, *_table(Settings), sources, *_table(SourceSettings)]
    return "\n".join(parts) + "\n"


def _table(model: type[BaseModel]) -> Iterator[str]:
    yield "| name | accepts | default | meaning |"
    yield "|---|---|---|---|"
    for name, field in model.model_fields.items():
        cells = (f"`{name}`", accepts(field), _default(field), field.description or "")
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def accepts(field: FieldInfo) -> str:
    """What a setting may be, in words."""
    words = _kind(field.annotation)
    bounds = [
        f"{sign} {getattr(rule, bound):,}"
        for rule in field.metadata
        for bound, sign in (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤"))
        if getattr(rule, bound, None) is not None
    ]
    patterns = [f"`{rule.pattern}`" for rule in field.metadata if getattr(rule, "pattern", None)]
    return ", ".join([words, *bounds, *patterns])


def _kind(annotation: Any) -> str:
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(inside[0])
    if origin in (Union, UnionType):
        return " or ".join(_kind(kind) for kind in inside if kind is not NoneType)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inside)
    if origin is tuple:
        return f"list of {_kind(inside[0])}"
    if origin is dict:
        return f"table of {_kind(inside[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "sources, see below"
    return _WORDS[annotation]


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None:
        return ""
    if isinstance(value, dict):
        parts = (f"{key} = {json.dumps(_plain(item))}" for key, item in value.items())
        return f"`{{ {', '.join(parts)} }}`" if value else "`{}`"
    return f"`{json.dumps(_plain(value))}`"


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_unset=True)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, int | float | str | bool) else str(value)
