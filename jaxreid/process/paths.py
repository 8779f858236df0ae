"""Paths that data name: regular files only, and nothing outside of the folder that they start from."""

import os
import re
import stat
from typing import Any

_ELSEWHERE = re.compile(r'~|[A-Za-z]:|\\')  # a home or a drive, as people write it


def content(path: str | os.PathLike) -> bytes:
    """The bytes of a file. Raises OSError: it cannot be read, or is a device or a pipe, which may never end."""
    with open(path, 'rb', opener=_at_once) as file:
        check_regular(path, os.fstat(file.fileno()))
        return file.read()


def check_regular(path: str | os.PathLike, status: os.stat_result | None = None) -> None:
    """Refuses what is no file with an end: a device, a pipe, a socket, a folder.

    Raises:
      OSError: it is such, or is not there.
    """
    mode = (os.stat(path) if status is None else status).st_mode
    if not stat.S_ISREG(mode):
        kind = 'a folder' if stat.S_ISDIR(mode) else 'a device, a pipe or a socket'
        raise OSError(f'{path} is {kind}; expected a file')


def relative(name: Any, *, where: str = '', advice: str = '') -> str:
    """A path that data name, '/' between folders, in its one spelling ('./~a' is a
    folder called ~a); '' for the folder that it starts from.

      Args:
        name: as the data have it.
        where, advice: of the error's message, '{where}: the path ... leaves the folder ...; {advice}'.

      Raises:
        ValueError: it is no text, is absolute, climbs out of its folder or holds what no path has.
    """
    where = f'{where}: ' if where else ''
    if not isinstance(name, str):
        raise ValueError(f'{where}{str(name)[:40]!r} is no path; expected a text')
    if (wrong := control(name)) is not None:
        raise ValueError(f'{where}the path {name[:200]!r} holds the character {wrong!r}')
    parts = [part for part in name.split('/') if part not in ('', '.')]
    if name.startswith('/') or '..' in parts or _ELSEWHERE.match(name):
        advice = f'; {advice}' if advice else ''
        raise ValueError(f'{where}the path {name[:200]!r} leaves the folder that paths start from{advice}')
    path = '/'.join(parts)
    return f'./{path}' if _ELSEWHERE.match(path) else path  # a folder that is called so, said to be one by './'


def control(text: str) -> str | None:
    """A character that no path of data has: control characters, halves of surrogate pairs."""
    return next((c for c in text if ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) <= 0xDFFF), None)


def _at_once(path, flags):
    return os.open(path, flags | getattr(os, 'O_NONBLOCK', 0))  # nobody may ever write into a pipe
