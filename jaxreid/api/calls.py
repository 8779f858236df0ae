"""What `import jaxreid` offers: see each function, and `embedder.load`."""

import os
import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxreid import command_line, config, training_loop
from jaxreid.api.embedder import load as load
from jaxreid.data import source
from jaxreid.data.tracklets import tracklet
from jaxreid.evaluation import evaluate as evaluation
from jaxreid.evaluation import feature_file, protocols, refinement, results, rule_scores, rules, sanity, uncertainty
from jaxreid.evaluation.ordering import ranking
from jaxreid.evaluation.ordering import rerank as rerank_lib
from jaxreid.process import transcript
from jaxreid.reproduce import ten_splits

Features = feature_file.Features | str | os.PathLike


class Ranking(NamedTuple):
    """order: [Q, K] int, rows of the gallery, nearest first. distances: [Q, K] float, theirs."""

    order: np.ndarray
    distances: np.ndarray


def settings(name: str = command_line.DEFAULT_CONFIG, changes: Mapping[str, Any] | None = None) -> config.Experiment:
    """Settings of a config file: `settings('strf_mars:table2_p3db', {'data.root': '/path/to/MARS'})`.

    Args:
      name: as --config takes it: a name of configs/ or a path, with a variant after a colon.
      changes: 'section.field' -> value.

    Raises:
      config.ConfigError: no such file, variant or setting, or values that cannot be.
    """
    made = command_line.read_config_file(name)
    config.apply(made, dict(changes or {}))
    return config.validate(made)


def read(dataset: str, root: str | os.PathLike = '', **data: Any) -> tracklet.Dataset:
    """The index of a data set: tracklets with people, cameras and frames; no image is opened.

    Args:
      dataset: a name of config.DATASETS; 'manifest' and 'synthetic' are among them.
      root: its folder; of 'manifest' its table; of 'synthetic' where it is rendered, '' the user's cache.
      data: other settings of section `data`, e.g. split='3' or preset='tiny'.

    Raises:
      config.ConfigError: settings that cannot be. OSError, ValueError: the folder is not such a data set.
    """
    made = config.Experiment()
    config.apply(
        made, {'data.dataset': dataset, 'data.root': os.fspath(root), **{f'data.{k}': v for k, v in data.items()}}
    )
    command_line.check_root(config.validate(made))
    return source.read(made.data)


def train(
    settings: config.Experiment | str = command_line.DEFAULT_CONFIG,
    workdir: str | os.PathLike | None = None,
    *,
    recipe: str = '',
) -> list[results.Result]:
    """Trains a network and evaluates it, or goes on with what the workdir holds: `jaxreid train`.

    Args:
      settings: from `settings`, or what it takes.
      workdir: receives everything; None: runs/NAME, where `settings` is a name.
      recipe: the name that `settings` was made from, where it is none; settings.toml says what differs from it.

    Returns:
      The results, also in results.json.

    Raises:
      ValueError, OSError: as the command would say.
    """
    experiment, folder = _prepared(settings, workdir)
    act = ten_splits.train if experiment.data.split == 'all' else training_loop.train_and_evaluate
    with transcript.kept(folder):
        return act(experiment, folder, recipe=settings if isinstance(settings, str) else recipe)


def evaluate(
    settings: config.Experiment | str,
    checkpoint: str | os.PathLike,
    workdir: str | os.PathLike | None = None,
    *,
    scored: bool = True,
) -> list[results.Result]:
    """Extracts the features of a test split with a network, and scores them: `jaxreid eval`.

    Args:
      settings: of the network, and of the data that it is tested on; as of `train`.
      checkpoint: a workdir or a checkpoint.
      workdir: as of `train`; receives features.npz and results.json.
      scored: False: features alone, as `jaxreid extract`.

    Raises:
      ValueError, OSError: as the command would say.
    """
    experiment, folder = _prepared(settings, workdir)
    act = ten_splits.from_checkpoints if experiment.data.split == 'all' else evaluation.run
    with transcript.kept(folder):
        return act(experiment, folder, pathlib.Path(checkpoint), scored=scored)


