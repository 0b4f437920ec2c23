"""The server-side functions of `library.lua`, and how they get onto a server."""

import re
from importlib.resources import files
from typing import Any, Final

import redis

from storage.cache.errors import cache_errors
from transforms.errors import ConfigurationError

NAME: Final = "warmbars"
CODE: Final = files(__package__).joinpath("library.lua").read_text(encoding="utf-8")


def library_version(code: str) -> int:
    """The number in the library's second line; 0 for a library without one."""
    found = re.match(r"#!lua name=\w+\n-- version (\d+):", code)
    return int(found[1]) if found else 0


VERSION: Final = library_version(CODE)


def ensure_library(client: redis.Redis) -> bool:
    """Load the functions unless the server has these or later ones; True if they were loaded.

    A later library is left alone: within a contract number functions stay compatible, and two releases
    running side by side must not replace each other's for ever.
    """
    with cache_errors("loading the cache functions"):
        try:
            libraries = client.function_list(NAME, withcode=True)
        except redis.ResponseError as exc:
            if "unknown command" in str(exc).lower():
                raise ConfigurationError(_too_old(client)) from exc
            raise
        if libraries and not _outdated(_code_of(libraries[0])):
            return False
        client.function_load(CODE, replace=True)
    return True


def library_missing(error: object) -> bool:
    """Whether a reply says that the server lost the functions (a flush, a replica promoted without them)."""
    return isinstance(error, redis.ResponseError) and "Function not found" in str(error)


def _outdated(code: str) -> bool:
    return library_version(code) < VERSION or (library_version(code) == VERSION and code != CODE)


def _code_of(library: Any) -> str:
    """`library_code` of one entry of FUNCTION LIST, a map or a flat list by protocol."""
    fields = library if isinstance(library, dict) else dict(zip(library[::2], library[1::2], strict=True))
    code = fields.get(b"library_code", b"")
    return str(code.decode() if isinstance(code, bytes) else code)


def _too_old(client: redis.Redis) -> str:
    version = client.info("server").get("redis_version", "unknown")
    return f"the cache server is version {version} and has no functions; use Redis 7 or newer, or Valkey"
