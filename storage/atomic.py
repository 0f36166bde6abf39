"""Publishing bytes under a name so that nobody ever sees half of them.

On a local filesystem: a temporary file in the same directory, written and synced, then given its name by an
exclusive hard link (POSIX rename would silently overwrite) or, where replacing is meant, by a rename; then
the directory is synced. A crash leaves at most a temporary file, which :meth:`Files.sweep` removes.

On any other fsspec filesystem an object is put whole. There, "exclusive" is a look followed by a put: two
writers of the same name at the same moment may both succeed. Names of parts are derived from what they hold,
so such writers hold the same rows; and readers take every attempt once.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import socket
import stat
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, cast

import fsspec
import pyarrow as pa

from banzuke.errors import GameAlreadyRecordedError, StorageError
from storage.locks import LOCK_NAME, is_alive, is_held, release, remove_if_free, take

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import BinaryIO

TEMPORARY_PREFIX = "."
SHOWN = "shown"
"""The kind of temporary file in which a process shows others what it is doing."""
ABANDONED_AFTER_SECONDS = 3600.0
"""No write takes so long; what is older was left behind by a process that nobody here can ask about."""
RENEWED_EVERY_SECONDS = 20.0
"""How often the holder of a lock that no kernel keeps says that it is still there."""
LEASE_SECONDS = 90.0
"""A holder that has said nothing for so long is gone."""
_REREAD_SECONDS = 0.01
"""Some filesystems empty a file before they fill it."""

_MOST_TRIES = 10
"""Somebody may remove an empty folder of his between our making it and our using it."""

_NO_HARD_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTSUP})


class Files(Protocol):
    """Named files below a root. Names are relative, with ``/``; a folder is there with its first file."""

    def place(self, name: str) -> str:
        """The name as a person would look for it."""

    def publish(self, name: str, payload: bytes, *, replace: bool = False) -> None:
        """Make ``payload`` appear under ``name``, whole and durable, or not at all.

        Raises:
            GameAlreadyRecordedError: the name is taken and ``replace`` is not asked for.
            StorageError: it cannot be written; one line naming the file.
        """

    def read(self, name: str) -> bytes:
        """Everything in the file.

        Raises:
            FileNotFoundError: there is no such file.
            StorageError: it cannot be read.
        """

    def open(self, name: str) -> pa.NativeFile | BinaryIO:
        """The file, to be read at any position and closed by the caller. Raises as :meth:`read` does."""

    def exists(self, name: str) -> bool:
        """Whether there is a file of that name."""

    def files(self, folder: str) -> list[str]:
        """The plain names of the folder's files, sorted, without temporary ones; none without the folder."""

    def folders(self, folder: str) -> list[str]:
        """The plain names of the folders in it, sorted."""

    def delete(self, name: str) -> None:
        """Remove the file if it is there."""

    def move(self, name: str, target: str) -> None:
        """Give the file another name; done twice, or after half of it was done, it does no harm.

        Raises:
            FileNotFoundError: there is no such file.
            GameAlreadyRecordedError: the target is taken by another file.
            StorageError: it cannot be moved.
        """

    def sweep(self, folder: str) -> None:
        """Remove, in the folder and below it, temporary files whose writer is gone and locks nobody holds.

        What cannot be looked at or removed (a read-only store) stays, without an error.
        """

    @contextmanager
    def exclusive(self, name: str, note: Mapping[str, Any] | None = None) -> Iterator[bool]:
        """Hold the lock ``name``; False, at once, if somebody else does.

        The file is there only while it is held, with the note for whoever looks. Its name is one that
        :data:`storage.locks.LOCK_NAME` knows.

        Raises:
            StorageError: it cannot be made, or the filesystem knows no locks.
        """

    def held_locks(self, folder: str, like: re.Pattern[str] = LOCK_NAME) -> list[str]:
        """The plain names of the locks in the folder that somebody holds, sorted; of those whose name is like that."""