def _prepared(
    named: config.Experiment | str, workdir: str | os.PathLike | None
) -> tuple[config.Experiment, pathlib.Path]:
    experiment = settings(named) if isinstance(named, str) else config.validate(named)
    if workdir is None:
        if not isinstance(named, str):
            raise ValueError('name the workdir: where settings are given, there is no name to call it by')
        workdir = command_line.default_workdir(named)
    command_line.check_root(experiment)
    command_line.parse_absl()
    command_line.set_up(experiment.train.compute_dtype)
    command_line.make_workdir(pathlib.Path(workdir))
    return experiment, pathlib.Path(workdir)


def rank(queries: np.ndarray, gallery: np.ndarray, *, distance: str = 'cosine', top: int | None = None) -> Ranking:
    """The gallery in order for every query.

    Args:
      queries: [Q, D] float.
      gallery: [G, D] float.
      distance: 'cosine', which is minus the cosine, or 'euclidean'.
      top: K, how many; None: all G.

    Raises:
      ValueError: features of other shapes, or not finite.
    """
    queries, gallery = _features(queries, gallery)
    if top is not None and top < 1:
        raise ValueError(f'top = {top}; expected at least 1')
    order, near = [], []
    for _, distances in ranking.distance_blocks(queries, gallery, distance=distance):
        nearest = np.stack(list(ranking.nearest(distances, len(gallery) if top is None else top)))
        order.append(nearest)
        near.append(np.take_along_axis(distances, nearest, axis=1))
    return Ranking(np.concatenate(order), np.concatenate(near))


def rerank(
    queries: np.ndarray,
    gallery: np.ndarray,
    *,
    distance: str = 'cosine',
    k1: int = 20,
    k2: int = 6,
    weight: float = 0.3,
) -> np.ndarray:
    """Distances [Q, G] after k-reciprocal re-ranking; arguments as `rank`, and see `ordering.rerank`.

    Warns where k1 is beyond the gallery.
    """
    queries, gallery = _features(queries, gallery)
    for warning in refinement.Refinement(distance, rerank=True, k1=k1).warnings(len(gallery)):
        warnings.warn(warning, stacklevel=2)
    return rerank_lib.rerank(queries, gallery, distance=distance, k1=k1, k2=k2, weight=weight)


def _features(queries: np.ndarray, gallery: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    both = []
    for name, given in (('queries', queries), ('gallery', gallery)):
        array = np.asarray(given)
        if array.ndim != 2 or not array.size or not np.issubdtype(array.dtype, np.floating):
            raise ValueError(f'{name} is {array.dtype} {list(array.shape)}, expected float [N, D], features one a row')
        if not np.isfinite(array).all():
            raise ValueError(f'{name} holds values that are NaN or infinite')
        both.append(array)
    if both[0].shape[1] != both[1].shape[1]:
        raise ValueError(f'queries have {both[0].shape[1]} dimensions, the gallery {both[1].shape[1]}')
    return both[0], both[1]


def score(
    features: Features | Sequence[Features],
    *,
    protocol: str = '',
    distance: str = '',
    rerank: bool = False,
    resamples: int = uncertainty.RESAMPLES,
) -> rule_scores.RuleScore:
    """mAP and ranks of features under one published rule, as `jaxreid score` prints them, and its `warnings`.

    Args:
      features: a feature file (docs/protocols.md) or what one holds; several, of splits, are averaged.
      protocol: a name of config.PROTOCOLS; '': as the file says, else mars-paper.
      distance: 'cosine' or 'euclidean'; '': as the file says, else cosine.
      rerank: re-rank first.
      resamples: of the bootstrap that gives intervals; 0: none.

    Raises:
      ValueError: a file that is none, or a rule that is not known.
    """
    given: list[Features] = list(features) if isinstance(features, list | tuple) else [features]  # type: ignore[list-item]
    files = [one if isinstance(one, feature_file.Features) else feature_file.load(one) for one in given]
    meta = files[0].meta
    protocol = protocol or feature_file.setting(meta, 'test', 'protocols', config.PROTOCOLS, 'mars-paper')
    distance = distance or feature_file.setting(meta, 'test', 'distance', ranking.DISTANCES, 'cosine')
    refined = refinement.Refinement(distance, rerank=rerank)
    distances = [refinement.Distances(one, refined) for one in files]
    rule = rules.Rule(protocols.named(protocol), distance)
    made = rule_scores.score(files, rule, distances, refined, resamples=resamples)[0]
    if doubts := [warning for one in files for warning in sanity.warnings(one, distances=[distance])]:
        made['warnings'] = doubts + made.get('warnings', [])
    return made
