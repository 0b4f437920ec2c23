"""`up`, `down`, `init`: the servers behind everything else."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from flows.cli.app import SERVERS, AsJson, command
from flows.cli.console import out, print_json, warn, working
from transforms.errors import ConfigurationError

if TYPE_CHECKING:
    from storage.embedded import Servers

_URLS = {
    "database_url": "PostgreSQL, to read and write",
    "reader_url": "PostgreSQL, to read",
    "owner_url": "PostgreSQL, to migrate",
    "redis_url": "Valkey, to read and write",
    "redis_reader_url": "Valkey, to read",
}


@command(SERVERS, "warmbars up", "warmbars up --show-passwords --json")
def up(
    show_passwords: Annotated[
        bool, typer.Option("--show-passwords", help="Print the URLs whole, passwords and all.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Start the embedded PostgreSQL and Valkey, and keep them until [bold]down[/].

    Other commands start and stop them as they need; after [bold]up[/] your own programs can use them too.
    """
    from storage import embedded
    from storage.settings import load_settings

    settings = load_settings()
    if settings.database_url and settings.redis_url:
        raise ConfigurationError("both servers are your own (database_url, redis_url); there is nothing to start")
    with working("starting the servers") as say:
        servers = embedded.up(settings.home, report=say)
    shown = _urls(servers, whole=show_passwords)
    if as_json:
        print_json({**shown, "home": str(servers.home), "pids": _pids(servers)})
        return
    for name, what in _URLS.items():
        out().print(f"{what:<31}[cyan]{escape(shown[name])}[/]", soft_wrap=True)
    if not show_passwords:
        out().print(
            f"Passwords: {servers.home / 'secrets.json'}, or warmbars up --show-passwords", style="dim", soft_wrap=True
        )
    out().print("Running until: warmbars down", style="dim")


def _urls(servers: "Servers", *, whole: bool) -> dict[str, str]:
    from storage.embedded import masked

    values: dict[str, Any] = asdict(servers)
    return {name: str(values[name]) if whole else masked(str(values[name])) for name in _URLS}


def _pids(servers: "Servers") -> dict[str, int]:
    return {
        "supervisor": servers.supervisor_pid,
        "postgres": servers.postgres_pid,
        "valkey": servers.redis_pid,
    }


@command(SERVERS, "warmbars down")
def down(as_json: AsJson = False) -> None:
    """Stop what [bold]up[/] started. Data stays; whoever still uses the servers keeps them (exit code 1)."""
    from storage import embedded
    from storage.settings import load_settings

    settings = load_settings()
    with working("stopping the servers"):
        stopped = embedded.down(settings.home)
    if as_json:
        print_json({"stopped": stopped, "home": str(settings.home.absolute())})
    elif stopped:
        out().print("The servers are stopped.")
    if not stopped:
        warn("another program still uses the servers; they stop soon after it is done")
        raise typer.Exit(1)


@command(SERVERS, "warmbars init", "warmbars init --restored", "warmbars init --revision base")
def init(
    revision: Annotated[
        str, typer.Option(help="Schema revision to go to; [bold]base[/] goes back, on an empty database only.")
    ] = "head",
    restored: Annotated[
        bool,
        typer.Option(
            "--restored",
            help="The database was put back to an earlier moment: publish everything again, over what the cache has.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the database to the schema of this version.

    The embedded database is set up by itself; your own (WARMBARS_DATABASE_URL) needs this once a version. After a
    restore in place, stop every other program of ours, then run it with [bold]--restored[/]. A database restored
    elsewhere is recognised by itself.
    """
    with working("starting") as say:
        from alembic.util import CommandError

        from flows.wiring import addresses, initialise
        from storage.market.database import Database
        from storage.market.schema import REVISION, raise_epoch
        from storage.settings import load_settings

        settings = load_settings()
        if restored and revision != "head":
            raise ConfigurationError("--restored is for the newest schema; leave out --revision")
        with addresses(settings, say) as where:
            say("migrating")
            try:
                before, after = initialise(settings, where, revision)
            except CommandError as exc:
                raise ConfigurationError(f"--revision {revision}: {exc}; head, base and {REVISION} are known") from exc
            if restored:
                with Database(where.owner_url, settings) as owner:
                    epoch = raise_epoch(owner)
    if as_json:
        print_json({"before": before, "after": after, **({"epoch": epoch} if restored else {})})
    elif before == after:
        out().print(f"The schema is at revision {after or 'base (nothing)'} already.")
    else:
        out().print(f"The schema went from revision {before or 'base (nothing)'} to {after or 'base (nothing)'}.")
    if restored and not as_json:
        out().print(f"Versions are of epoch {epoch} from now on; warmbars run publishes everything again.")
