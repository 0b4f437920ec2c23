"""Where a command speaks: answers on stdout, everything else on stderr, nothing moving unless somebody watches."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

Say = Callable[[str], None]


def out() -> Console:
    """Where the answer goes."""
    return Console(highlight=False)


def err() -> Console:
    """Where messages go."""
    return Console(stderr=True, highlight=False)


def colored(console: Console) -> bool:
    """Whether colours will be seen; drawings that need them say it in another way without."""
    return console.color_system is not None and not console.no_color


def complain(message: str) -> None:
    """An error, in the words of whoever raised it."""
    err().print(f"[bold red]error[/] {escape(message)}", soft_wrap=True)


def warn(message: str) -> None:
    """Something to know that is no error."""
    err().print(f"[bold yellow]note[/] {escape(message)}", soft_wrap=True)


def print_json(value: Any, *, lines: bool = False) -> None:
    """One JSON document on stdout, in one line if there are more to come; instants in RFC 3339."""
    json.dump(value, sys.stdout, indent=None if lines else 2, default=_plain, ensure_ascii=False)
    sys.stdout.write("\n")
    sys.stdout.flush()


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, set | frozenset):
        return sorted(value)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


@contextmanager
def working(doing: str) -> Iterator[Say]:
    """Show what is being done while it is, on a terminal; the caller says what it is at now."""
    console = err()
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status(escape(doing), spinner="dots") as status:
        yield lambda text: status.update(escape(text))


def program() -> str:
    """How the user can call this program again: by name if the shell finds this one, else by the path used."""
    called = Path(sys.argv[0])
    found = shutil.which("warmbars")
    if called.stem != "warmbars" or (found and Path(found).resolve() == called.resolve()):
        return "warmbars"
    near = called.absolute()
    return str(near.relative_to(Path.cwd())) if near.is_relative_to(Path.cwd()) else str(near)
