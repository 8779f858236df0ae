"""`--mode eval` and `--mode extract`: the network of a checkpoint on a test split, on any number of devices."""

import dataclasses
import pathlib
from typing import cast

import jax

from jaxreid import config, sharding
from jaxreid.data import mixing, source
from jaxreid.data.stores import frame_cache, frame_store
from jaxreid.data.tracklets import tracklet
from jaxreid.evaluation import feature_file, network, protocols, refinement, results, rules, sanity, strata
from jaxreid.evaluation import features as features_lib
from jaxreid.process import host_memory, interrupt, metrics_log
from jaxreid.training import checkpoint


def run(
    experiment: config.Experiment, workdir: pathlib.Path, path: pathlib.Path, *, scored: bool
) -> list[results.Result]:
    """Extracts the features of a checkpoint's network and, where asked, scores them.

    `workdir` receives features.npz (another name where that holds other features, as do those of `test.also_clips`)
    and, where scored, results.json.
    """
    # Before any work: a file that is damaged, or of something else, stops here.
    if (workdir / features_lib.FILE).exists():
        feature_file.read_meta(workdir / features_lib.FILE)
    if scored:
        results.read(workdir / 'results.json')
    restored = network.Network.load(path, experiment=experiment, mesh=sharding.make_mesh())
    metrics_log.say(f'checkpoint {restored.path}')
    dataset = source.read(experiment.data)
    if scored:
        tracklet.check_answerable(dataset)
    trained_ids = trained_people(restored.meta) & test_people(dataset, experiment.data)
    metrics_log.say(f'{len(dataset.test)} test tracklets on {restored.mesh.size} device(s)')
    kinds = list(dict.fromkeys((experiment.test.clips, *experiment.test.also_clips)))
    store = shared_frames(experiment.data, dataset) if len(kinds) > 1 else None
    made: list[results.Result] = []
    for clips in kinds:
        with interrupt.listen() as requests, requests.at_once():
            extracted = restored.features(dataset, clips=clips, label=f'extract {clips}', store=store)
        file = features_lib.free_path(workdir, extracted.meta)
        if jax.process_index() == 0:
            extracted.save(file)
        if scored:
            selected = 'selected on the test set' if 'score' in restored.meta else 'last step'
            scores = score(extracted, experiment, selected=selected)
            made += [{**one, 'test_ids_trained_on': len(trained_ids)} if trained_ids else one for one in scores]
        metrics_log.say(f'features  {file}')
    if scored:
        metrics_log.say('\n' + results.table(made))
        if jax.process_index() == 0:
            results.append(workdir / 'results.json', made)
        metrics_log.say(f'\nresults   {workdir / "results.json"}')
    return made


def score(features: feature_file.Features, experiment: config.Experiment, *, selected: str) -> list[results.Result]:
    """One result per protocol of the config; each carries everything that its number depends on.

    `selected` says how the variables were chosen, e.g. 'last step'.
    """
    test, meta = experiment.test, features.meta
    refined = refinement.Refinement(
        test.distance, rerank=test.rerank, k1=test.rerank_k1, k2=test.rerank_k2, weight=test.rerank_lambda
    )
    distances = refinement.Distances(features, refined)
    doubts = sanity.of_values(features)
    made: list[results.Result] = []
    for name in test.protocols:
        rule = rules.Rule(protocols.named(name), test.distance)
        ranked = rules.rank(features, rule, distances)
        scored = protocols.summarize(ranked, features, rule.protocol, distance=test.distance)
        re_ranking = refined.describe()['re_ranking']
        scored['protocol'] |= {**_making(meta), 're_ranking': re_ranking, 'feature': 'after neck'}
        result = results.Result(**scored, step=meta['step'], selected=selected)
        if warnings := doubts + refined.warnings(cast(int, scored['protocol']['gallery_size'])):
            result['warnings'] = warnings
        if not made and (by_stratum := strata.scores([features], [ranked], rule.protocol)):
            result['strata'] = by_stratum
        also = {key: meta[key] for key in ('trained_on', 'tested_on', 'used_items', 'frame_weights') if meta.get(key)}
        result |= cast(results.Result, also)
        made.append(result)
    return made


def _making(meta: feature_file.Meta) -> feature_file.Making:
    """What a result says of how its features were made."""
    said = [key for key in feature_file.Making.__annotations__ if key != 'step']
    return cast(feature_file.Making, {key: meta[key] for key in said})  # type: ignore[literal-required]


def shared_frames(data: config.Data, dataset: tracklet.Dataset) -> frame_store.Store | None:
    """Frames of the test split for several passes, decoded once as far as they fit into a quarter of the free memory.

    None where passes cannot share them: other processes decode, or each pass is to count the frames that it replaced.
    """
    if data.processes or data.on_corrupt_eval != 'error':
        return None
    store = source.store(data, dataset, split='test')
    return frame_cache.FrameCache(store, budget=host_memory.available_bytes() // 4)


def trained_people(meta: checkpoint.Meta) -> set[str]:
    """The people that a checkpoint was trained on, comparable with `test_people`.

    Those that `data.also` mixed in are not among them: their ids are not their data set's.
    """
    data = config.from_dict(meta['config']).data
    own = {pid: meta.get('pid_names', {}).get(pid, pid) for pid in meta['labels']}
    moved = tuple(f'{source.describe(other)} ' for other in mixing.settings(data))
    return {f'{_people_of(data)} {name}' for name in own.values() if not (moved and name.startswith(moved))}


def test_people(dataset: tracklet.Dataset, data: config.Data) -> set[str]:
    """The people of a test split, without junk and distractors."""
    return {f'{_people_of(data)} {dataset.pid_names.get(one.pid, one.pid)}' for one in dataset.test if one.pid > 0}


def _people_of(data: config.Data) -> str:
    """What the ids of a data set belong to; all splits of one have the same people."""
    return source.describe(dataclasses.replace(data, split='0', part='official', also=()))
