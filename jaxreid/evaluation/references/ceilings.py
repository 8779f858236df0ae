"""How much there is to gain on the rendered benchmark: a trained network, and the same one helped by an oracle.

python -m jaxreid.evaluation.references.ceilings occlusion --checkpoint runs/plain

The oracles read the plan, not the pixels. `shown` leaves out the frames in which the person is hidden, which is a
temporal attention with the right weights; the others draw the test split anew, with nothing in the way, without the
dummies, or with the box where a perfect detector has it. For look-alikes the skeleton oracle says whether single frames
tell them apart, and whether frames in their order do; the network sees its clips as they are, shuffled, and one frame
of each repeated. Differences are in percentage points, paired by query, with the 95 % interval of the uncertainty.
"""

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from jaxreid import command_line, config
from jaxreid.data import source
from jaxreid.data.stores import frame_store
from jaxreid.data.synthetic import attributes, render
from jaxreid.data.synthetic import plan as plan_lib
from jaxreid.data.tracklets import tracklet
from jaxreid.evaluation import feature_file, network, protocols, strata, uncertainty
from jaxreid.evaluation.references import skeleton_oracle
from jaxreid.process import commands, exit_status
from jaxreid.training import checkpoint


class Redrawn:
    """Frames of the test split as `changed` walks have them: a store that draws instead of reading."""

    skipped = 0  # of the protocol: no file is corrupt

    def __init__(self, plan: plan_lib.Plan, changed: Sequence[plan_lib.Walk]):
        self.frame_shape = (plan.preset.height, plan.preset.width, 3)
        self._renderer, self._walks = render.Renderer(plan), changed
        self._drawn: dict[int, np.ndarray] = {}

    def read(self, row: int, frames: np.ndarray) -> np.ndarray:
        """[T, H, W, 3] uint8 RGB. All frames of a walk are drawn when the first is asked for."""
        if row not in self._drawn:
            self._drawn[row] = np.stack(list(self._renderer.frames(self._walks[row])))
        return self._drawn[row][frames]

    def read_flow(self, row: int, frames: np.ndarray) -> np.ndarray:
        """Nothing that is drawn has flow."""
        raise ValueError('Frames that are drawn anew have no optical flow: give a checkpoint that was trained without.')


class Shuffled:
    """A store whose clips come in an order of their own: what is left without the order of time."""

    def __init__(self, store: frame_store.Store):
        self.frame_shape, self._store = store.frame_shape, store

    @property
    def skipped(self) -> int:
        """As the store's."""
        return self._store.skipped

    def read(self, row: int, frames: np.ndarray) -> np.ndarray:
        """The frames asked for, shuffled by their own numbers."""
        order = np.random.default_rng((row, *np.asarray(frames).tolist())).permutation(len(frames))
        return self._store.read(row, np.asarray(frames)[order])

    def read_flow(self, row: int, frames: np.ndarray) -> np.ndarray:
        """Shuffled frames have no flow."""
        raise ValueError('Shuffled frames have no optical flow: give a checkpoint that was trained without.')


def shown_frames(plan: plan_lib.Plan, walk: plan_lib.Walk) -> np.ndarray:
    """[S] positions of the frames that show the person whole; those that hide it least where there are none."""
    body = plan_lib.layout(plan, walk)
    hidden = body.hidden.mean(1) + attributes.striped_frames(plan, walk, body)
    shown = ~attributes.occluded_frames(body) & (hidden < 1)
    return np.flatnonzero(shown if shown.any() else hidden <= hidden.min())


def shown_only(plan: plan_lib.Plan, dataset: tracklet.Dataset) -> tracklet.Dataset:
    """The data set whose test tracklets lack the frames in which the person is hidden."""
    test = tuple([
        dataclasses.replace(one, frames=tuple([one.frames[i] for i in shown_frames(plan, walk)]))
        for one, walk in zip(dataset.test, plan.tracklets['test'], strict=True)
    ])  # fmt: skip
    return dataclasses.replace(dataset, test=test)


