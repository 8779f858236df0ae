"""Turns a data set into records: ArrayRecord files that TFDS opens and that training reads frame by frame.

  python -m data_pipelines.build mars /path/to/MARS /path/to/records
  python -m jaxreid.main --config configs/strf_mars.py --config.data.store=records \\
      --config.data.records=/path/to/records

A record is a frame: the bytes of its image file as they are, with its name, tracklet, person and camera. Stopped at any
moment, the same command goes on. Optical flow made by data_pipelines.optical_flow is added to existing records with
--flow-folder and --flow-size. docs/records.md tells more.
"""

import argparse
import dataclasses
import functools
import json
import os
import pathlib
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
import tqdm
from tensorflow_datasets.core import dataset_info, example_serializer, naming

from jaxreid import config
from jaxreid.data import source
from jaxreid.data.datasets import catalogue
from jaxreid.data.datasets import facts as facts_lib
from jaxreid.data.flow import cache as flow_cache
from jaxreid.data.flow import optical_flow
from jaxreid.data.stores import folder_store, record_files, record_index
from jaxreid.data.tracklets import tracklet
from jaxreid.process import commands, digest, exit_status, paths

from . import record_writer

FRAMES_PER_SHARD = 16384  # about 100 MB of MARS: few files, and little lost when one is interrupted
_opening = threading.Lock()


def features() -> tfds.features.FeaturesDict:
    """What a record holds."""
    return tfds.features.FeaturesDict(
        {
            'image': tfds.features.Image(shape=(None, None, 3)),
            'name': tfds.features.Text(doc='Path of the image below the data set folder.'),
            'tracklet': tfds.features.Text(),
            'position': tfds.features.Scalar(np.int64, doc='In the tracklet, from 0.'),
            'pid': tfds.features.Scalar(np.int64),
            'camera': tfds.features.Scalar(np.int64),
            'query': tfds.features.Scalar(np.bool_, doc='The tracklet is a query, in any of the splits.'),
            'gallery': tfds.features.Scalar(np.bool_, doc='The tracklet is in the gallery, in any of the splits.'),
        }
    )


def flow_features(height: int, width: int) -> tfds.features.FeaturesDict:
    """What a record of the flow holds."""
    flow = tfds.features.Tensor(
        shape=(height, width, 2), dtype=np.float16, encoding='bytes', doc='To the next frame, in pixels.'
    )
    return tfds.features.FeaturesDict({'flow': flow, 'name': tfds.features.Text()})


def build(
    dataset: str,
    root: str,
    out: str,
    *,
    preset: str = 'demo',
    frames_root: str = '',
    workers: int | None = None,
    frames_per_shard: int = FRAMES_PER_SHARD,
    beam: Sequence[str] | None = None,
) -> str:
    """Writes the records of a data set, or what is missing of them; returns the folder of the record set, below `out`.

    What is rendered is rendered in `root` first, '' into the cache. `workers` None are as many threads as there are
    cores; `beam` are the options of an Apache Beam pipeline that writes the shards, None writes them here.

    Raises:
      ValueError: the data set is malformed, changed while it was read, or the folder holds records of other files.
      OSError: something cannot be read or written.
      ImportError: Beam was asked for and is not installed.
    """
    workers = workers or os.cpu_count() or 1
    given = config.Data(dataset=dataset, root=root, preset=preset, frames_root=frames_root)
    if frames_per_shard < 1:
        raise ValueError(f'{frames_per_shard} frames per shard; give at least 1')
    out = out if '://' in out else os.path.abspath(os.path.expanduser(out))
    folder = f'{out.rstrip("/")}/{record_index.place(given)}'
    facts = catalogue.find(dataset)
    index, root = _index(facts, given, frames_per_shard, workers)
    with record_writer.alone(folder):
        names = {record_index.FILE: record_index.to_bytes(index)}
        names |= {name: pathlib.Path(root, name).read_bytes() for name in facts.kept_files}
        for name, data in names.items():
            present = _read_bytes(folder, name) if record_files.exists(folder, name) else b''
            if not data.startswith(present):
                raise ValueError(
                    f'{folder} holds records of other files than {root} has now, or in shards of another size. Remove '
                    'the folder or choose another OUT.'
                )
            if present != data:  # none, or half of it was sent
                record_writer.publish_bytes(folder, name, data)
        _write_set(
            folder, dataset, index, features(), _Frames(folder, root), names=list(names), workers=workers, beam=beam
        )
    return folder