def open_files(uri: str) -> Files:
    """The files below a local path or any fsspec URL.

    Raises:
        StorageError: the URL is of no known kind, or what it needs is not installed.
    """
    if not uri:
        raise StorageError("the store's address is empty")
    if "\0" in uri:
        raise StorageError(f"{uri!a}: no address has a NUL in it")
    try:
        filesystem, root = fsspec.core.url_to_fs(uri)
    except (ValueError, ImportError, OSError) as error:
        raise StorageError(f"{uri}: {_one_line(error)}") from error
    if "file" in _protocols(filesystem):
        return LocalFiles(Path(root))
    return RemoteFiles(filesystem, root.rstrip("/"))


class LocalFiles:
    """Files in a directory of this machine (or one mounted on it)."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def place(self, name: str) -> str:
        """The path."""
        return str(self._root / name)

    def publish(self, name: str, payload: bytes, *, replace: bool = False) -> None:
        """See :meth:`Files.publish`."""
        path = self._root / name
        try:
            for remaining in reversed(range(_MOST_TRIES)):
                try:
                    self._publish(path, payload, replace=replace)
                except FileNotFoundError:
                    # Whoever made the folder for a lock has removed it between our making sure of it and our using it.
                    if not remaining:
                        raise
                else:
                    return
        except OSError as error:
            raise _cannot("write", path, error) from error

    def _publish(self, path: Path, payload: bytes, *, replace: bool) -> None:
        _make_folder(path.parent)
        temporary = path.with_name(temporary_name())
        try:
            _write_durably(temporary, payload)
            if replace:
                temporary.replace(path)
            else:
                _link_exclusively(temporary, path)
        finally:
            # Also on Ctrl-C; a SIGKILL leaves the file to sweep().
            with suppress(OSError):
                temporary.unlink()
        _sync_folder(path.parent)

    def read(self, name: str) -> bytes:
        """See :meth:`Files.read`."""
        path = self._root / name
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _cannot("read", path, error) from error

    def open(self, name: str) -> pa.NativeFile:
        """See :meth:`Files.open`."""
        path = self._root / name
        try:
            return pa.OSFile(str(path), mode="r")
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _cannot("read", path, error) from error

    def exists(self, name: str) -> bool:
        """See :meth:`Files.exists`."""
        path = self._root / name
        try:
            return path.is_file()
        except OSError as error:
            raise _cannot("look for", path, error) from error

    def files(self, folder: str) -> list[str]:
        """See :meth:`Files.files`."""
        return sorted(
            entry.name
            for entry in self._entries(folder)
            if not entry.name.startswith(TEMPORARY_PREFIX) and entry.is_file()
        )

    def folders(self, folder: str) -> list[str]:
        """See :meth:`Files.folders`."""
        return sorted(entry.name for entry in self._entries(folder) if entry.is_dir())

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        path = self._root / folder
        try:
            with os.scandir(path) as entries:
                return list(entries)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _cannot("list", path, error) from error

    def delete(self, name: str) -> None:
        """See :meth:`Files.delete`."""
        path = self._root / name
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise _cannot("delete", path, error) from error

    def move(self, name: str, target: str) -> None:
        """See :meth:`Files.move`. Needs no room on the disk beyond a name's."""
        path, new = self._root / name, self._root / target
        try:
            _make_folder(new.parent)
            _link_exclusively(path, new)
            path.unlink(missing_ok=True)
            _sync_folder(new.parent)
            _sync_folder(path.parent)
        except FileNotFoundError:
            raise
        except GameAlreadyRecordedError:
            if not _is_same_file(path, new):
                raise
            self.delete(name)
        except OSError as error:
            raise _cannot("move", path, error) from error

    def sweep(self, folder: str) -> None:
        """See :meth:`Files.sweep`. A writer on another machine is given an hour."""
        try:
            entries = self._entries(folder)
        except StorageError:
            return
        for entry in entries:
            with suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    self.sweep(f"{folder}/{entry.name}")
                elif _is_temporary(entry.name) and _is_abandoned(entry):
                    Path(entry.path).unlink()
                elif LOCK_NAME.fullmatch(entry.name):
                    remove_if_free(Path(entry.path))

    @contextmanager
    def exclusive(self, name: str, note: Mapping[str, Any] | None = None) -> Iterator[bool]:
        """See :meth:`Files.exclusive`. The kernel lets go of the lock when its holder dies."""
        path = self._root / name
        made: list[Path] = []
        descriptor = None
        try:
            for remaining in reversed(range(_MOST_TRIES)):
                try:
                    made = [*made, *_make_folder(path.parent)]
                    descriptor = take(path, note or {})
                    break
                except FileNotFoundError:
                    # See publish().
                    if not remaining:
                        raise
        except OSError as error:
            self._remove_empty(path.parent, made)
            raise _cannot("lock", path, error) from error
        try:
            yield descriptor is not None
        finally:
            if descriptor is not None:
                release(path, descriptor)
            self._remove_empty(path.parent, made)

    def held_locks(self, folder: str, like: re.Pattern[str] = LOCK_NAME) -> list[str]:
        """See :meth:`Files.held_locks`."""
        locks = [self._root / folder / entry.name for entry in self._entries(folder) if like.fullmatch(entry.name)]
        try:
            return sorted(path.name for path in locks if is_held(path))
        except OSError as error:
            raise _cannot("look at the locks of", self._root / folder, error) from error

    def _remove_empty(self, folder: Path, made: list[Path]) -> None:
        """A lock's folders go with it, if nothing else has come; the store's own only if the lock made it."""
        with suppress(OSError):
            while folder != self._root:
                folder.rmdir()
                folder = folder.parent
            for above in reversed(made):
                if self._root.is_relative_to(above):
                    above.rmdir()


