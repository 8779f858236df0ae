"""Files of a record set, in a folder or behind a URL (gs://, s3://, ...).

ArrayRecord opens files of this machine only, so what lies behind a URL is first brought into the cache, each file when
it is asked for. URLs go through fsspec; a bucket needs its own package beside it (gs:// gcsfs, s3:// s3fs).
"""

import collections
import dataclasses
import hashlib
import os
import pathlib
import shutil
import threading
from collections.abc import Mapping
from typing import Any

import fsspec

from jaxreid.data.flow import file as flow_file
from jaxreid.process import atomic, cache, digest, json_file, paths

# Name -> size of every other file, of small ones [size, digest]; written last: a set without it is not finished.
MANIFEST = 'files.json'
_SHOWN = 3  # of many offending names, how many a message lists
_AGAIN = 'Run the same python -m jaxreid.data_pipelines.build again: it makes what is missing.'

_fetching: collections.defaultdict[pathlib.Path, threading.Lock] = collections.defaultdict(threading.Lock)


@dataclasses.dataclass(frozen=True)
class RecordFiles:
    """A finished record set."""

    folder: str  # as it was named: a path or a URL
    root: pathlib.Path  # where its files are, or come to be, on this machine
    sizes: Mapping[str, int]  # file name, '/' between folders -> bytes
    digests: Mapping[str, str]  # of the small files; older sets have none, and ArrayRecord has its own

    def path(self, name: str) -> pathlib.Path:
        """Where a file is on this machine, brought there where needed; the threads of a process fetch it once.

        Raises:
          OSError: it cannot be fetched or the cache cannot be written.
          ValueError: it is small, and not what was written.
        """
        if name not in self.sizes:  # whose names `open_set` has checked
            raise FileNotFoundError(f'the record set {self.folder} has no file {name!r}. {_AGAIN}')
        path = self.root / name
        if '://' in self.folder:
            with _fetching[path]:
                if not _has_size(path, self.sizes[name]):
                    self._fetch(name, path)
        if name in self.digests and digest.of_bytes(path.read_bytes()) != self.digests[name]:
            raise ValueError(f'{path} is not what was written: its digest is another. Remove it. {_AGAIN}')
        return path

    def _fetch(self, name: str, path: pathlib.Path) -> None:
        files, folder = file_system(self.folder)
        advice = 'see whether it can be reached and the cache has space'
        with (
            atomic.file(path, doing=f'bring {self.folder}/{name} to', advice=advice) as copy,
            files.open(f'{folder}/{name}', 'rb') as source,
        ):
            shutil.copyfileobj(source, copy, 2**20)
            if copy.tell() != self.sizes[name]:
                raise OSError(f'{copy.tell()} bytes came, expected {self.sizes[name]}')


def find(folder: str, *, below: str) -> RecordFiles:
    """Opens the record set in `folder` or, where that holds several, in `folder`/`below`; checks all files' sizes.

    Raises:
      FileNotFoundError: there is none, it is not finished, or it lacks a file.
      ValueError: a file has another size than it was written with, or the list of files is damaged.
      OSError: the folder cannot be read.
    """
    folder = folder.rstrip('/') if '://' in folder else os.path.abspath(os.path.expanduser(folder))
    for place in (folder, f'{folder}/{below}'):
        if exists(place, MANIFEST):
            return open_set(place)
    present = sorted(listing(folder))
    for place, start in ((folder, ''), (f'{folder}/{below}', f'{below}/')):
        names = [name.removeprefix(start) for name in present if name.startswith(start)]
        begun = [name for name in names if name.startswith('index.') or ('array_record' in name and '/' not in name)]
        if begun:
            raise FileNotFoundError(
                f'The record set {place} is not finished: {begun[0]} is there, no {MANIFEST}. {_AGAIN}'
            )
    others = [name.rpartition('/')[0] for name in present if name.endswith(f'/{MANIFEST}') and '/flow-' not in name]
    if others:
        raise FileNotFoundError(
            f'{folder} holds finished records of {", ".join(others)}, none of {below}: data.records and data.dataset '
            'do not belong together. Change one, or add this data set with python -m jaxreid.data_pipelines.build.'
        )
    there = ', '.join(present[:_SHOWN]) or 'nothing'
    raise FileNotFoundError(
        f'No record set at {folder} or {folder}/{below}: no {MANIFEST}, found {there}. Set data.records to what '
        'python -m jaxreid.data_pipelines.build was given as OUT, or made below it.'
    )


def open_set(folder: str) -> RecordFiles:
    """As `find`, of a set that has its list of files."""
    files, path = file_system(folder)
    text = files.cat_file(f'{path}/{MANIFEST}')
    where = f'{folder}/{MANIFEST}'
    said = json_file.parse(text, dict[str, int | list[Any]], where=where, what='names and sizes', advice=_AGAIN)
    sizes: dict[str, int] = {}
    digests: dict[str, str] = {}
    for name, one in said.items():
        paths.relative(name, where=where)
        match one:
            case int(size):
                sizes[name] = size
            case [int(size), str(written)]:
                sizes[name], digests[name] = size, written
            case _:
                raise ValueError(f'{where} says {one!r:.60} of {name}, expected a size, or [size, digest]. {_AGAIN}')
    present = listing(folder)
    missing = sorted(sizes.keys() - present.keys())
    if missing:
        raise FileNotFoundError(
            f'{folder} lacks {len(missing)} of its {len(sizes)} files, such as {", ".join(missing[:_SHOWN])}. {_AGAIN}'
        )
    for name, size in sizes.items():
        if present[name] != size:
            raise ValueError(f'{folder}/{name} has {present[name]} bytes, expected {size}. {_AGAIN}')
    if '://' not in folder:
        return RecordFiles(folder, pathlib.Path(folder), sizes, digests)
    # The list names all sizes: another set at the same URL gets another folder in the cache.
    key = hashlib.sha256(folder.encode() + b'\n' + text).hexdigest()[:16]
    return RecordFiles(folder, cache.folder() / 'records' / key, sizes, digests)


def exists(folder: str, name: str) -> bool:
    """Whether there is such a file."""
    files, path = file_system(folder)
    return files.exists(f'{path}/{name}')


def listing(folder: str) -> dict[str, int]:
    """Sizes of all files in a folder and its folders, by name relative to it; none where there is no such folder."""
    files, path = file_system(folder)
    files.invalidate_cache()
    try:
        entries: dict[str, dict[str, Any]] = files.find(path, detail=True)
    except FileNotFoundError:
        return {}
    return {name.removeprefix(path).lstrip('/'): int(entry['size']) for name, entry in entries.items()}


def file_system(folder: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """What opens files below `folder`, and how `folder` is called there.

    Raises:
      OSError: no package for such URLs is installed.
    """
    try:
        files, path = fsspec.core.url_to_fs(folder)
    except (ImportError, ValueError) as e:
        raise OSError(f'cannot open {folder}: {e}') from e
    return files, path.rstrip('/')


def _has_size(path: pathlib.Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


def flow_name(height: int, width: int, *, engine: str) -> str:
    """Folder of the flow's records below those of the frames, other for each engine that computes it."""
    return f'flow-{flow_file.kind(engine)}-{height}x{width}'