def build_flow(
    dataset: str,
    root: str,
    out: str,
    *,
    flow_folder: str,
    height: int,
    width: int,
    engine: str = 'opencv',
    preset: str = 'demo',
    frames_root: str = '',
    workers: int | None = None,
    beam: Sequence[str] | None = None,
) -> str:
    """Adds optical flow of this engine and size to existing records and returns its folder; what is not in
    `flow_folder`, which `data_pipelines.optical_flow` filled, is computed, and kept there.

    Raises:
      ValueError, OSError, ImportError: as `build`; FileNotFoundError where the frames' records are not finished.
    """
    given = config.Data(dataset=dataset, root=root, preset=preset, frames_root=frames_root)
    files = record_files.find(out, below=record_index.place(given))
    index = record_index.from_bytes(files.path(record_index.FILE).read_bytes(), folder=files.folder)
    folder = f'{files.folder}/{record_files.flow_name(height, width, engine=engine)}'
    lying = source.read(given)
    source.own_flow(given, lying, flow_folder)
    job = _Flow(files.folder, lying.root, flow_folder, height, width, engine)
    with record_writer.alone(folder):
        kept, workers = flow_features(height, width), workers or os.cpu_count() or 1
        _write_set(folder, f'{dataset}_flow', index, kept, job, names=[], workers=workers, beam=beam)
    return folder


def _index(
    facts: facts_lib.Facts, given: config.Data, frames_per_shard: int, workers: int
) -> tuple[record_index.Index, str]:
    """Every tracklet of every split of the data set once; and the folder that the frames' paths start from."""
    rows: dict[tuple[Any, ...], int] = {}
    roles: list[set[str]] = []
    splits: list[tuple[dict[str, Any], list[int], list[int], list[int], list[int]]] = []
    left_out: list[str] = []
    for changes in facts.splits(given.preset):
        asked = dataclasses.replace(given, **changes)
        settings = facts.split_settings(asked)
        try:
            dataset = source.read(asked)
        except FileNotFoundError as e:
            if not splits:
                raise
            left_out.append(f'{settings}: {e}')
            continue
        test_role = 'val' if asked.part == 'validation' else 'test'
        parts: dict[str, list[int]] = {}
        for role, tracklets in (('train', dataset.train), (test_role, dataset.test)):
            numbers = [
                rows.setdefault((t.name, t.pid, t.camera, t.frames, t.time, tuple(t.attributes.items())), len(rows))
                for t in tracklets
            ]
            roles += [set() for _ in range(len(rows) - len(roles))]
            for number in numbers:
                roles[number].add(role)
            parts[role] = numbers
        query, gallery = (np.flatnonzero(marks).tolist() for marks in (dataset.query, dataset.gallery))
        splits.append((settings, parts['train'], parts[test_role], query, gallery))
    if left_out:
        print(f'{len(left_out)} splits are left out, such as {left_out[0]}', file=sys.stderr)
    # Where one tracklet is trained on in one split and tested in another, TFDS gets one part that holds all.
    part_of = [role for (role, *_) in roles] if all(len(some) == 1 for some in roles) else ['pool'] * len(rows)
    names = list(dict.fromkeys(part_of))
    order = sorted(range(len(rows)), key=lambda number: names.index(part_of[number]))
    place = {number: position for position, number in enumerate(order)}
    everything = [
        tracklet.Tracklet(name, pid, camera, frames, time=time, attributes=dict(attributes))
        for name, pid, camera, frames, time, attributes in rows
    ]
    tracklets = tuple([everything[number] for number in order])
    index = record_index.Index(
        dataset=given.dataset,
        version=facts.version,
        frames_per_shard=frames_per_shard,
        parts={name: part_of.count(name) for name in names},
        tracklets=tracklets,
        sizes=_sizes(dataset.root, tracklets, workers),
        splits=tuple(
            [
                record_index.Split(settings, [place[n] for n in train], [place[n] for n in test], query, gallery)
                for settings, train, test, query, gallery in splits
            ]
        ),
        pid_names=dataset.pid_names,
        camera_names=dataset.camera_names,
    )
    return index, dataset.root


def _sizes(root: str, tracklets: Sequence[tracklet.Tracklet], workers: int) -> np.ndarray:
    """[records] int32, bytes of every frame's file."""

    def of(one: tracklet.Tracklet) -> list[int]:
        return [os.stat(os.path.join(root, path)).st_size for path in one.frames]

    sizes: list[int] = []
    with (
        tqdm.tqdm(total=sum(len(t.frames) for t in tracklets), desc='sizes', unit='frame', mininterval=0.5) as bar,
        futures.ThreadPoolExecutor(workers) as pool,
    ):
        for some in pool.map(of, tracklets):
            sizes += some
            bar.update(len(some))
    return np.asarray(sizes, np.int32)