class RemoteFiles:
    """Objects of an fsspec filesystem, put whole."""

    def __init__(self, filesystem: Any, root: str) -> None:  # noqa: ANN401 - fsspec ships no types
        self._filesystem = filesystem
        self._root = root

    def place(self, name: str) -> str:
        """The URL."""
        return str(self._filesystem.unstrip_protocol(self._path(name)))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def publish(self, name: str, payload: bytes, *, replace: bool = False) -> None:
        """See :meth:`Files.publish`; whole if the filesystem's own put is, exclusive up to a race."""
        path = self._path(name)
        with self._translated("write", name):
            if not replace and self._filesystem.exists(path):
                raise _already_there(self.place(name))
            self._filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._filesystem.pipe_file(path, payload)

    def read(self, name: str) -> bytes:
        """See :meth:`Files.read`."""
        with self._translated("read", name):
            return bytes(self._filesystem.cat_file(self._path(name)))

    def open(self, name: str) -> BinaryIO:
        """See :meth:`Files.open`."""
        with self._translated("read", name):
            opened: BinaryIO = self._filesystem.open(self._path(name), "rb")
        return cast("BinaryIO", _RemoteFile(opened, self.place(name)))

    def exists(self, name: str) -> bool:
        """See :meth:`Files.exists`."""
        with self._translated("read", name):
            return bool(self._filesystem.isfile(self._path(name)))

    def files(self, folder: str) -> list[str]:
        """See :meth:`Files.files`."""
        return [name for name in self._names(folder, "file") if not name.startswith(TEMPORARY_PREFIX)]

    def folders(self, folder: str) -> list[str]:
        """See :meth:`Files.folders`."""
        return self._names(folder, "directory")

    def _names(self, folder: str, kind: str) -> list[str]:
        path = self._path(folder)
        try:
            with self._translated("list", folder):
                # What others have written since counts, whatever this process has listed before.
                self._filesystem.invalidate_cache(path)
                entries = self._filesystem.ls(path, detail=True)
        except FileNotFoundError:
            return []
        names = [entry["name"].rstrip("/").rpartition("/")[2] for entry in entries if entry["type"] == kind]
        return sorted(names)

    def delete(self, name: str) -> None:
        """See :meth:`Files.delete`."""
        with suppress(FileNotFoundError), self._translated("delete", name):
            self._filesystem.rm_file(self._path(name))

    def move(self, name: str, target: str) -> None:
        """See :meth:`Files.move`; a copy, then a deletion."""
        payload = self.read(name)
        try:
            self.publish(target, payload)
        except GameAlreadyRecordedError:
            if self.read(target) != payload:
                raise
        self.delete(name)

    def sweep(self, folder: str) -> None:
        """See :meth:`Files.sweep`. An object is put whole, without a temporary file: here are only locks."""
        path = self._path(folder)
        with suppress(FileNotFoundError, StorageError):
            with self._translated("list", folder):
                self._filesystem.invalidate_cache(path)
                found = self._filesystem.find(path)
            below = len(path.rstrip("/")) + 1
            for name in (f"{folder}/{place[below:]}" for place in found):
                if LOCK_NAME.fullmatch(name.rpartition("/")[2]) and not self._is_held(name):
                    self.delete(name)

    @contextmanager
    def exclusive(self, name: str, note: Mapping[str, Any] | None = None) -> Iterator[bool]:
        """See :meth:`Files.exclusive`. A lease: renewed while it is held, lapsed 90 s after its holder's death.

        Two callers at the same moment may both be let in; what the lock protects must survive that.
        """
        if self._is_held(name):
            yield False
            return
        lease = {**(note or {}), "owner": secrets.token_hex(8)}
        self._renew(name, lease)
        if not self._holds(name, lease):
            yield False
            return
        ended = threading.Event()
        renewing = threading.Thread(target=self._renew_until, args=(ended, name, lease), name="lease", daemon=True)
        renewing.start()
        try:
            yield True
        finally:
            ended.set()
            renewing.join(RENEWED_EVERY_SECONDS)
            # What cannot be removed lapses.
            with suppress(StorageError):
                if self._holds(name, lease):
                    self.delete(name)

    def held_locks(self, folder: str, like: re.Pattern[str] = LOCK_NAME) -> list[str]:
        """See :meth:`Files.held_locks`."""
        names = self._names(folder, "file")
        return [name for name in names if like.fullmatch(name) and self._is_held(f"{folder}/{name}")]

    def _renew_until(self, ended: threading.Event, name: str, lease: Mapping[str, Any]) -> None:
        while not ended.wait(RENEWED_EVERY_SECONDS):
            # One renewal may fail; the next comes long before the lease has lapsed.
            with suppress(StorageError):
                if not self._holds(name, lease):
                    return
                self._renew(name, lease)

    def _renew(self, name: str, lease: Mapping[str, Any]) -> None:
        self.publish(name, json.dumps({**lease, "at": time.time()}).encode(), replace=True)

    def _holds(self, name: str, lease: Mapping[str, Any]) -> bool:
        return bool(self._lease(name).get("owner") == lease["owner"])

    def _is_held(self, name: str) -> bool:
        renewed_at = self._lease(name).get("at")
        if isinstance(renewed_at, bool) or not isinstance(renewed_at, int | float):
            return False
        # Another machine's clock may be before ours or behind.
        return abs(time.time() - renewed_at) < LEASE_SECONDS

    def _lease(self, name: str) -> dict[str, Any]:
        """What the lock says; nothing if it is not there, or says nothing for longer than it takes to write it."""
        for _ in range(_MOST_TRIES):
            try:
                lease = json.loads(self.read(name))
            except FileNotFoundError:
                return {}
            except (ValueError, RecursionError):
                time.sleep(_REREAD_SECONDS)
                continue
            return lease if isinstance(lease, dict) else {}
        return {}

    @contextmanager
    def _translated(self, verb: str, name: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, StorageError):
            raise
        except Exception as error:  # every fsspec backend brings its own client's exceptions
            raise _cannot(verb, self.place(name), error) from error


