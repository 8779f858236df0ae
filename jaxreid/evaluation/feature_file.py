"""The file that carries the features of a test split, from any framework: reading it with every doubt, and writing it.

Imports neither JAX nor the training code. Nothing is unpickled, and no array is read before its header has said that it
is what it must be, fits the bytes in the file and fits this machine.
"""

import dataclasses
import json
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np

from jaxreid.evaluation import frame_weights
from jaxreid.process import array_file, atomic, json_file

NECKS = ('after', 'before')
OUTFIT = 'outfit'  # the attribute that tells a person's outfits apart: equal for one outfit of one person
FRAME = 'frame'  # the attribute that numbers the frames of a sequence, of crops that are rows of their own
_NEEDED = ('pid', 'camera', 'query', 'gallery')
_ATTRIBUTE = 'attr:'  # what the names of attributes begin with in the file
_LARGEST = 2**31 - 1  # of ids, camera numbers and frames of a tracklet


class UsedItems(TypedDict):
    """How evenly the items of a memory are read: 2 to the entropy of `counts`, between 1 and `of`, and the counts."""

    used: float
    of: int
    counts: list[float]


class Making(TypedDict, total=False):
    """How features were made, as far as a result says it too; see `Meta`."""

    dataset: str
    split: str
    clips: str
    clip_seed: int | None
    frames_per_clip: int
    one_frame: bool
    flip: bool
    flow: str
    compute_dtype: str
    frames_seen: int
    corrupt_frames_replaced: int
    step: int


class Meta(Making, total=False):
    """What a feature file says of its making, as JSON text in `meta`. Files from elsewhere may lack any of it.

    dataset, split: config's name of the data set, 'test'.
    trained_on, tested_on: as `data.source.describe`.
    clips: as `test.clips`; clip_seed: of random clips, else None; one_frame: only the first frame was seen.
    step: of training. network: see `fingerprint.of`. compute_dtype: of the activations. flow: as `data.flow`.
    frames_seen, corrupt_frames_replaced: counted over all clips.
    used_items: of networks with memories, by the name of the memory. frame_weights: of networks that weigh frames.
    config: all settings, as `config.to_dict` gives them.
    pid_names, camera_names: what a manifest calls a number, the number as text.
    """

    trained_on: str
    tested_on: str
    network: str
    used_items: dict[str, UsedItems]
    frame_weights: frame_weights.FrameWeights
    config: dict
    pid_names: dict[str, str]
    camera_names: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Features:
    """N tracklets of a test split.

    embedding: [N, D] float32, after the neck, mean over clips, not normalised.
    embedding_before_neck: [N, D] float32; None where the file has none or it was not asked for.
    pid, camera: [N] int, raw ids; junk -1 and distractors 0 included.
    query, gallery: [N] bool; a tracklet may be both.
    name: [N] str. frames: [N] int, frames of the tracklet; 0: unknown.
    meta: how they were made; {} where unknown.
    time: [N] str, when each begins, as a manifest said, '' unknown; None where nothing is known.
    attributes: by name, [N] str or numbers each, what else is known of the tracklets: '' or NaN unknown.
    """

    embedding: np.ndarray
    embedding_before_neck: np.ndarray | None
    pid: np.ndarray
    camera: np.ndarray
    query: np.ndarray
    gallery: np.ndarray
    name: np.ndarray
    frames: np.ndarray
    meta: Meta
    time: np.ndarray | None = None
    attributes: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def save(self, path: pathlib.Path) -> None:
        """Writes an .npz that `numpy.load` opens without pickle."""
        arrays = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del arrays['meta'], arrays['attributes']
        arrays |= {_ATTRIBUTE + name: column for name, column in self.attributes.items()}
        with atomic.file(path) as file:
            np.savez(file, **{k: v for k, v in arrays.items() if v is not None}, meta=np.array(json.dumps(self.meta)))


