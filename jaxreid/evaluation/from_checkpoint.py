"""`--mode eval` and `--mode extract`: the network of a checkpoint on a test split, on any number of devices."""

import dataclasses
import pathlib
from typing import Any

import jax
from jax.sharding import Mesh

from jaxreid import config, sharding
from jaxreid.data import mixing, source
from jaxreid.data.stores import frame_cache, frame_store
from jaxreid.data.tracklets import tracklet
from jaxreid.evaluation import evaluate, features, results
from jaxreid.models import build
from jaxreid.process import host_memory, interrupt, metrics_log
from jaxreid.training import checkpoint, step


def restore(experiment: config.Experiment, folder: pathlib.Path, at: int, mesh: Mesh) -> tuple[Any, dict]:
    """The network of a checkpoint found by `checkpoint.find`, and its variables on all devices of the mesh."""
    labels = checkpoint.read_meta(folder, at)['labels']
    model = build.build(experiment, num_ids=len(labels), dtype=step.test_dtype(experiment))
    abstract = jax.eval_shape(lambda: step.init_variables(model, experiment, jax.random.key(0)))
    placed = checkpoint.abstract_like(dict(abstract), jax.sharding.NamedSharding(mesh, sharding.COPIED))
    return model, checkpoint.restore(folder, at, placed)


def shared_frames(data: config.Data, dataset: tracklet.Dataset) -> frame_store.Store | None:
    """Frames of the test split for several passes, decoded once as far as they fit into a quarter of the free memory.

    None where passes cannot share them: other processes decode, or each pass is to count the frames that it replaced.
    """
    if data.processes or data.on_corrupt_eval != 'error':
        return None
    store = source.store(data, dataset, split='test')
    return frame_cache.FrameCache(store, budget=host_memory.available_bytes() // 4)


def trained_people(meta: checkpoint.Meta, data: config.Data) -> set[str]:
    """The people that a checkpoint was trained on, comparable with `test_people`.

    Those that `data.also` mixed in are not among them: their ids are not their data set's.
    """
    own = {pid: meta.get('pid_names', {}).get(pid, pid) for pid in meta['labels']}
    moved = tuple(f'{source.describe(other)} ' for other in mixing.settings(data))
    return {f'{_people_of(data)} {name}' for name in own.values() if not (moved and name.startswith(moved))}


def test_people(dataset: tracklet.Dataset, data: config.Data) -> set[str]:
    """The people of a test split, without junk and distractors."""
    return {f'{_people_of(data)} {dataset.pid_names.get(one.pid, one.pid)}' for one in dataset.test if one.pid > 0}


def _people_of(data: config.Data) -> str:
    """What the ids of a data set belong to; all splits of one have the same people."""
    return source.describe(dataclasses.replace(data, split='0', part='official', also=()))


def run(
    experiment: config.Experiment, workdir: pathlib.Path, path: pathlib.Path, *, scored: bool
) -> list[results.Result]:
    """Extracts the features of a checkpoint's network and, where asked, scores them.

    Args:
      experiment: validated settings.
      workdir: receives features.npz (another name where that holds other features, as do those of `test.also_clips`)
        and, where scored, results.json.
      path: a workdir, a folder of checkpoints or one checkpoint.
      scored: whether to score the features.

    Returns:
      Rows of results; empty where not scored.
    """
    folder, at = checkpoint.find(path)
    meta = checkpoint.read_meta(folder, at)
    checkpoint.check_same_model(meta, experiment, folder / str(at))
    if scored:
        results.read(workdir / 'results.json')
    dataset = source.read(experiment.data)
    if scored:
        tracklet.check_answerable(dataset)
    mesh = sharding.make_mesh()
    model, variables = restore(experiment, folder, at, mesh)
    trained = config.from_dict(meta['config']).data
    known = trained_people(meta, trained) & test_people(dataset, experiment.data)
    metrics_log.say(f'checkpoint {folder / str(at)}; {len(dataset.test)} test tracklets on {mesh.size} device(s)')
    kinds = list(dict.fromkeys((experiment.test.clips, *experiment.test.also_clips)))
    store = shared_frames(experiment.data, dataset) if len(kinds) > 1 else None
    rows: list[results.Result] = []
    for clips in kinds:
        with interrupt.listen() as requests, requests.at_once():
            found = evaluate.extract(
                experiment,
                dataset,
                model,
                variables,
                mesh,
                clips=clips,
                at_step=at,
                label=f'extract {clips}',
                trained_on=source.describe(trained),
                store=store,
            )
        file = features.free_path(workdir, found.meta)
        if jax.process_index() == 0:
            found.save(file)
        if scored:
            selected = 'selected on the test set' if 'score' in meta else 'last step'
            scores = evaluate.score(found, experiment, selected=selected)
            rows += [{**row, 'test_ids_trained_on': len(known)} if known else row for row in scores]
        metrics_log.say(f'features  {file}')
    if scored:
        metrics_log.say('\n' + results.table(rows))
        if jax.process_index() == 0:
            results.append(workdir / 'results.json', rows)
        metrics_log.say(f'\nresults   {workdir / "results.json"}')
    return rows