class _RemoteFile:
    """An open file whose refusals are ours: Arrow would take a network that fails for a file that is damaged."""

    def __init__(self, file: BinaryIO, place: str) -> None:
        self._file = file
        self._place = place

    def read(self, size: int = -1) -> bytes:
        try:
            return self._file.read(size)
        except FileNotFoundError:
            raise
        except Exception as error:  # every fsspec backend brings its own client's exceptions
            raise _cannot("read", self._place, error) from error

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever else a file can do
        return getattr(self._file, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _protocols(filesystem: Any) -> tuple[str, ...]:  # noqa: ANN401 - fsspec ships no types
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


def _make_folder(folder: Path) -> list[Path]:
    """Make it and what is missing above it, durably: a synced file in an unsynced directory can be lost.

    Returns:
        What was missing, the uppermost first.
    """
    missing: list[Path] = []
    while not folder.is_dir():
        missing.insert(0, folder)
        folder = folder.parent
    for made in missing:
        _make_one(made)
        _sync_folder(made.parent)
    return missing


def _make_one(folder: Path) -> None:
    for remaining in reversed(range(_MOST_TRIES)):
        try:
            folder.mkdir()
        except FileNotFoundError as error:
            # What is above it was somebody's for a moment; not so where nothing can be made at all.
            if not remaining:
                raise _cannot("make the folder", folder, error) from error
            with suppress(OSError):
                folder.parent.mkdir()
        except FileExistsError as error:
            # Made by somebody else, or in the way; if it has been removed again our caller finds that.
            if _is_in_the_way(folder):
                raise _cannot("make the folder", folder, error) from error
            return
        except OSError as error:
            raise _cannot("make the folder", folder, error) from error
        else:
            return


def _is_in_the_way(folder: Path) -> bool:
    """Whether something else has the name. One look: between two of them a folder may go away."""
    try:
        return not stat.S_ISDIR(folder.stat().st_mode)
    except FileNotFoundError:
        return folder.is_symlink()


def _is_same_file(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except FileNotFoundError:
        return False


def _write_durably(path: Path, payload: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    with os.fdopen(descriptor, "wb") as file:
        file.write(payload)
        file.flush()
        os.fsync(file.fileno())


def _link_exclusively(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError as error:
        raise _already_there(path) from error
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        # A filesystem without hard links: a look and a rename is the best there is.
        if path.exists():
            raise _already_there(path) from error
        temporary.replace(path)


def _already_there(path: Path | str) -> GameAlreadyRecordedError:
    return GameAlreadyRecordedError(f"{path} is already there and stays as it is")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_TEMPORARY_NAME = re.compile(rf"\.(?:tmp|{SHOWN})-(?P<home>.+)-(?P<pid>\d+)-[0-9a-f]{{16}}")


def temporary_name(kind: str = "tmp") -> str:
    """A name that nobody else has, for a file that :meth:`Files.sweep` removes once this process is gone.

    Args:
        kind: ``tmp``, or :data:`SHOWN` for what is to be found by others as long as we live.
    """
    # Not "….parquet": DuckDB's glob matches names that start with a dot.
    return f"{TEMPORARY_PREFIX}{kind}-{_home()}-{os.getpid()}-{secrets.token_hex(8)}"


def _home() -> str:
    """Where a process id means the same process: this machine, and in it this PID namespace."""
    host = re.sub(r"[^A-Za-z0-9._-]", "_", socket.gethostname())[:100] or "_"
    try:
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        namespace = 0
    return f"{host}-{namespace}"


def _is_temporary(name: str) -> bool:
    return _TEMPORARY_NAME.fullmatch(name) is not None


def _is_abandoned(entry: os.DirEntry[str]) -> bool:
    named = _TEMPORARY_NAME.fullmatch(entry.name)
    if named is not None and named["home"] == _home() and not is_alive(int(named["pid"])):
        return True
    try:
        return time.time() - entry.stat(follow_symlinks=False).st_mtime > ABANDONED_AFTER_SECONDS
    except OSError:
        return False


def _cannot(verb: str, path: Path | str, error: Exception) -> StorageError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else _one_line(error)
    return StorageError(f"cannot {verb} {path}: {reason}")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
