"""From what the settings say of a source to the source itself."""

from collections.abc import Iterable
from datetime import datetime
from functools import cache

from flows.sources import Markets, Source, open_source
from flows.wiring import Deps
from storage.settings import SourceSettings
from transforms.errors import ConfigurationError

Named = tuple[str, SourceSettings]


def sources_of(deps: Deps, named: Iterable[Named], as_of: datetime) -> list[Source]:
    """The sources of these names and settings, on the stored calendars."""
    markets = stored_markets(deps, as_of)
    return [open_source(name, settings, markets) for name, settings in named]


def configured(deps: Deps, names: Iterable[str] = ()) -> list[Named]:
    """The configured sources of these names, all when none is named."""
    known = deps.settings.sources
    wanted = list(names) or list(known)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ConfigurationError(
            f"no source is called {', '.join(unknown)}; configured are: {', '.join(known) or 'none'} "
            "([sources.NAME] in warmbars.toml)"
        )
    return [(name, known[name]) for name in wanted]


def stored_markets(deps: Deps, as_of: datetime) -> Markets:
    """What the database knows of exchanges and of whose symbols are on which; the settings' word goes first."""
    named, calendars, today = deps.settings.markets, deps.calendars, as_of.date()
    stored = cache(calendars.market_of)
    return Markets(
        deps.settings.market,
        market_of=lambda symbol: named.get(symbol) or stored(symbol),
        sessions_of=lambda market: calendars.hours(market, today).sessions,
        time_zone_of=lambda market: calendars.hours(market, today).time_zone,
    )
