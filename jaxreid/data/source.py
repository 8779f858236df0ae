"""Opens the data set that a config names, and the store that its frames are read from."""

import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import tqdm

from jaxreid import config
from jaxreid.data import mixing
from jaxreid.data.datasets import catalogue
from jaxreid.data.flow import cache as flow_cache
from jaxreid.data.flow import owner as flow_owner
from jaxreid.data.stores import (
    device_store,
    folder_store,
    frame_store,
    mixed_store,
    ram_store,
    record_files,
    record_index,
    record_store,
)
from jaxreid.data.synthetic import plan
from jaxreid.data.tracklets import dense_split, tracklet, validation_split
from jaxreid.process import paths

ReadableStore = folder_store.FolderStore | mixed_store.MixedStore
_LOOKED_AT = 64  # frames whose size is told before training [choice]


def read(data: config.Data) -> tracklet.Dataset:
    """Index of the data set, in the split and part asked for; the synthetic one is rendered first where it is missing.

    `data.part` 'validation' is the data set's own validation part, and otherwise ids held out of the training split.
    The training tracklets of the data sets in `data.also` follow.

    Raises:
      OSError, ValueError: as the readers.
    """
    dataset = _alone(data)
    if not data.also:
        return dataset
    return mixing.mix(dataset, [(describe(other), _alone(other)) for other in mixing.settings(data)])


def _alone(data: config.Data) -> tracklet.Dataset:
    dataset = _as_published(data)
    if data.part == 'validation' and not catalogue.find(data.dataset).own_validation:
        dataset = validation_split.split(dataset, trial=data.part_trial)
    if data.dense_frames:
        pieces = dense_split.split(dataset.train, frames=data.dense_frames, stride=data.dense_stride)
        dataset = dataclasses.replace(dataset, train=pieces)
    return dataset


def _as_published(data: config.Data) -> tracklet.Dataset:
    if data.split == 'all':
        raise ValueError('data.split = all stands for ten runs of jaxreid.main; choose one split from 0 to 9 here')
    if data.records:
        files, index = _records(data.records, record_index.place(data))
        return record_index.to_dataset(index, data, folder=files.folder, root=str(files.root))
    return catalogue.find(data.dataset).read(data)


def of_settings(settings: Any) -> config.Experiment:
    """The experiment of settings that a file carries: they may be anybody's, so that nothing is written where they say.

    Raises:
      ValueError: they are no settings, or of a benchmark that is to be rendered and is not there.
    """
    experiment = config.validate(config.from_dict(settings))
    data = experiment.data
    data.flow_folder = ''
    if (
        data.root
        and catalogue.find(data.dataset).rendered
        and not os.path.isfile(os.path.join(data.root, plan.DESCRIPTION))
    ):
        raise ValueError(f'data.root = {data.root!r} holds no rendered benchmark')
    return experiment


def describe(data: config.Data) -> str:
    """A data set by name and what else chooses it, for results: 'mars + synthetic tiny'."""
    text = catalogue.find(data.dataset).describe(data)
    part = f' ({data.part})' if data.part != 'official' else ''
    return ' + '.join([text + part, *map(describe, mixing.settings(data))])


def store(data: config.Data, dataset: tracklet.Dataset, *, split: str, damaged: str = '') -> ReadableStore:
    """Frames of the 'train' or 'test' tracklets, in the config's size and with its policy for corrupt ones.

    `damaged` is a file that names of replaced frames are added to.

    Raises:
      ValueError: the flow folder is another data set's, or tracklets are not among the records.
      OSError: a flow folder or records cannot be read.
    """
    if split == 'train' and dataset.mixed_in:
        parts = mixing.unmix(dataset)
        stores = [
            _store(one, part, split=split, damaged=damaged)
            for one, part in zip([data, *mixing.settings(data)], parts, strict=True)
        ]
        return mixed_store.MixedStore(stores, [len(part.train) for part in parts])
    return _store(data, dataset, split=split, damaged=damaged)


def _store(data: config.Data, dataset: tracklet.Dataset, *, split: str, damaged: str) -> folder_store.FolderStore:
    training = split == 'train'
    on_corrupt = data.on_corrupt_train if training else data.on_corrupt_eval
    tracklets = dataset.train if training else dataset.test
    how = folder_store.Reading(
        height=data.height,
        width=data.width,
        resize=data.resize,
        on_corrupt=on_corrupt,
        damaged=damaged,
        flow=data.flow,
        flow_engine=data.flow_engine,
        flow_folder=flow_folder(data, dataset),
        cache=_flow_cache(dataset.root, split, on_corrupt, data.flow_cache_mb),
    )
    if how.flow == 'tvl1' and how.flow_folder:
        own_flow(data, dataset, how.flow_folder)
    match data.store:  # 'ram' and 'device' decode from one of the others
        case 'folder' | 'ram' | 'device' if not data.records:
            return folder_store.FolderStore(dataset.root, tracklets, how)
        case 'records' | 'ram' | 'device':
            files, index = _records(data.records, record_index.place(data))
            return record_store.RecordStore(files, index, tracklets, how, stored_flow=_flow_records(data, files))
        case _:
            raise ValueError(f'unknown store {data.store!r}')


