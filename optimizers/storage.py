"""Where studies and queues live: a journal file, a database or a gRPC proxy, as Optuna has them."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillroom.errors import BadConfig, RunError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

__all__ = ["finished_error", "open_storage"]

FORMS = "postgresql://..., mysql://..., sqlite:///FILE, grpc://HOST:PORT, or nothing for a journal file"
PATIENCE = 30.0  # seconds a gRPC proxy may take to answer


def open_storage(spec: str | None, journal: Path) -> BaseStorage:
    """Open an Optuna storage.

    Args:
        spec: A database URL as SQLAlchemy takes it, or `grpc://HOST:PORT` of
            `optuna.storages.run_grpc_proxy_server`; `None` for the journal file.
        journal: The file; its folder is made when missing.

    Raises:
        BadConfig: If `spec` is no such address, or its driver is not installed.
        RunError: If nothing answers there, or the journal cannot be written.
    """
    if spec is None:
        return _journal(journal)
    scheme, found, rest = spec.partition("://")
    if not found:
        raise BadConfig(f"a storage must be an address, got {spec!r}", mend=f"Give {FORMS}.")
    return _grpc(rest) if scheme == "grpc" else _database(spec, scheme)


def finished_error() -> type[Exception]:
    """What a storage raises when a trial was ended by somebody else."""
    from optuna.exceptions import UpdateFinishedTrialError

    return UpdateFinishedTrialError  # type: ignore[no-any-return]


def _journal(path: Path) -> BaseStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

    class Lock(JournalFileSymlinkLock):
        """Optuna's lock; whoever takes it cuts off the half line that a killed writer left behind."""

        def acquire(self) -> bool:
            taken = bool(super().acquire())
            with path.open("rb+") as file:
                _cut_torn_line(file)
            return taken

    # absolute: the lock is a link to the file, and its age is read through the link
    path = path.absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(path), lock_obj=Lock(str(path))))
    except OSError as error:
        raise RunError(
            f"a folder for a study must be writable, got {path.parent} ({error.strerror})",
            mend="Choose another folder.",
        ) from error


def _cut_torn_line(file: Any) -> None:
    size = file.seek(0, os.SEEK_END)
    if not size:
        return
    file.seek(-1, os.SEEK_END)
    if file.read(1) == b"\n":
        return
    file.seek(0)
    whole = file.read().rfind(b"\n") + 1
    file.truncate(whole)


def _grpc(rest: str) -> BaseStorage:
    from optuna.exceptions import ExperimentalWarning
    from optuna.storages import GrpcStorageProxy

    host, _, port = rest.rpartition(":")
    if not host or not port.isdigit():
        raise BadConfig(f"a gRPC storage must be grpc://HOST:PORT, got {'grpc://' + rest!r}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            proxy = GrpcStorageProxy(host=host, port=int(port))
    except ImportError as error:
        raise BadConfig(
            "grpc:// needs the package grpcio, got none installed", mend="pip install 'stillroom[grpc]'"
        ) from error
    try:
        proxy.wait_server_ready(timeout=PATIENCE)
    except Exception as error:  # grpc's own tree, which may not be imported here
        raise RunError(f"a gRPC storage must answer within {PATIENCE:.0f} s, got nothing from {host}:{port}") from error
    return proxy


def _database(spec: str, scheme: str) -> BaseStorage:
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError

    try:
        return RDBStorage(spec)
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        # never the address itself: it may hold a password
        raise BadConfig(
            f"a storage must be an address that SQLAlchemy knows, got {scheme}://...", mend=f"Give {FORMS}."
        ) from error
    except ImportError as error:
        driver = getattr(error.__cause__, "name", None) or "a driver that SQLAlchemy knows"
        raise BadConfig(f"{scheme}:// needs its driver, got {driver} missing", mend=f"Install {driver}.") from error
    except OperationalError as error:
        raise RunError(
            f"the database of a study must be reachable, got {type(error.orig).__name__} from {scheme}://..."
        ) from error
