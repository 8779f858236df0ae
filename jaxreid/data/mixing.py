"""Several data sets in one training: their training tracklets behind each other, with ids and cameras of their own.

The first data set keeps its ids, cameras and test split. Ids of every further one are moved behind the largest before
them, so that the label map is a function of the data sets and their order alone; so are its cameras.
"""

import collections
import dataclasses
import hashlib
import itertools
import os
from collections.abc import Sequence

from jaxreid import config
from jaxreid.data.datasets import catalogue
from jaxreid.data.tracklets import tracklet


def settings(data: config.Data) -> list[config.Data]:
    """The settings of every data set that `data.also` names: those of `data` but for what names the data set.

    An entry is NAME=ROOT, or NAME:SPLIT=ROOT or NAME:PRESET=ROOT where there are several; whole data sets are mixed in,
    not the part of them that `data.part` leaves. Without a root, they are among the record sets of `data.records`.

    Raises:
      ConfigError: an entry that names no data set, or a data set twice.
    """
    made = [_settings(data, entry) for entry in data.also]
    places = collections.Counter(itertools.chain.from_iterable(map(_places, [data, *made])))
    if twice := [place for place, count in places.items() if count > 1]:
        raise config.ConfigError(
            f'config.data.also names {twice[0][0]} in {twice[0][1]!r}, which is part of the run already: its people '
            'would be trained on twice, or trained on and tested on'
        )
    return made


def _places(data: config.Data) -> set[tuple[str, str]]:
    """Where a data set is known to lie: in its folder, among records, or, where both are named, in either."""
    roots = {data.root} if data.root or not data.records else set()
    roots |= {data.records} if data.records else set()
    if catalogue.find(data.dataset).presets:
        return {(data.dataset, f'{root}:{data.preset}') for root in roots}
    return {(data.dataset, root if '://' in root else os.path.realpath(os.path.expanduser(root))) for root in roots}


def _settings(data: config.Data, entry: str) -> config.Data:
    problem = config.also_problem(entry, with_records=bool(data.records))
    if problem:
        raise config.ConfigError(problem)
    where, _, root = entry.partition('=')
    name, _, detail = where.partition(':')
    flow_folder = data.flow_folder  # where paths start from the data set's root
    if flow_folder:
        flow_folder = os.path.join(flow_folder, f'{name}-{hashlib.sha256(entry.encode()).hexdigest()[:8]}')
    facts = catalogue.find(name)
    return dataclasses.replace(
        data, dataset=name, root=root, frames_root='', records='' if root else data.records, also=(), split_rule='',
        store='folder' if root else data.store,  # this is asked for what memory is filled from, too
        split=detail if detail and facts.num_splits > 1 else '0',
        preset=detail if detail and facts.presets else config.Data.preset,
        part='official', part_trial=0, flow_folder=flow_folder,
    )  # fmt: skip


def mix(first: tracklet.Dataset, others: Sequence[tuple[str, tracklet.Dataset]]) -> tracklet.Dataset:
    """The first data set, which keeps its test split, with the training tracklets of the others behind its own; each
    comes with what it is called.

    The others stay, as they came, in `mixed_in`; the names of moved ids and cameras say whose they are.
    """
    train = list(first.train)
    pid_names, camera_names = dict(first.pid_names), dict(first.camera_names)
    top_pid = max([0, *(one.pid for one in (*first.train, *first.test))])
    top_camera = max([0, *(one.camera for one in (*first.train, *first.test))])
    for number, (name, other) in enumerate(others, start=1):
        # Counted from the smallest, which may be 0 or below; gaps between ids stay.
        pid_shift = top_pid + 1 - min([1, *(one.pid for one in other.train)])
        camera_shift = top_camera + 1 - min([1, *(one.camera for one in other.train)])
        for one in other.train:
            pid, camera = one.pid + pid_shift, one.camera + camera_shift
            pid_names[pid] = f'{name} {other.pid_names.get(one.pid, one.pid)}'
            camera_names[camera] = f'{name} {other.camera_names.get(one.camera, one.camera)}'
            train.append(dataclasses.replace(one, name=f'{number}:{one.name}', pid=pid, camera=camera))
            top_pid, top_camera = max(top_pid, pid), max(top_camera, camera)
    return dataclasses.replace(
        first,
        train=tuple(train),
        pid_names=pid_names,
        camera_names=camera_names,
        mixed_in=tuple([other for _, other in others]),
    )


def unmix(dataset: tracklet.Dataset) -> list[tracklet.Dataset]:
    """The data sets whose training tracklets, one behind the other, are those of `dataset`."""
    own = len(dataset.train) - sum(len(other.train) for other in dataset.mixed_in)
    return [dataclasses.replace(dataset, train=dataset.train[:own], mixed_in=()), *dataset.mixed_in]