def load(path: str | os.PathLike, *, neck: str = 'after', roles: bool = True) -> Features:
    """Reads a feature file.

    Args:
      path: an .npz with `embedding` [N, D] float, `pid` and `camera` [N] int, `query` and `gallery` [N] bool; where
        present also `embedding_before_neck` [N, D] float, `name` [N] str, `frames` [N] int, `meta` (JSON text), `time`
        [N] str.
      neck: 'before' puts `embedding_before_neck` in the place of `embedding`.
      roles: whether there must be a query and something in the gallery, as for a score.

    Returns:
      The features, embeddings at least float32. Of the two embeddings only the one asked for is read.

    Raises:
      ValueError: the file is not what is said above; names it, what was found and what to do.
      OSError: it cannot be opened.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(f'{path} does not exist; expected a feature file (.npz).')
    if path.is_dir():
        raise ValueError(f'{path} is a folder; name the feature file in it (for example {path / "features.npz"}).')
    chosen = 'embedding' if neck == 'after' else 'embedding_before_neck'
    headers = array_file.npz_headers(path)
    missing = [k for k in (chosen, *_NEEDED) if k not in headers]
    if missing:
        raise ValueError(
            f'{path} lacks {", ".join(missing)} (it holds {", ".join(headers) or "nothing"}); a feature file needs '
            f'embedding [N, D] and pid, camera, query, gallery [N]. See docs/protocols.md.'
        )
    _check_headers(path, headers, chosen)
    known = [k for k in headers if k.startswith(_ATTRIBUTE)]
    arrays = array_file.npz(path, (chosen, *_NEEDED, 'name', 'frames', 'meta', 'time', *known))
    return _checked(path, arrays, chosen, roles)


def _check_headers(path: pathlib.Path, headers: dict[str, array_file.Header], chosen: str) -> None:
    """Dtypes, ranks and sizes, before anything is read."""
    wanted = {chosen: 'f', 'pid': 'iu', 'camera': 'iu', 'query': 'b', 'gallery': 'b', 'name': 'US', 'frames': 'iu',
              'time': 'US'} | {k: 'biufUS' for k in headers if k.startswith(_ATTRIBUTE)}  # fmt: skip
    words = {
        'f': 'float [N, D]', 'iu': 'integers [N]', 'b': 'bool [N], one mark per tracklet', 'US': 'strings [N]',
        'biufUS': 'numbers or strings [N]',
    }  # fmt: skip
    for name, kinds in wanted.items():
        if name not in headers:
            continue
        shape, dtype = headers[name]
        if dtype.hasobject:
            raise ValueError(
                f'{path}: {name} holds Python objects (pickles), which are never loaded since they can run code; '
                f'write {words[kinds]}.'
            )
        if (
            dtype.kind not in kinds
            or (dtype.itemsize > 8 and dtype.kind not in 'US')
            or len(shape) != 1 + (name == chosen)
        ):
            raise ValueError(f'{path}: {name} is {dtype} {list(shape)}; expected {words[kinds]}.')
    if headers.get('meta', ((), np.dtype('U1')))[1].kind not in 'US':
        raise ValueError(f'{path}: meta is {headers["meta"][1]}; expected JSON text.')
    (n, d), _ = headers[chosen]
    if not n or not d:
        raise ValueError(f'{path}: {chosen} is {[n, d]}, it holds no features.')
    lengths = {k: headers[k][0][0] for k in wanted if k in headers}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f'{path}: lengths differ: {lengths}. Every tracklet needs one entry in each; a list with one per frame '
            'gives wrong cameras to nearly all tracklets.'
        )
    size = sum(headers[k].nbytes for k in (*wanted, 'meta') if k in headers)
    if size > array_file.memory():
        raise ValueError(
            f'{path}: its arrays take {size / 2**30:.0f} GiB ({chosen} is {[n, d]}), this machine has '
            f'{array_file.memory() / 2**30:.0f} GiB.'
        )


def _checked(path: pathlib.Path, arrays: dict[str, np.ndarray], chosen: str, roles: bool) -> Features:
    embedding = arrays[chosen]
    embedding = embedding.astype(np.promote_types(embedding.dtype, np.float32), copy=False)
    bad = [row for rows in range(0, len(embedding), 4096) for row in _not_finite(embedding, rows)]
    if bad:
        raise ValueError(
            f'{path}: {len(bad)} of {len(embedding)} rows of {chosen} hold NaN or infinity, the first in row {bad[0]}. '
            'Extract them again; a model whose training diverged gives these.'
        )
    for name, least in (('pid', -_LARGEST), ('camera', -_LARGEST), ('frames', 0)):
        if name in arrays and (out := (arrays[name] < least) | (arrays[name] > _LARGEST)).any():
            row = int(np.flatnonzero(out)[0])
            raise ValueError(f'{path}: {name} of row {row} is {arrays[name][row]}, expected {least} to {_LARGEST}.')
    for role in ('query', 'gallery') if roles else ():
        if not arrays[role].any():
            raise ValueError(f'{path}: none of its {len(embedding)} tracklets is marked {role}.')
    n = len(embedding)
    return Features(
        embedding=embedding,
        embedding_before_neck=None,
        pid=arrays['pid'].astype(np.int64),
        camera=arrays['camera'].astype(np.int64),
        query=arrays['query'],
        gallery=arrays['gallery'],
        name=_names(arrays.get('name'), n),
        frames=arrays['frames'].astype(np.int64) if 'frames' in arrays else np.zeros(n, np.int64),
        meta=_meta(path, arrays.get('meta')),
        time=_names(arrays['time'], n) if 'time' in arrays else None,
        attributes={
            name.removeprefix(_ATTRIBUTE): _names(column, n) if column.dtype.kind in 'US' else column
            for name, column in arrays.items()
            if name.startswith(_ATTRIBUTE)
        },
    )


def known(column: np.ndarray) -> np.ndarray:
    """[N] bool, the tracklets of which an attribute [N] says something: it is neither '' nor NaN."""
    return ~np.isin(column.astype(str), ('', 'nan'))


def _not_finite(embedding: np.ndarray, start: int) -> list[int]:
    part = embedding[start : start + 4096]
    return (start + np.flatnonzero(~np.isfinite(part).all(axis=1))).tolist()


def _names(names: np.ndarray | None, n: int) -> np.ndarray:
    """[n] str that can be printed and written."""
    if names is None:
        return np.array([f'row {i}' for i in range(n)])
    if names.dtype.kind == 'U' and names.dtype.itemsize:
        names = names.astype(np.str_)  # of this machine's byte order
        codes = names.view(np.uint32)
        codes[codes > sys.maxunicode] = 0xFFFD  # NumPy makes strings of them that crash later
    data = [name if isinstance(name, bytes) else name.encode('utf-8', 'replace') for name in names.tolist()]
    return np.array([name.decode('utf-8', 'replace') for name in data])


def read_meta(path: pathlib.Path) -> Meta:
    """`Features.meta` of a file; {} where it has none.

    Raises:
      ValueError: it is no feature file, or damaged; names it.
      OSError: it cannot be read.
    """
    return _meta(path, array_file.npz(path, ('meta',)).get('meta'))


def _meta(path: pathlib.Path, text: np.ndarray | None) -> Meta:
    """What the file says of its making, as far as it is what `Meta` says: it may be anybody's."""
    if text is None:
        return {}
    if text.size != 1 or text.dtype.kind not in 'US':
        raise ValueError(f'{path}: meta is {text.dtype} {list(text.shape)}; expected one JSON text.')
    meta = json_file.parse(text.item(), object, where=f'{path}: meta', what='JSON', advice='leave it out')
    if not isinstance(meta, dict):
        raise ValueError(f'{path}: meta is {type(meta).__name__}; expected a JSON object.')
    return json_file.fitting(meta, Meta)


def setting(meta: Meta, section: str, name: str, known: Sequence[Any], default: Any) -> Any:
    """A setting of the run that made the features, for example `test.distance`, or `default` where `meta` says nothing
    known.

    `meta` is anybody's: nothing in it need be what our own files hold there. Of a list of values the first known one
    counts.
    """
    try:
        said = meta['config'][section][name]
    except (KeyError, TypeError):
        return default
    return next((value for value in (said if isinstance(said, list) else [said]) if value in known), default)
