"""From a model's variables to rows of results: extract, score under each protocol, print, write."""

import json
import pathlib
from typing import Any

import jax
from jax.sharding import Mesh

from jaxreid import atomic_file, config, sharding, step
from jaxreid.data import eval_pipeline, source, tracklet
from jaxreid.evaluation import features, protocols


def extract(
    experiment: config.Experiment,
    dataset: tracklet.Dataset,
    model: Any,
    variables: dict,
    mesh: Mesh,
    *,
    clips: str,
    at_step: int,
    label: str = 'extract',
    one_frame: bool = False,
) -> features.Features:
    """Features of the test split by one clip protocol.

    Args:
      experiment: settings.
      dataset: its test split is read.
      model, variables: the network and its {'params', 'batch_stats'} on the devices.
      mesh: devices.
      clips: all_frames | rrs | begin_crop.
      at_step: training step of the variables, recorded.
      label: what the progress bar says.
      one_frame: replace the frames of a clip by its first.
    """
    sharding.check_divides(experiment.test.batch_clips, mesh)
    data, test = experiment.data, experiment.test
    store = source.store(experiment.data, dataset, split='test')
    count = eval_pipeline.count(dataset.test, clips=clips, frames=test.frames, batch_clips=test.batch_clips)
    batches = eval_pipeline.batches(
        dataset.test,
        store,
        clips=clips,
        frames=test.frames,
        batch_clips=test.batch_clips,
        threads=data.threads,
        prefetch=data.prefetch,
        processes=data.processes,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    dtype = step.compute_dtype(experiment.train.compute_dtype)
    eval_step = step.make_eval_step(model, mesh, dtype=dtype, flip=test.flip, one_frame=one_frame)
    with batches:
        embedding, before, clip_counts = features.extract(
            eval_step,
            variables,
            batches,
            len(dataset.test),
            mesh=mesh,
            total=count,
            label=label,
        )
    meta = {
        'dataset': data.dataset,
        'split': 'test',
        'clips': clips,
        'frames_per_clip': test.frames,
        'one_frame': one_frame,
        'flip': test.flip,
        'frames_seen': int(clip_counts.sum()) * (1 if one_frame else test.frames),
        'corrupt_frames_replaced': batches.skipped,
        'step': at_step,
        'config': config.to_dict(experiment),
    }
    return features.describe(dataset, embedding, before, meta)


def score(found: features.Features, experiment: config.Experiment, *, selected: str) -> list[dict[str, Any]]:
    """One row of results per protocol of the config; each carries everything that its number depends on.

    Args:
      found: features.
      experiment: reads `test.protocols` and `test.distance`.
      selected: how the variables were chosen, e.g. 'last step'.
    """
    rows = []
    for name in experiment.test.protocols:
        row = protocols.score(
            found.embedding,
            found.pid,
            found.camera,
            found.query,
            found.gallery,
            protocols.named(name),
            distance=experiment.test.distance,
        )
        how = (
            'dataset',
            'split',
            'clips',
            'frames_per_clip',
            'one_frame',
            'flip',
            'frames_seen',
            'corrupt_frames_replaced',
        )
        row['protocol'] |= {k: found.meta[k] for k in how} | {'re_ranking': 'none', 'feature': 'after neck'}
        rows.append(row | {'step': found.meta['step'], 'selected': selected})
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Rows of results as text; every number stands beside its protocol."""
    lines = ['                                       mAP     R-1     R-5    R-10    R-20']
    for row in rows:
        p, cmc = row['protocol'], row['cmc']
        numbers = ''.join(f'{x:8.2f}' for x in (row['mAP'], *(cmc[k] for k in ('1', '5', '10', '20'))))
        lines.append(f'{p["dataset"] + " " + p["name"]:<34}{numbers}')
        frames = 1 if p['one_frame'] else p['frames_per_clip']
        lines.append(
            f'  step {row["step"]} ({row["selected"]}); clips {p["clips"]} x {frames} frames, flip {_yes(p["flip"])}; '
            f'{p["distance"]} distance, re-ranking {p["re_ranking"]}'
        )
        lines.append(
            f'  {p["ap"]} AP; gallery {p["gallery"]} ({p["gallery_size"]} tracklets), junk: {p["junk"]}, distractors: '
            f'{p["distractors"]}, own camera: {p["same_camera"]}'
        )
        lines.append(
            f'  {p["answered_queries"]} queries answered, {p["unanswered_queries"]} without a match '
            f'({p["unanswerable"]}); {p["frames_seen"]} frames seen, {p["corrupt_frames_replaced"]} of them replaced'
        )
    return '\n'.join(lines)


def _yes(value: bool) -> str:
    return 'yes' if value else 'no'


def read_results(path: pathlib.Path) -> list[dict[str, Any]]:
    """Rows of results.json; none where there is no such file.

    Raises:
      ValueError: the file holds something else; names it.
    """
    try:
        rows = json.loads(path.read_text()) if path.exists() else []
        if not (isinstance(rows, list) and all({'step', 'selected', 'protocol'} <= row.keys() for row in rows)):
            raise ValueError('not a list of results')
    except (ValueError, AttributeError) as e:
        raise ValueError(f'{path} does not hold results of jaxreid ({e}); move it away, it is not overwritten') from e
    return rows


def append_results(path: pathlib.Path, rows: list[dict[str, Any]]) -> None:
    """Adds rows to results.json; a row of the same step, selection and protocol is replaced by its newer run."""
    old = read_results(path)

    def identity(row):
        return json.dumps([row['step'], row['selected'], row['protocol']], sort_keys=True)

    new = {identity(r) for r in rows}
    kept = [r for r in old if identity(r) not in new]
    with atomic_file.writing(path) as file:
        file.write(json.dumps(kept + rows, indent=1).encode() + b'\n')