def _write_set(
    folder: str,
    name: str,
    index: record_index.Index,
    kept: tfds.features.FeaturesDict,
    job: record_writer.Job,
    *,
    names: list[str],
    workers: int,
    beam: Sequence[str] | None,
) -> None:
    """Writes shards, then what TFDS wants to know of them, then the list of all files, which makes the set finished."""
    shards = index.shards(name)
    if beam is None:
        record_writer.run(job, folder, shards, workers=workers, label=name)
    else:
        record_writer.run_with_beam(job, folder, shards, options=beam)
    present = record_files.listing(folder)
    for file, data in _tfds_files(name, index, kept, {shard.name: present[shard.name] for shard in shards}).items():
        record_writer.publish_bytes(folder, file, data)
        names = [*names, file]
    present = record_files.listing(folder)
    manifest: dict[str, int | list] = {shard.name: present[shard.name] for shard in shards}
    manifest |= {file: [present[file], digest.of_bytes(_read_bytes(folder, file))] for file in names}
    text = json.dumps(manifest, indent=0, sort_keys=True) + '\n'
    record_writer.publish_bytes(folder, record_files.MANIFEST, text.encode())


def _tfds_files(
    name: str, index: record_index.Index, kept: tfds.features.FeaturesDict, sizes: Mapping[str, int]
) -> dict[str, bytes]:
    """Name -> content of the files by which TFDS knows a data set."""
    with tempfile.TemporaryDirectory() as folder:
        template = naming.ShardedFileTemplate(
            data_dir=folder,
            template=naming.DEFAULT_FILENAME_TEMPLATE,
            dataset_name=name,
            filetype_suffix='array_record',
        )
        shards = index.shards(name)
        splits = [
            tfds.core.SplitInfo(
                name=part,
                shard_lengths=[shard.stop - shard.start for shard in shards if shard.part == part],
                num_bytes=sum(sizes[shard.name] for shard in shards if shard.part == part),
                filename_template=template.replace(split=part),
            )
            for part in index.parts
        ]
        identity = dataset_info.DatasetIdentity(
            name=name, version=tfds.core.Version(index.version), data_dir=folder, module_name='data_pipelines.builders'
        )
        info = tfds.core.DatasetInfo(builder=identity, features=kept)
        info.set_file_format('array_record')
        info.set_splits(tfds.core.splits.SplitDict(splits))
        info.write_to_directory(folder)
        return {path.name: path.read_bytes() for path in sorted(pathlib.Path(folder).iterdir(), reverse=True)}


def _opened(folder: str) -> tuple[record_index.Index, np.ndarray, list[np.ndarray]]:
    """Index of the set in a folder, its tracklets' first records, and which of them are query and gallery anywhere."""
    data = _read_bytes(folder, record_index.FILE)
    with _opening:  # the threads of a build parse it once
        return _parsed(data, folder)


@functools.lru_cache(maxsize=1)
def _parsed(data: bytes, folder: str) -> tuple[record_index.Index, np.ndarray, list[np.ndarray]]:
    index = record_index.from_bytes(data, folder=folder)
    marks = []
    for kind in ('query', 'gallery'):
        marked = np.zeros(len(index.tracklets), bool)
        for split in index.splits:
            marked[np.asarray(split.test, int)[list(getattr(split, kind))]] = True
        marks.append(marked)
    return index, index.first, marks


def _read_bytes(folder: str, name: str) -> bytes:
    files, path = record_files.file_system(folder)
    return files.cat_file(f'{path}/{name}')


