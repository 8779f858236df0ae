"""Files and folders that appear whole or not at all, and the lock that lets one process at a time at a folder."""

import contextlib
import glob
import json
import os
import pathlib
import secrets
import shutil
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

_PARTIAL = '.partial-????????'


@contextlib.contextmanager
def file(
    path: pathlib.Path,
    *,
    doing: str = 'write',
    advice: str = 'make space or choose a writable --workdir',
    durable: bool = False,
) -> Iterator[BinaryIO]:
    """A file under a temporary name beside `path`, renamed to it when the block ends; makes the folder where needed.

    Args:
      path: to make or replace.
      doing, advice: of the error's message, 'cannot {doing} {path}: ...; {advice}'.
      durable: whoever finds the name finds the bytes, after a power cut too.

    Raises:
      OSError: names the file and what to do; what was at `path` is untouched.
    """
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open('xb') as opened, lock(temporary):
                yield opened
                opened.flush()
                if durable:
                    os.fsync(opened.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as e:
        raise OSError(f'cannot {doing} {path}: {e}; {advice}') from e


def write(path: pathlib.Path, content: str | bytes) -> None:
    """A `file` of a text or of bytes; errors as there."""
    with file(path) as opened:
        opened.write(content.encode() if isinstance(content, str) else content)


def write_json(path: pathlib.Path, value: object) -> None:
    """A `file` of a value as JSON, for people too."""
    write(path, json.dumps(value, indent=1) + '\n')


def write_page(path: pathlib.Path, text: str, value: object) -> pathlib.Path:
    """Writes `<path>.md` and `<path>.json`, each whole or not at all; returns where the first is."""
    write_json(path.with_name(path.name + '.json'), value)
    page = path.with_name(path.name + '.md')
    write(page, text)
    return page


@contextlib.contextmanager
def folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder under a temporary name beside `path`, renamed to it when the block ends.

    An empty folder at `path` is replaced. What killed processes left of the same folder is removed; what a running one
    makes is locked and stays.

    Raises:
      OSError: it cannot be written, or something is at `path`, or it is the folder that one is in.
    """
    path = pathlib.Path(os.path.abspath(path))
    if path.is_dir() and path.samefile('.'):
        raise OSError(f'{path} is the folder that you are in, which cannot be made anew; name one in it to make')
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path.parent.glob(f'.{glob.escape(path.name)}{_PARTIAL}'))
    partial = _temporary(path)
    partial.mkdir()
    try:
        with lock(partial):
            yield partial
            if path.is_dir():
                path.rmdir()
            partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_stale(below: pathlib.Path) -> None:
    """Removes what killed processes left of files and folders anywhere in a folder; what running ones make stays."""
    _remove_stale(below.rglob(f'.*{_PARTIAL}'))


def _remove_stale(left: Iterable[pathlib.Path]) -> None:
    for stale in list(left):
        with contextlib.suppress(OSError), lock(stale, wait=False) as held:
            if held:
                shutil.rmtree(stale) if stale.is_dir() else stale.unlink()


@contextlib.contextmanager
def alone(folder: pathlib.Path, *, doing: str) -> Iterator[None]:
    """Keeps a second process out of a folder, and removes what killed ones left there.

    Its file `.lock` names the process. However that one ends, the lock ends with it.

    Args:
      folder: is there.
      doing: of the message, 'process 7 is {doing} {folder}'.

    Raises:
      OSError: another process is inside, or the folder cannot be written.
    """
    file = folder / '.lock'

    def refuse() -> None:
        who = file.read_text().strip() or 'another process'
        raise OSError(f'{who} is {doing} {folder}; wait until it has ended, or stop it')

    with lock(file, busy=refuse):
        file.write_text(f'process {os.getpid()} on {socket.gethostname()}\n')
        remove_stale(folder)
        yield


@contextlib.contextmanager
def lock(path: pathlib.Path, *, busy: Callable[[], object] = lambda: None, wait: bool = True) -> Iterator[bool]:
    """Lets one process at a time into the block, where the system and the file system have such locks.

    Args:
      path: a folder that is there, or a file, which is made.
      busy: called first where another process is inside; may raise.
      wait: until it has left; otherwise the block runs without the lock.

    Yields:
      Whether the lock is held.
    """
    try:
        import fcntl
    except ImportError:
        yield False
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = True
        except BlockingIOError:
            busy()
            if wait:
                fcntl.flock(handle, fcntl.LOCK_EX)
            held = wait
        except OSError:  # a file system without locks
            held = False
        yield held
    finally:
        os.close(handle)


def _temporary(path: pathlib.Path) -> pathlib.Path:
    """A name of this writer alone."""
    return path.with_name(f'.{path.name}.partial-{secrets.token_hex(4)}')
