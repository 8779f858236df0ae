"""Single bits turned over in what jaxreid keeps: each flip is harmless, and gives the same values, or is named.

One of each kind of file is made, and read anew in this process after every flip.
"""

import functools
import importlib
import json
import random

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from data_pipelines import build
from jaxreid import config, sharding
from jaxreid.data import source
from jaxreid.data.flow import file as flow_file
from jaxreid.evaluation import feature_file
from jaxreid.export import load as exported
from jaxreid.export import program
from jaxreid.models import build as models
from jaxreid.process import digest
from jaxreid.search import calibration_file, gallery
from jaxreid.training import checkpoint, step
from tests.fixtures import mars_folder
from tests.reliability import kills, outcome


def rows(work, *, number, seed):
    """So many flips of each kind of file."""
    logging.set_verbosity(logging.FATAL)
    for what, make in KINDS.items():
        folder = work / what.replace(' ', '-')
        folder.mkdir()
        yield flipped(what, folder, make(folder), number, random.Random(seed))


def flipped(what, folder, read, number, draw):
    """Flips a bit, reads, and puts it back; `read` gives all that the files mean."""
    wanted, named, same, problems = as_text(read()), 0, 0, []
    files = sorted(path for path in folder.rglob('*') if path.is_file() and path.stat().st_size)
    for _ in range(number):
        file = draw.choice(files)
        data, place, bit = file.read_bytes(), draw.randrange(file.stat().st_size), draw.randrange(8)
        changed = bytearray(data)
        changed[place] ^= 1 << bit
        file.write_bytes(changed)
        where = f'{file.relative_to(folder)}, bit {bit} of byte {place}'
        try:
            if as_text(read()) == wanted:
                same += 1
            else:
                problems.append(f'{where}: other values, and nothing is said')
        except (ValueError, OSError) as error:
            named += 1
            if str(folder) not in str(error) or len(str(error).splitlines()) != 1:
                problems.append(f'{where}: {type(error).__name__}, which names nothing: {str(error)[:200]!r}')
        except Exception as error:
            problems.append(f'{where}: {type(error).__name__}: {str(error)[:200]!r}')
        file.write_bytes(data)
    if as_text(read()) != wanted:
        problems.append('with all bits back it reads other values')
    return outcome.Row(f'bits of {what}', number, f'{same} harmless, {named} named', problems)


def as_text(value):
    """What was read, arrays by their digests, to compare."""
    return repr(jax.tree.map(lambda x: digest.of_array(np.asarray(x)) if hasattr(x, 'shape') else x, value))


def _experiment():
    experiment = importlib.import_module('configs.strf_synthetic').get_config('tiny')
    experiment.system, experiment.backbone.width, experiment.backbone.depths = 'baseline', 8, (1, 1, 1, 1)
    experiment.data.height, experiment.data.width = 32, 16
    experiment.sampler.frames = experiment.test.frames = 2
    experiment.train.compute_dtype = 'float32'
    return experiment


def _checkpoint(folder):
    experiment = _experiment()
    model = models.build(experiment, num_ids=4, dtype=jnp.float32)
    variables = jax.device_get(step.init_variables(model, experiment, jax.random.key(0)))
    kept = checkpoint.Checkpoints(folder / 'checkpoints', keep=1)
    meta = {'config': config.to_dict(experiment), 'labels': {str(i): i for i in range(4)}}
    kept.save(7, {**variables, 'moments': variables['params']}, meta)
    kept.close()
    mesh = sharding.make_mesh(jax.devices()[:1])
    placed = jax.sharding.NamedSharding(mesh, sharding.COPIED)
    abstract = checkpoint.abstract_like({**variables, 'moments': variables['params']}, placed)

    def read():
        found = checkpoint.find(folder)
        meta = checkpoint.read_meta(*found)
        return meta['config'], meta['labels'], checkpoint.restore(*found, abstract)

    return read


def _gallery(folder):
    gallery.append(folder, kills.some(0, 200))
    gallery.append(folder, kills.some(200, 100))

    def read():
        held = gallery.open_folder(folder)
        there = gallery.append(folder, kills.some(0, 200))
        return held.name, held.made, held.frames, held.film(250), held.features.read(0, 300), there

    return read


def _records(folder):
    root = mars_folder.write(folder.with_name('mars'))
    out = build.build('mars', str(root), str(folder))
    data = config.Data(dataset='mars', records=out, store='records', height=32, width=16, on_corrupt_train='error')

    def read():
        source._records.cache_clear()
        dataset, frames = source.read(data), []
        for split in ('train', 'test'):
            store = source.store(data, dataset, split=split)
            tracklets = getattr(dataset, split)
            frames += [store.read(row, np.arange(len(one.frames))) for row, one in enumerate(tracklets)]
        return [repr(one) for one in (*dataset.train, *dataset.test)], dataset.query, dataset.gallery, frames

    return read


def _features(folder):
    draw, n = np.random.default_rng(0), 60
    features = feature_file.Features(
        embedding=draw.normal(size=(n, 32)).astype(np.float32),
        embedding_before_neck=draw.normal(size=(n, 32)).astype(np.float32),
        pid=np.arange(n) // 3,
        camera=np.arange(n) % 3,
        query=np.arange(n) % 3 == 0,
        gallery=np.ones(n, bool),
        name=np.array([f't{i}' for i in range(n)]),
        frames=np.full(n, 9),
        meta={'dataset': 'mars', 'network': 'ab12', 'config': config.to_dict(_experiment())},
        time=np.array([f'{i}.5' for i in range(n)]),
        attributes={'view': np.array(['left', 'right'] * (n // 2))},
    )
    features.save(folder / 'features.npz')

    def read():
        both = [feature_file.load(folder / 'features.npz', neck=neck) for neck in feature_file.NECKS]
        return [(vars(one) | {'meta': json.dumps(one.meta)}) for one in both]

    return read


def _exported(folder):
    _checkpoint(folder.with_name('to-export'))
    folder.rmdir()
    program.export(folder.with_name('to-export'), folder, batch='1', platforms=['cpu'])
    clips = np.random.default_rng(0).integers(0, 256, (1, 2, 32, 16, 3)).astype(np.uint8)
    run = functools.cache(lambda model: exported.load(folder)(clips))  # compiles: once for each program

    def read():
        meta = exported.read(folder)
        return meta, run((folder / exported.MODEL).read_bytes())

    return read


def _flow(folder):
    flow = np.random.default_rng(0).normal(size=(64, 32, 2)).astype(np.float16)
    flow_file.write(folder / 'flow.npy', flow)

    def read():
        found = flow_file.read(folder / 'flow.npy', height=64, width=32)
        if found is None:
            raise ValueError(f'{folder} lacks the flow, which is made again')
        return found

    return read


def _calibration(folder):
    curve = {'threshold': [0.1, 0.5, 0.9], 'false_accept_rate': [0.5, 0.1, 0.0], 'true_accept_rate': [1.0, 0.9, 0.2]}
    written = {'distance': 'cosine', 'network': 'ab12', 'verification': {'impostor_pairs': 1000, 'curve': curve}}
    (folder / 'report.calibration.json').write_text(json.dumps(digest.signed(written), indent=1))
    return lambda: calibration_file.read(str(folder / 'report.calibration.json'))


KINDS = {
    'a checkpoint': _checkpoint,
    'a gallery': _gallery,
    'a record set': _records,
    'a feature file': _features,
    'an exported program': _exported,
    'stored flow': _flow,
    'a calibration': _calibration,
}
