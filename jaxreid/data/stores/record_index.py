"""Index of a record set: every tracklet once, where its frames lie among the records, and the splits made of them.

A record is a frame. Records are counted from 0 through all parts of the set ('train', 'test', ...: the splits that TFDS
sees), within a part in the order of the index's tracklets; a part is cut into shards of equally many records. The file
is gzipped JSON lines: what the set is, then a tracklet per line.
"""

import dataclasses
import gzip
import io
import itertools
import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, NotRequired, TypedDict

import numpy as np

from jaxreid import config
from jaxreid.data.datasets import catalogue
from jaxreid.data.tracklets import dense_split, tracklet
from jaxreid.process import json_file, paths

FILE = 'index.jsonl.gz'
_FORMAT = 1  # of this file and of the records
_EXPANSION, _ALWAYS = 128, 2**26  # bytes that one of a compressed index may become, and that any may [choice]
_LEAVES = re.compile(r'^[/~\\]|\.\.|^[A-Za-z]:|[\x00-\x1f\x7f\ud800-\udfff]')  # what a path may leave its folder by


class Shard(NamedTuple):
    """A file of records."""

    name: str
    part: str
    start: int  # record that it begins with
    stop: int  # record that the next one begins with


@dataclasses.dataclass(frozen=True)
class Split:
    """Rows of the index's tracklets, in the order of the data set's reader."""

    settings: Mapping[str, Any]  # see `Facts.split_settings`; empty where the data set has one split
    train: Sequence[int]
    test: Sequence[int]
    query: Sequence[int]  # positions in `test`
    gallery: Sequence[int]


@dataclasses.dataclass(frozen=True, eq=False)
class Index:
    """See the module."""

    dataset: str  # one of config.DATASETS
    version: str
    frames_per_shard: int
    parts: Mapping[str, int]  # name -> number of tracklets; their records follow each other in this order
    tracklets: tuple[tracklet.Tracklet, ...]
    sizes: np.ndarray  # [records] int32, bytes of each image
    splits: tuple[Split, ...]
    pid_names: Mapping[int, str]  # see `tracklet.Dataset`
    camera_names: Mapping[int, str]

    @property
    def first(self) -> np.ndarray:
        """[N + 1] int64, record of every tracklet's first frame, and the number of records."""
        return np.cumsum([0, *(len(one.frames) for one in self.tracklets)])

    def shards(self, name: str) -> list[Shard]:
        """The files of the record set `name`, in order."""
        ends = self.first[np.cumsum([0, *self.parts.values()])].tolist()
        shards = []
        for part, (begin, end) in zip(self.parts, itertools.pairwise(ends), strict=True):
            starts = range(begin, end, self.frames_per_shard)
            for number, start in enumerate(starts):
                file = f'{name}-{part}.array_record-{number:05d}-of-{len(starts):05d}'
                shards.append(Shard(file, part, start, min(start + self.frames_per_shard, end)))
        return shards

    def first_records(self, tracklets: Sequence[tracklet.Tracklet]) -> np.ndarray:
        """[N] int64, record of the first frame of each tracklet; pieces of the index's tracklets count as well.

        Raises:
          ValueError: a tracklet has frames that do not lie one behind the other in a tracklet of that name in the set.
        """
        named: dict[str, list[tuple[tracklet.Tracklet, int]]] = {}
        for whole, record in zip(self.tracklets, self.first.tolist(), strict=False):
            named.setdefault(whole.name, []).append((whole, record))
        records = []
        for one in tracklets:
            for name, start in ((one.name, 0), dense_split.origin(one.name)):
                starts = [
                    record + start
                    for whole, record in named.get(name, ())
                    if whole.frames[start : start + len(one.frames)] == one.frames
                ]
                if starts:
                    break
            else:
                raise ValueError(f'{one.frames[0]} of tracklet {one.name} is not among the records of {self.dataset}.')
            records.append(starts[0])
        return np.asarray(records, np.int64)


def place(data: config.Data) -> str:
    """Folder of a record set below the one that all are in, as TFDS has it."""
    facts = catalogue.find(data.dataset)
    return f'{facts.name}{f"/{data.preset}" if facts.presets else ""}/{facts.version}'


def to_dataset(index: Index, data: config.Data, *, folder: str, root: str) -> tracklet.Dataset:
    """The data set as its reader gives it, in the split that the settings ask for.

    Raises:
      ValueError: the records are of another data set or version, or lack the split.
    """
    facts = catalogue.find(data.dataset)
    wanted = (facts.name, facts.version)
    if (index.dataset, index.version) != wanted:
        raise ValueError(
            f'{folder} holds records of {index.dataset}, version {index.version}, but data.dataset asks for '
            f'{wanted[0]}, version {wanted[1]}. Change data.records or data.dataset, or build the records again.'
        )
    settings = facts.split_settings(data)
    for split in index.splits:
        if split.settings == settings:
            break
    else:
        asked = ', '.join(f'{name}={value!r}' for name, value in sorted(settings.items()))
        raise ValueError(
            f'{folder} has no split with {asked}; it has '
            + '; '.join(', '.join(f'{k}={v!r}' for k, v in split.settings.items()) for split in index.splits)
            + '. Build the records again from a folder that holds what the split needs.'
        )
    query, gallery = np.zeros((2, len(split.test)), bool)
    query[list(split.query)] = True
    gallery[list(split.gallery)] = True
    return tracklet.Dataset(
        root=root,
        train=tuple([index.tracklets[row] for row in split.train]),
        test=tuple([index.tracklets[row] for row in split.test]),
        query=query,
        gallery=gallery,
        pid_names=index.pid_names,
        camera_names=index.camera_names,
    )


