"""What half precision and folded norms do to the results: the figures that stand beside those of speed.

    python -m benchmarks.parity [--steps 200] [--checkpoint WORKDIR ...]

Trains STRF in small on the rendered benchmark twice, in float32 and in bfloat16, from the same seed on the same clips,
and compares the losses. Then takes the features of the float32 checkpoint again: in float16, in bfloat16, and without
folding the norms in float32 and in float64; compares features, nearest gallery items and scores. `--checkpoint` does
the same with runs that were trained to their end on the same benchmark.
"""

import argparse
import json
import pathlib
import tempfile

import jax
import numpy as np

from benchmarks import gpu, mars_size
from jaxreid import config, main
from jaxreid.evaluation import evaluate, feature_file
from jaxreid.evaluation.ordering import ranking
from jaxreid.models import bn_folding
from jaxreid.training import checkpoint

CONFIG = pathlib.Path(__file__).parents[1] / 'configs' / 'strf_synthetic.py'


def command(workdir: pathlib.Path, *rest: str, size: str, dtype: str) -> pathlib.Path:
    """Runs jaxreid.main on batches that two cores handle quickly; the workdir."""
    argv = [
        'main', f'--config={CONFIG}:{size}', f'--workdir={workdir}', f'--config.train.compute_dtype={dtype}',
        '--config.sampler.num_ids=4', '--config.sampler.tracklets_per_id=2', '--config.sampler.frames=2',
        '--config.test.references=False', '--config.train.eval_every_epochs=0', '--config.train.log_every_steps=1',
        *rest,
    ]  # fmt: skip
    if status := main.run(argv):
        raise RuntimeError(f'{" ".join(argv)} ended with status {status}')
    return workdir


def losses(workdir: pathlib.Path) -> np.ndarray:
    """The loss of every step of a run."""
    lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
    return np.asarray([line['loss'] for line in lines if 'loss' in line])


def compare(a: pathlib.Path, b: pathlib.Path, what: str) -> dict:
    """Features and scores of workdir b against those of a."""
    fa, fb = (feature_file.load(w / 'features.npz') for w in (a, b))
    lengths = np.linalg.norm(fa.embedding, axis=1)
    apart = np.linalg.norm(fb.embedding - fa.embedding, axis=1) / lengths
    units = [f.embedding / np.linalg.norm(f.embedding, axis=1, keepdims=True) for f in (fa, fb)]
    nearest, hits = [], []
    for f in (fa, fb):
        d = np.concatenate(
            [x for _, x in ranking.distance_blocks(f.embedding[f.query], f.embedding, distance='cosine')]
        )
        same = f.camera[f.query][:, None] == f.camera[None, :]
        d[same & (f.pid[f.query][:, None] == f.pid[None, :])] = np.inf
        nearest.append(d.argmin(axis=1))
        hits.append(f.pid[nearest[-1]] == f.pid[f.query])
    ra, rb = (json.loads((w / 'results.json').read_text())[-1] for w in (a, b))
    return {
        'what': what,
        'feature_difference_median': float(np.median(apart)), 'feature_difference_max': float(apart.max()),
        'unit_feature_elements_max': float(np.abs(units[1] - units[0]).max()),
        'queries': len(hits[0]), 'other_nearest': int((nearest[0] != nearest[1]).sum()),
        'rank1_flips': int((hits[0] != hits[1]).sum()), 'rank1': [ra['cmc']['1'], rb['cmc']['1']],
        'mAP': [ra['mAP'], rb['mAP']],
    }  # fmt: skip


def measure(folder: pathlib.Path, *, steps: int, size: str) -> list[dict]:
    """All rows."""
    length = [f'--config.train.max_steps={steps}', '--config.train.epochs=50']
    single = command(folder / 'float32', *length, size=size, dtype='float32')
    half = command(folder / 'bfloat16', *length, size=size, dtype='bfloat16')
    a, b = losses(single), losses(half)
    tail = min(50, len(a) // 2)
    rows = [{
        'what': f'losses of {len(a)} steps, bfloat16 beside float32', 'first': [a[0], b[0]],
        'relative_difference_mean': float(np.mean(np.abs(a - b) / a)),
        'last_mean': [float(a[-tail:].mean()), float(b[-tail:].mean())], 'float32': a.tolist(), 'bfloat16': b.tolist(),
    }, compare(single, half, 'trained in bfloat16 beside trained in float32')]  # fmt: skip
    return rows + of_checkpoint(folder, single)


def of_checkpoint(folder: pathlib.Path, source: pathlib.Path) -> list[dict]:
    """Rows of a run's last checkpoint in half precision, in float64 and with norms that are not folded, each beside
    its results in float32 with folded norms."""
    at, step = checkpoint.find(source)
    settings = checkpoint.read_meta(at, step)['config']

    def evaluated(name: str, dtype: str) -> pathlib.Path:
        experiment = config.from_dict(settings)
        experiment.test.compute_dtype = dtype
        if dtype == 'float64':  # which is no setting of evaluation alone
            experiment.train.compute_dtype, experiment.test.compute_dtype = dtype, 'auto'
        (workdir := folder / f'{source.name}_{name}').mkdir()
        evaluate.run(experiment, workdir, source, scored=True)
        return workdir

    single = evaluated('single', 'float32')
    made = {f'features in {dtype}': evaluated(dtype, dtype) for dtype in ('bfloat16', 'float16')}
    with gpu.replaced(bn_folding, 'fold', dict):
        made['norms not folded'] = evaluated('not_folded', 'float32')
        with jax.enable_x64(True):
            made['float64, norms not folded'] = evaluated('float64', 'float64')
    return [compare(single, workdir, f'{source.name}, step {step}: {what}') for what, workdir in made.items()]


def run():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--steps', type=int, default=200, help='of training; 0: none')
    parser.add_argument('--size', choices=('tiny', 'demo'), default='demo')
    parser.add_argument('--checkpoint', nargs='*', default=(), type=pathlib.Path, help='workdirs of trained runs')
    parser.add_argument('--write', default='parity', help='name of the JSON in benchmarks/results')
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        rows = measure(folder, steps=options.steps, size=options.size) if options.steps else []
        for source in options.checkpoint:
            rows += of_checkpoint(folder, source)
    for row in rows:
        print(json.dumps({k: v for k, v in row.items() if k not in ('float32', 'bfloat16')}))
    print(mars_size.write(options.write, rows))


if __name__ == '__main__':
    run()
