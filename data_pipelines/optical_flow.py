"""Computes the optical flow of every frame of a data set ahead of training, and keeps it in a folder.

  python -m data_pipelines.optical_flow --config configs/star_mars.py --config.data.root=/path/to/MARS \\
      --config.data.flow_folder=/path/to/flow

Runs that are given the same `--config.data.flow_folder` and `--config.data.flow_engine` read it from there. Frames that
have their flow already are skipped, so a stopped run continues. `--engine=jax` computes on JAX's device, many frames at
a time; docs/data.md tells how fast each engine is and how little their flows differ.
"""

import argparse
import dataclasses
import os
import re
import sys
import threading
from collections.abc import Sequence
from concurrent import futures

import tqdm

from jaxreid import command_line, config
from jaxreid.data import mixing, source
from jaxreid.data.datasets import catalogue
from jaxreid.data.flow import optical_flow
from jaxreid.data.stores import folder_store, frame_store
from jaxreid.data.tracklets import tracklet
from jaxreid.process import commands

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


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, config.Data]:
    """The command line: options, and the settings of the data.

    Raises:
      ConfigError, flags.Error: settings that cannot be.
    """
    parser = commands.parser('flow', __doc__)
    parser.add_argument('--config', required=True, metavar='NAME', help='config of a system that looks at flow')
    parser.add_argument('--engine', choices=config.choices('data.flow_engine'), help='as --config.data.flow_engine')
    parser.add_argument('--workers', type=int, default=os.cpu_count(), help='threads (all cores)')
    parser.epilog = 'Settings are changed with --config.section.field=value, as of jaxreid.main.'
    options, rest = parser.parse_known_args(argv)
    if unknown := [argument for argument in rest if not re.match(r'--config\.[\w.]+=', argument)]:
        parser.error(f'unexpected argument {unknown[0]!r}; settings are written --config.section.field=value')
    if options.workers < 1:
        parser.error(f'--workers {options.workers}: at least one thread is needed')
    data = command_line.read_config(options.config, rest).data
    return options, dataclasses.replace(data, **({'flow_engine': options.engine} if options.engine else {}))


def run(argv: Sequence[str]) -> int:
    """Parses, computes, says how many; expected errors become one message and an exit status."""

    def act() -> int:
        options, data = parse(argv)
        print(f'{compute(data, workers=options.workers)} frames have their flow')
        return 0

    return command_line.run(act)


if __name__ == '__main__':
    sys.exit(run(sys.argv[1:]))
