"""Holds every version that can be seen, in the database and in the cache, against those that were seen before."""

from dataclasses import dataclass, field
from typing import Any

from flows.wiring import Deps
from storage.cache.entries import Head


@dataclass
class Watch:
    """Looks at what is visible and holds every version against those before it."""

    deps: Deps
    newest: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    contents: dict[tuple[str, object], object] = field(default_factory=dict)

    def look(self) -> None:
        with self.deps.database.transaction() as connection:
            rows = connection.execute(
                "SELECT symbol, epoch, version, as_of, published_epoch, published_version FROM publications"
            ).fetchall()
        for symbol, epoch, version, as_of, sent_epoch, sent_version in rows:
            self._grows(f"version of {symbol}", (epoch, version))
            self._grows(f"as-of of {symbol}", (as_of,))
            self._grows(f"sent of {symbol}", (sent_epoch, sent_version))
            assert (sent_epoch, sent_version) <= (epoch, version)
            self._cached(symbol, (sent_epoch, sent_version))

    def _cached(self, symbol: str, sent: tuple[int, int]) -> None:
        head = self.deps.reader().head(symbol)
        assert sent == (0, 0) or (head is not None and head.version >= sent), f"{symbol} is said to be sent"
        if head is not None:
            self._grows(f"head of {symbol}", head.version)
            self._same(symbol, head)
            for name, listed in head.listed.items():
                self._grows(f"{name} of {symbol}", listed.version)

    def _grows(self, what: str, version: tuple[Any, ...]) -> None:
        assert self.newest.get(what, version) <= version, f"{what} fell to {version} from {self.newest[what]}"
        self.newest[what] = version

    def _same(self, symbol: str, head: Head) -> None:
        content = {name: listed.etag for name, listed in head.listed.items()}
        assert self.contents.setdefault((symbol, head.version), content) == content