def _places(shard: record_index.Shard, first: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Record, row of its tracklet, position in it."""
    for record in range(shard.start, shard.stop):
        row = int(np.searchsorted(first, record, side='right')) - 1
        yield record, row, record - int(first[row])


@dataclasses.dataclass(frozen=True)
class _Frames:
    """Writes a shard of frames."""

    folder: str
    root: str

    def __call__(self, shard: record_index.Shard, report: Callable[[int], None]) -> None:
        serializer = example_serializer.ExampleSerializer(features().get_serialized_info())
        index, first, (query, gallery) = _opened(self.folder)

        def records() -> Iterator[bytes]:
            for record, row, position in _places(shard, first):
                one = index.tracklets[row]
                path = os.path.join(self.root, one.frames[position])
                data = paths.content(path)
                if len(data) != index.sizes[record]:
                    raise ValueError(
                        f'{path} has {len(data)} bytes; it had {index.sizes[record]} when the build began. Let nothing '
                        f'change the data set, remove {self.folder} and run the build again.'
                    )
                example = {
                    'image': data, 'name': one.frames[position], 'tracklet': one.name, 'position': position,
                    'pid': one.pid, 'camera': one.camera, 'query': bool(query[row]), 'gallery': bool(gallery[row]),
                }  # fmt: skip
                # Deterministic: the order of a map's entries is otherwise another in every process.
                yield serializer.get_tf_example(example).SerializeToString(deterministic=True)
                report(1)

        record_writer.write_records(self.folder, shard.name, records(), compressed=False)  # images are compressed


@dataclasses.dataclass(frozen=True)
class _Flow:
    """Writes a shard of flow."""

    frames: str  # record set of the frames
    root: str
    flow_folder: str
    height: int
    width: int
    engine: str

    def __call__(self, shard: record_index.Shard, report: Callable[[int], None]) -> None:
        serializer = example_serializer.ExampleSerializer(flow_features(self.height, self.width).get_serialized_info())
        index, first, _ = _opened(self.frames)
        how = folder_store.Reading(
            height=self.height, width=self.width, resize='bicubic', on_corrupt='skip_frame', flow='tvl1',
            flow_engine=self.engine, cache=flow_cache.FlowCache(2**20), flow_folder=self.flow_folder,
        )  # fmt: skip
        store = folder_store.FolderStore(self.root, index.tracklets, how)

        def records() -> Iterator[bytes]:
            together = optical_flow.pairs_at_once(self.engine, height=self.height, width=self.width)
            places = [(row, position) for _, row, position in _places(shard, first)]
            for start in range(0, len(places), together):
                some = places[start : start + together]
                for (row, position), flow in zip(some, store.read_flows(some), strict=True):
                    example = {'flow': flow.tobytes(), 'name': index.tracklets[row].frames[position]}
                    yield serializer.get_tf_example(example).SerializeToString(deterministic=True)
                    report(1)

        folder = f'{self.frames}/{record_files.flow_name(self.height, self.width, engine=self.engine)}'
        record_writer.write_records(folder, shard.name, records(), compressed=True)


def _size(text: str) -> tuple[int, int]:
    height, x, width = text.partition('x')
    if not (x and height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f'{text!r} is not a size such as 256x128 (height x width)')
    return int(height), int(width)


def main(argv: Sequence[str] | None = None) -> None:
    """Parses, builds, prints where.

    Raises:
      ValueError, OSError, ImportError: as `build` and `build_flow`.
      SystemExit: the command line is wrong, or asks for help.
    """
    parser = commands.parser('build', __doc__)
    parser.add_argument('dataset', choices=config.DATASETS)
    parser.add_argument('root', metavar='ROOT', help="the data set's folder; for synthetic '' renders into the cache")
    parser.add_argument('out', metavar='OUT', help='folder or URL (gs://..., s3://...) that receives the records')
    parser.add_argument('--preset', default='demo', choices=config.choices('data.preset'), help='of synthetic')
    parser.add_argument('--frames-root', default='', help='of manifest: folder that its paths start from')
    parser.add_argument('--workers', type=int, default=os.cpu_count(), help='threads')
    parser.add_argument('--frames-per-shard', type=int, default=FRAMES_PER_SHARD, help='%(default)s')
    parser.add_argument('--flow-folder', default='', help='add the flow in this folder to records that exist')
    parser.add_argument('--flow-size', type=_size, metavar='HEIGHTxWIDTH', help='of the flow, e.g. 256x128')
    parser.add_argument(
        '--flow-engine',
        default='opencv',
        choices=config.choices('data.flow_engine'),
        help='what computed the flow',
    )
    parser.add_argument(
        '--beam',
        nargs='?',
        const='',
        metavar='OPTIONS',
        help="write on Apache Beam, e.g. --beam='--runner=FlinkRunner'",
    )
    given = parser.parse_args(argv)
    if bool(given.flow_folder) != bool(given.flow_size):
        parser.error('--flow-folder and --flow-size belong together')
    common = {'preset': given.preset, 'frames_root': given.frames_root, 'workers': given.workers}
    common['beam'] = None if given.beam is None else given.beam.split()
    if given.flow_folder:
        height, width = given.flow_size
        flow = {'flow_folder': given.flow_folder, 'height': height, 'width': width, 'engine': given.flow_engine}
        folder = build_flow(given.dataset, given.root, given.out, **flow, **common)
    else:
        folder = build(given.dataset, given.root, given.out, frames_per_shard=given.frames_per_shard, **common)
    print(folder)


if __name__ == '__main__':
    from . import build as this  # by the name under which Beam's workers find it

    sys.exit(exit_status.run(this.main))
