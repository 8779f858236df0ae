"""Computes the optical flow of every frame of a data set ahead of training, and keeps it in a folder.

  python -m data_pipelines.optical_flow --config configs/star_mars.py --config.data.root=/path/to/MARS \
      --config.data.flow_folder=/path/to/flow

Runs that are given the same `--config.data.flow_folder` and `--config.data.flow_engine` read it from there. Frames that
have their flow already are skipped, so a stopped run continues. `--engine=jax` computes on JAX's device, many frames at
a time; docs/data.md tells how fast each engine is and how little their flows differ.
"""

import dataclasses
import os
import sys
import threading
from collections.abc import Sequence
from concurrent import futures
from typing import Any

import tqdm
from absl import app, flags
from ml_collections import config_flags

from jaxreid import config
from jaxreid.data import mixing, source
from jaxreid.data.datasets import catalogue
from jaxreid.data.flow import optical_flow
from jaxreid.data.stores import folder_store, frame_store
from jaxreid.data.tracklets import tracklet
from jaxreid.process import exit_status

CONFIG = config_flags.DEFINE_config_file('config', None, 'FILE.py or FILE.py:VARIANT of a system that looks at flow.')
ENGINE = flags.DEFINE_enum('engine', None, config.choices('data.flow_engine'), 'Short for --config.data.flow_engine.')
WORKERS = flags.DEFINE_integer('workers', os.cpu_count(), 'Threads.', lower_bound=1)
_FRAMES_PER_TASK = 64


def compute(data: config.Data, *, workers: int) -> int:
    """Fills `data.flow_folder`; returns the number of frames that have their flow there.

    Raises:
      ConfigError: the settings name no flow or no folder.
      ValueError: an unreadable frame, under the policy of `data.on_corrupt_train` and `data.on_corrupt_eval`.
    """
    if data.flow != 'tvl1':
        raise config.ConfigError(
            f'config.data.flow = {data.flow!r}: there is nothing to compute; take a config of STAR'
        )
    facts = catalogue.find(data.dataset)
    if not facts.rendered and not (data.root and data.flow_folder):
        raise config.ConfigError(
            'name the data set with --config.data.root=... and where its flow is to be kept with '
            f'--config.data.flow_folder=... {facts.layout}'
        )
    own = dataclasses.replace(data, also=())
    dataset = source.read(own)
    frames = 0
    for split, tracklets in (('train', dataset.train), ('test', dataset.test)):
        store = source.store(own, dataset, split=split)
        frames += _compute_split(store, tracklets, own, f'flow, {split}', workers)
    for other in mixing.settings(data):
        dataset = source.read(other)
        store = source.store(other, dataset, split='train')
        frames += _compute_split(store, dataset.train, other, f'flow, {other.dataset}', workers)
    return frames


def _compute_split(
    store: frame_store.Store,
    tracklets: Sequence[tracklet.Tracklet],
    data: config.Data,
    label: str,
    workers: int,
) -> int:
    assert isinstance(store, folder_store.FolderStore)  # of one data set, read as it lies
    together = optical_flow.pairs_at_once(data.flow_engine, height=data.height, width=data.width)
    task_size = together * -(-_FRAMES_PER_TASK // together)
    frames = [(row, frame) for row, one in enumerate(tracklets) for frame in range(len(one.frames))]
    bar = tqdm.tqdm(total=len(frames), desc=label, unit='frame')

    stop = threading.Event()

    def work(task: int) -> None:
        for start in range(task, min(task + task_size, len(frames)), together):
            if stop.is_set():
                return
            part = frames[start : start + together]
            store.read_flows(part)
            bar.update(len(part))

    pool = futures.ThreadPoolExecutor(workers)
    with bar:
        try:
            for done in futures.as_completed([pool.submit(work, i) for i in range(0, len(frames), task_size)]):
                done.result()
        finally:
            stop.set()  # an error, or Ctrl-C, ends the run with the frames that are at work
            pool.shutdown(cancel_futures=True)
    return len(frames)


def main(argv: list[str]) -> None:
    """Parses and runs.

    Raises:
      ValueError, OSError: as `compute`, or a setting that cannot be.
    """
    if len(argv) > 1 or CONFIG.value is None:
        raise app.UsageError('give --config FILE.py[:VARIANT]')
    data = config.validate(CONFIG.value).data
    engine: dict[str, Any] = {'flow_engine': ENGINE.value} if ENGINE.value else {}
    data = dataclasses.replace(data, **engine)
    frames = compute(data, workers=WORKERS.value or 1)
    print(f'{frames} frames have their flow')


if __name__ == '__main__':
    sys.exit(exit_status.run(lambda: app.run(main)))