def own_flow(data: config.Data, dataset: tracklet.Dataset, folder: str) -> None:
    """Refuses a flow folder that is another data set's; see `flow_owner`."""
    if data.records:
        files, index = _records(data.records, record_index.place(data))
        read = functools.partial(record_store.image_file, files, index)
    else:
        read = functools.partial(_file, dataset.root)
    paths = [path for one in (*dataset.train, *dataset.test) for path in one.frames]
    alone = dataclasses.replace(data, also=())
    flow_owner.check(folder, paths, read, dataset=describe(alone), root=dataset.root)


def _file(root: str, path: str) -> bytes:
    return paths.content(os.path.join(root, path))


def training_store(
    data: config.Data, dataset: tracklet.Dataset, mesh: jax.sharding.Mesh, *, damaged: str = ''
) -> frame_store.Store | device_store.DeviceStore:
    """Frames of the training tracklets from where `data.store` wants them; decodes them all where that is memory.

    `damaged` as of `store`.
    """
    read_from = store(data, dataset, split='train', damaged=damaged)
    with_flow, progress = data.flow != 'off', jax.process_index() == 0
    # Not of records: where they are remote, this would fetch files that the first steps do not need.
    if progress and dataset.train and not data.records and (text := about_sizes(read_from, dataset.train)):
        tqdm.tqdm.write(text)
    match data.store:
        case 'ram':
            return ram_store.RamStore(
                read_from, dataset.train, with_flow=with_flow, threads=data.threads, progress=progress
            )
        case 'device':
            return device_store.DeviceStore(
                read_from, dataset.train, mesh, with_flow=with_flow, threads=data.threads, progress=progress
            )
        case _:
            return read_from


def about_sizes(store: ReadableStore, tracklets: Sequence[tracklet.Tracklet]) -> str:
    """How many frames, of some all over the tracklets, are resized, in a line for people; '' where none is."""
    ends = np.cumsum([len(one.frames) for one in tracklets])
    looked_at = np.unique(np.linspace(0, ends[-1] - 1, _LOOKED_AT).astype(int))
    wanted, other = store.frame_shape[:2], []
    for frame in looked_at.tolist():
        row = int(np.searchsorted(ends, frame, side='right'))
        position = frame - int(ends[row]) + len(tracklets[row].frames)
        if (size := store.stored_size(row, position)) not in (None, wanted):
            other.append((tracklets[row].frames[position], size))
    if not other:
        return ''
    path, (height, width) = other[0]
    return (
        f'frames: {len(other)} of {len(looked_at)} looked at are not {wanted[0]}x{wanted[1]} and are resized, such as '
        f'{path} of {height}x{width} (data.height x data.width)'
    )


def flow_folder(data: config.Data, dataset: tracklet.Dataset) -> str:
    """Where computed flow is kept: as the settings say; of what is rendered, in a folder of ours, beside it."""
    if data.flow_folder or not catalogue.find(data.dataset).rendered or data.records:
        return data.flow_folder
    return os.path.join(dataset.root, 'flow')


@functools.lru_cache(maxsize=4)
def _records(folder: str, below: str) -> tuple[record_files.RecordFiles, record_index.Index]:
    """A record set, opened once by a process: the index of a large one takes seconds, and memory."""
    files = record_files.find(folder, below=below)
    for name in files.sizes:
        if '.array_record-' not in name:  # what is small comes at once, for who looks into `Dataset.root`
            files.path(name)
    return files, record_index.from_bytes(files.path(record_index.FILE).read_bytes(), folder=files.folder)


def _flow_records(data: config.Data, files: record_files.RecordFiles) -> record_files.RecordFiles | None:
    """Where flow of this size and engine was added to the records; None computes it."""
    folder = f'{files.folder}/{record_files.flow_name(data.height, data.width, engine=data.flow_engine)}'
    if data.flow != 'tvl1' or not record_files.exists(folder, record_files.MANIFEST):
        return None
    return record_files.open_set(folder)


@functools.lru_cache(maxsize=4)
def _flow_cache(root: str, split: str, on_corrupt: str, megabytes: int) -> flow_cache.FlowCache:
    """One for all stores of a split in this process: every evaluation of a run finds what the one before computed."""
    return flow_cache.FlowCache(megabytes * 2**20)