def redrawn(plan: plan_lib.Plan, what: str) -> list[plan_lib.Walk]:
    """The test walks 'nothing in the way', 'no dummies' or 'right boxes'; junk stays as it is.

    Raises:
      ValueError: `what` is none of these.
    """
    match what:
        case 'nothing in the way':
            changed: dict[str, Any] = {'occluder': 'none', 'stripe': 0}
        case 'no dummies':
            changed = {'clutter': -1}
        case 'right boxes':
            changed = {'shift': (0.0, 0.0), 'zoom': 1.0, 'wander': 0.0}
        case _:
            raise ValueError(f'there is no oracle {what!r}')
    walks = plan.tracklets['test']
    return [walk if walk.identity == plan_lib.JUNK else dataclasses.replace(walk, **changed) for walk in walks]


@dataclasses.dataclass(frozen=True)
class Ceiling:
    """One way to see the test split. All in percent or points; `gain`, `interval` and `strata` are against the plain.

    gain, interval: of mAP. look_alike_rank1: NaN without look-alikes. strata: differences, without intervals.
    """

    name: str
    map: float
    rank1: float
    gain: float
    interval: tuple[float, float]
    look_alike_rank1: float
    strata: list[strata.Stratum]


def load(root: pathlib.Path, path: pathlib.Path) -> network.Network:
    """The network of a checkpoint, to be used on the rendered data in `root`.

    Raises:
      ValueError: it takes frames of another size than the data has, or optical flow.
      CheckpointError: there is no checkpoint.
    """
    preset = plan_lib.read(root).preset
    experiment = config.from_dict(checkpoint.read_meta(*checkpoint.find(path))['config'])
    data = experiment.data
    size, drawn = (data.height, data.width), (preset.height, preset.width)
    if size != drawn or data.flow != 'off':
        raise ValueError(
            f'{path} takes frames of {size[0]}x{size[1]} with flow {data.flow}; the oracles draw {preset.name} in '
            f'{drawn[0]}x{drawn[1]} without flow. Give a checkpoint that was trained so.'
        )
    experiment.data = dataclasses.replace(
        data, dataset='synthetic', preset=preset.name, root=str(root), records='', part='official', also=()
    )
    return network.Network.load(path, experiment=experiment)


def ceilings(helped: network.Network, *, only: Collection[str] | None = None) -> list[Ceiling]:
    """The network, from `load`, without and with each oracle that the data has a use for, or those of `only`; the first
    is without.
    """
    experiment = helped.experiment
    plan, dataset = plan_lib.read(experiment.data.root), source.read(experiment.data)
    store = source.store(experiment.data, dataset, split='test')
    walks = plan.tracklets['test']
    views: dict[str, tuple[tracklet.Dataset, frame_store.Store, bool]] = {'as it is': (dataset, store, False)}
    if any(walk.occluder != 'none' for walk in walks):
        shown = shown_only(plan, dataset)
        views['frames that show the person'] = shown, source.store(experiment.data, shown, split='test'), False
        views['nothing in the way'] = dataset, Redrawn(plan, redrawn(plan, 'nothing in the way')), False
    if any(walk.clutter >= 0 for walk in walks):
        views['no dummies'] = dataset, Redrawn(plan, redrawn(plan, 'no dummies')), False
    if plan.preset.wander or plan.preset.misaligned:
        views['right boxes'] = dataset, Redrawn(plan, redrawn(plan, 'right boxes')), False
    if plan.groups['test']:
        views['clips shuffled'] = dataset, Shuffled(store), False
        views['one frame of each clip'] = dataset, store, True
    rule = protocols.named(experiment.test.protocols[0])
    rows: list[Ceiling] = []
    plain: protocols.Results | None = None
    for name, (seen, frames, one_frame) in views.items():
        if rows and only is not None and name not in only:
            continue
        features = helped.features(seen, label=name, one_frame=one_frame, store=frames)
        ranked, inside = _score(features, experiment, plan)
        plain = plain or ranked
        values, without = (100 * protocols.per_query(one, rule) for one in (ranked, plain))
        gain = (values - without)[:, :1]
        low, high = uncertainty.resampled_intervals([gain], seed=0)[0].tolist()
        by_stratum = strata.scores([features], [ranked], rule, minus=[plain], resamples=0)
        means = values[:, 0].mean(), values[:, 2].mean(), gain.mean()
        rows.append(Ceiling(name, *means, (low, high), inside, by_stratum))
    return rows