def to_bytes(index: Index) -> bytes:
    """The index as a file; the same bytes for the same index."""
    header = {
        'format': _FORMAT,
        'dataset': index.dataset,
        'version': index.version,
        'frames_per_shard': index.frames_per_shard,
        'parts': dict(index.parts),
        'pid_names': list(index.pid_names.items()),  # JSON has no numbers as keys
        'camera_names': list(index.camera_names.items()),
        'splits': [dataclasses.asdict(split) for split in index.splits],
    }
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode='wb', compresslevel=6, mtime=0) as file:
        file.write(json.dumps(header).encode() + b'\n')
        for one, first in zip(index.tracklets, index.first, strict=False):
            prefix = os.path.commonprefix(one.frames)  # noqa: RUF071 (of characters, to write fewer)
            line = {
                'name': one.name,
                'pid': one.pid,
                'camera': one.camera,
                'prefix': prefix,  # of all frames' paths
                'frames': [path[len(prefix) :] for path in one.frames],
                'sizes': index.sizes[first : first + len(one.frames)].tolist(),
            }
            if one.time:
                line['time'] = one.time
            if one.attributes:
                line['attributes'] = dict(one.attributes)
            file.write(json.dumps(line).encode() + b'\n')
    return buffer.getvalue()


def from_bytes(data: bytes, *, folder: str) -> Index:
    """Reads an index. Raises ValueError: the file is damaged or of another version of jaxreid."""
    try:
        lines = _lines(data)
        text = next(lines, b'')
        made_by = json_file.parse(text, _Versioned, where='line 1', what='what a set is')['format']
        if made_by != _FORMAT:
            raise ValueError(f'its format is {made_by}, this version of jaxreid reads {_FORMAT}')
        header = json_file.parse(text, _Header, where='line 1', what='what a set is')
        tracklets, sizes = [], []
        for number, text in enumerate(lines, start=2):  # one by one: JSON of a large set takes more than the index
            line = json_file.parse(text, _Line, where=f'line {number}', what='a tracklet')
            frames = tuple([line['prefix'] + end for end in line['frames']])
            if not len(frames) == len(line['sizes']) > 0 or not 0 <= min(line['sizes']) <= max(line['sizes']) < 2**31:
                raise ValueError(
                    f'line {number} has {len(frames)} frames of {len(line["sizes"])} sizes, some impossible'
                )
            for frame in frames:
                if _LEAVES.search(frame):
                    paths.relative(frame, where=f'line {number}')
            known = line.get('time', ''), line.get('attributes', {})
            tracklets.append(tracklet.Tracklet(line['name'], line['pid'], line['camera'], frames, '', *known))
            sizes.append(np.asarray(line['sizes'], np.int32))
        index = Index(
            dataset=header['dataset'],
            version=header['version'],
            frames_per_shard=header['frames_per_shard'],
            parts=header['parts'],
            tracklets=tuple(tracklets),
            sizes=np.concatenate(sizes),
            splits=tuple([Split(**split) for split in header['splits']]),
            pid_names=_named(header['pid_names']),
            camera_names=_named(header['camera_names']),
        )
        _check(index)
    except (EOFError, zlib.error, gzip.BadGzipFile, ValueError, TypeError) as e:
        raise ValueError(
            f'{FILE} of the record set {folder} cannot be used: {e}. Remove it and run '
            'python -m jaxreid.data_pipelines.build again.'
        ) from e
    return index


def _lines(data: bytes) -> Iterator[bytes]:
    """Of a gzipped file, as long as they are not far more than its bytes: names and sizes are not that alike."""
    left = _ALWAYS + _EXPANSION * len(data)
    with gzip.open(io.BytesIO(data)) as file:
        while text := file.readline(left + 1):
            left -= len(text)
            if left < 0:
                raise ValueError(f'{len(data):,} bytes become more than {_ALWAYS + _EXPANSION * len(data):,}')
            yield text


def _named(pairs: list[list[int | str]]) -> dict[int, str]:
    named = {number: name for number, name in pairs if isinstance(number, int) and isinstance(name, str)}
    if len(named) < len(pairs):
        raise ValueError('names of persons or cameras are not pairs of a number and a name')
    return named


def _check(index: Index) -> None:
    """That all numbers lie where they must, so that nobody who uses the index has to ask."""
    count = len(index.tracklets)
    if count != sum(index.parts.values()) or min(index.parts.values()) < 0 or index.frames_per_shard < 1:
        raise ValueError(f'it holds {count} tracklets, expected {sum(index.parts.values())}')
    for part in index.parts:
        if not re.fullmatch(r'[\w-]+', part):
            raise ValueError(f'a part of it is called {part!r}; expected letters and digits')
    for split in index.splits:
        ends = (count, count, len(split.test), len(split.test))
        for rows, end in zip((split.train, split.test, split.query, split.gallery), ends, strict=True):
            if rows and not 0 <= min(rows) <= max(rows) < end:
                raise ValueError(f'a split names tracklets {min(rows)} to {max(rows)} of {end}')


class _Split(TypedDict):
    settings: dict[str, Any]
    train: list[int]
    test: list[int]
    query: list[int]
    gallery: list[int]


class _Versioned(TypedDict):
    format: int


class _Header(_Versioned):
    dataset: str
    version: str
    frames_per_shard: int
    parts: dict[str, int]
    pid_names: list[list[int | str]]  # pairs of number and name
    camera_names: list[list[int | str]]
    splits: list[_Split]


class _Line(TypedDict):
    name: str
    pid: int
    camera: int
    prefix: str
    frames: list[str]
    sizes: list[int]
    time: NotRequired[str]
    attributes: NotRequired[dict[str, str]]
