"""What a score on the rendered benchmark is to be compared with: colour alone, no training, one frame, skeletons."""

import dataclasses
import math
from typing import Any

import jax
import numpy as np
import tqdm

from jaxreid import config
from jaxreid.data import source
from jaxreid.data.synthetic import plan as plan_lib
from jaxreid.data.tracklets import tracklet
from jaxreid.evaluation import feature_file, network, protocols, results
from jaxreid.evaluation.references import colour_baseline, skeleton_oracle


def compute(
    trained: network.Network, dataset: tracklet.Dataset, *, untrained: dict, features: feature_file.Features
) -> dict[str, dict[str, float | None]]:
    """Scores the references on the rendered data set of a run; `untrained` are its variables before training, on the
    devices.

    Returns:
      By name ('trained', 'one_frame', 'untrained', 'colour'): mAP, rank1, and rank-1 inside look-alike groups with its
      number of queries and chance; 'skeleton_oracle': its rank-1 inside the groups. Percent; None where the data has no
      such queries.
    """
    description = plan_lib.read(dataset.root).to_json()
    groups = description['groups']['test']
    experiment = trained.experiment
    one = trained.features(dataset, label='one frame', one_frame=True)
    raw = dataclasses.replace(trained, variables=untrained, step=0).features(dataset, label='untrained')
    embeddings = {
        'trained': features.embedding,
        'one_frame': one.embedding,
        'untrained': raw.embedding,
        'colour': colour_baseline.features(read_spread(experiment.data, dataset), features.camera),
    }
    rule = protocols.named(experiment.test.protocols[0])
    scores: dict[str, dict[str, float | None]] = {}
    for name, embedding in embeddings.items():
        seen = dataclasses.replace(features, embedding=embedding)
        distance = 'cosine' if name == 'colour' else experiment.test.distance
        score = protocols.score(seen, rule, distance=distance)
        inside = protocols.look_alike_rank1(seen, rule, groups, distance=distance)
        scores[name] = {'mAP': score['mAP'], 'rank1': score['cmc']['1'], 'look_alike_rank1': _number(inside.rank1)}
    scores['look_alikes'] = {'queries': inside.queries, 'chance': _number(inside.chance)}
    scores['skeleton_oracle'] = {'look_alike_rank1': oracle(experiment, description, features)}
    return scores


def oracle(experiment: config.Experiment, description: dict[str, Any], features: feature_file.Features) -> float | None:
    """Accuracy inside the look-alike groups of one who sees the skeletons of one clip of every query."""
    if not description['groups']['test']:
        return None
    frames = {
        str(name): skeleton_oracle.consecutive_frames(int(length), length=experiment.test.frames)
        for name, length in zip(features.name[features.query], features.frames[features.query], strict=True)
    }
    return skeleton_oracle.skeleton_accuracy(description, frames).accuracy


def read_spread(data: config.Data, dataset: tracklet.Dataset) -> list[np.ndarray]:
    """The frames of every test tracklet that the colour baseline sees, [F, H, W, 3] uint8 each."""
    store = source.store(data, dataset, split='test')
    rows = tqdm.tqdm(dataset.test, desc='colours', unit='tracklet', leave=False, disable=jax.process_index() > 0)
    return [store.read(row, colour_baseline.spread(len(one.frames))) for row, one in enumerate(rows)]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def table(row: results.Result) -> str:
    """The references beside the result, as text."""
    scores = row['references']
    names = {
        'trained': 'this network',
        'one_frame': 'this network, each clip one frame repeated',
        'untrained': 'the network before training',
        'colour': 'strongest colour baseline',
        'skeleton_oracle': 'oracle: skeletons of one clip per query',
    }
    lines = ['', f'{"for comparison":<43}{"mAP":>8}{"R-1":>8}{"R-1 inside look-alike groups":>29}']
    for name, label in names.items():
        score = scores[name]
        cells = ''.join(f'{_cell(score.get(k)):>{w}}' for k, w in (('mAP', 8), ('rank1', 8), ('look_alike_rank1', 29)))
        lines.append(f'{label:<43}{cells}')
    inside = scores['look_alikes']
    lines.append(f'{"chance inside the groups (1/g)":<43}{"":>16}{_cell(inside["chance"]):>29}')
    lines.append(f'{inside["queries"]} queries have several look-alikes in the gallery')
    return '\n'.join(lines)


def _cell(value: float | None) -> str:
    return '-' if value is None else f'{value:.2f}'