def _score(
    features: feature_file.Features, experiment: config.Experiment, plan: plan_lib.Plan
) -> tuple[protocols.Results, float]:
    """The queries ranked, and rank-1 inside the look-alike groups."""
    rule = protocols.named(experiment.test.protocols[0])
    ranked = protocols.rank_queries(features, rule, distance=experiment.test.distance)
    inside = protocols.look_alike_rank1(features, rule, plan.groups['test'], distance=experiment.test.distance)
    return ranked, inside.rank1


def skeletons(plan: plan_lib.Plan, *, frames: int) -> dict[str, skeleton_oracle.OracleScore]:
    """What skeletons tell of look-alikes: of a query's clips of `frames` frames in the middle, in order and not."""
    walks = [plan.tracklets['test'][row] for row in plan.queries]
    clips = {walk.name: skeleton_oracle.consecutive_frames(walk.frames, length=frames) for walk in walks}
    description = plan.to_json()
    return {
        name: skeleton_oracle.skeleton_accuracy(description, clips, ordered=ordered)
        for name, ordered in (('skeletons, each frame by itself', False), ('skeletons in order', True))
    }


def table(rows: Sequence[Ceiling], bones: dict[str, skeleton_oracle.OracleScore]) -> str:
    """The ceilings as text."""
    lines = []
    if rows:
        lines.append(f'{"":<34}{"mAP":>7}{"R-1":>8}{"gain in mAP":>13}{"95 %":>16}{"inside groups":>15}')
    for row in rows:
        ends = f'[{row.interval[0]:+.1f}, {row.interval[1]:+.1f}]' if row is not rows[0] else ''
        gain = f'{row.gain:+.2f}' if ends else ''
        inside = '' if np.isnan(row.look_alike_rank1) else f'{row.look_alike_rank1:.1f}'
        lines.append(f'{row.name:<34}{row.map:7.2f}{row.rank1:8.2f}{gain:>13}{ends:>16}{inside:>15}')
    lines += [
        f'{name:<34}{"":>44}{score.accuracy:>15.1f}  (chance {score.chance:.1f}, {score.queries} queries)'
        for name, score in bones.items()
    ]
    return '\n'.join(lines)


def run(options: argparse.Namespace) -> None:
    """Prints the table of a preset."""
    root = render.ensure(options.root, options.preset)
    plan, rows = plan_lib.read(root), []
    if options.checkpoint:
        command_line.set_up('float32')
        rows = ceilings(load(root, options.checkpoint))
    print(table(rows, skeletons(plan, frames=options.frames) if plan.groups['test'] else {}))


def main(argv: Sequence[str] | None = None) -> int:
    """Parses and prints; returns the exit status."""
    parser = commands.parser('ceilings', __doc__)
    parser.add_argument('preset', choices=config.PRESETS)
    parser.add_argument('--checkpoint', type=pathlib.Path, help='workdir or checkpoint of the network to be helped')
    parser.add_argument('--root', default='', help="folder of the rendered data; default the user's cache")
    parser.add_argument('--frames', type=int, default=4, help='of a clip that the skeleton oracle sees (4)')
    options = parser.parse_args(argv)
    return exit_status.run(lambda: run(options))


if __name__ == '__main__':
    sys.exit(main())
