"""Small networks of every system, exported and run in processes that may import jax and little else."""

import contextlib
import functools
import importlib
import json
import pathlib
import random
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid import config
from jaxreid.evaluation import fingerprint
from jaxreid.export import load as exported
from jaxreid.export import program as export
from jaxreid.models import build
from jaxreid.training import augment, checkpoint, step

IDS = 5
WITH_JAX = ('jax', 'jaxlib', 'ml_dtypes', 'numpy', 'numpy.libs', 'opt_einsum', 'scipy', 'scipy.libs')
RUN = """
import runpy, sys
for folder in sys.argv[1:]:
    print(runpy.run_path(f'{folder}/load.py')['difference'](folder))
assert not sys.modules.keys() & {'jaxreid', 'flax', 'absl'}
"""


def small(system, **changes):
    """Settings of a network that compiles in seconds, and random variables, statistics included."""
    name, _, variant = system.partition(':')
    experiment = importlib.import_module(f'configs.{name}_synthetic').get_config(variant or 'tiny')
    experiment.backbone.width, experiment.backbone.depths = 8, (1, 1, 1, 1)
    experiment.data.height, experiment.data.width = 32, 16
    experiment.sampler.frames = experiment.test.frames = 2
    experiment.train.compute_dtype = 'float32'
    for path, value in changes.items():
        section, field = path.split('__')
        setattr(getattr(experiment, section), field, value)
    model = build.build(experiment, num_ids=IDS, dtype=jnp.float32)
    shapes = jax.eval_shape(lambda: step.init_variables(model, experiment, jax.random.key(0)))
    rng = np.random.default_rng(0)  # positive statistics, weights of both signs
    return (
        experiment,
        model,
        {
            'params': jax.tree.map(lambda x: rng.normal(0, 0.3, x.shape).astype(x.dtype), shapes['params']),
            'batch_stats': jax.tree.map(lambda x: rng.uniform(0.5, 1, x.shape).astype(x.dtype), shapes['batch_stats']),
        },
    )


def saved(folder, experiment, variables):
    """A checkpoint of these variables, as a run writes it."""
    meta = {'config': config.to_dict(experiment), 'labels': {str(i): i for i in range(IDS)}}
    checkpoints = checkpoint.Checkpoints(folder / 'checkpoints', keep=1)
    checkpoints.save(7, variables, meta)
    checkpoints.close()
    return folder


@pytest.fixture(scope='module')
def strf(tmp_path_factory):
    """(checkpoint, experiment, model, variables) of a network that is tested with mirror images."""
    experiment, model, variables = small('strf', test__flip=True)
    return saved(tmp_path_factory.mktemp('strf'), experiment, variables), experiment, model, variables


@pytest.mark.slow
def test_every_system_runs_with_jax_only(tmp_path, monkeypatch):
    monkeypatch.setattr(export, '_runs_here', lambda platforms: False)  # it is run below
    folders = []
    for system in ('strf', 'stmn', 'sta', 'star', 'ap3d:ap3d', 'sinet', 'tfclip'):
        # SINet takes frames by fours, and a map that is wide enough.
        fours = {'sampler__frames': 4, 'test__frames': 4, 'backbone__strides': (1, 1, 1, 1)}
        experiment, _, variables = small(system, **(fours if system == 'sinet' else {}))
        place = tmp_path / system.replace(':', '-')
        folders.append(place / 'out')
        made = export.export(saved(place, experiment, variables), folders[-1], platforms=['cpu', 'cuda', 'tpu'])
        assert 'difference' not in made
        meta = json.loads((folders[-1] / 'model.json').read_text())
        inputs = ['clips', 'flow'] if system == 'star' else ['clips']
        assert [one['name'] for one in meta['inputs']] == inputs
        assert meta['inputs'][0]['shape'] == ['batch', experiment.test.frames, 32, 16, 3]
        assert meta['system'] == experiment.system
    # As in an environment where `pip install jax` was all: nothing else can be imported.
    here, packages = tmp_path / 'packages', pathlib.Path(jax.__file__).parents[1]
    here.mkdir()
    for name in WITH_JAX:
        if (packages / name).exists():
            (here / name).symlink_to(packages / name)
    flags = {'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': '--xla_backend_optimization_level=0', 'PYTHONPATH': str(here)}
    process = subprocess.run(
        [sys.executable, '-S', '-c', RUN, *folders], capture_output=True, text=True, cwd=tmp_path, env=flags
    )
    assert process.returncode == 0, process.stderr
    differences = [float(line) for line in process.stdout.split()]
    assert len(differences) == len(folders)
    assert max(differences) < 1e-5


@pytest.fixture(scope='module')
def fixed(strf, tmp_path_factory):
    """(folder, meta) of an export with most arguments other than their defaults."""
    folder = tmp_path_factory.mktemp('fixed') / 'export'
    arguments = {'batch': '1', 'frames': 2, 'platforms': ['cpu'], 'neck': 'before', 'frames_dtype': 'float32'}
    return folder, export.export(strf[0], folder, **arguments)


def test_a_fixed_batch_mirror_images_floats_and_the_feature_before_the_neck(strf, fixed):
    _, _, model, variables = strf
    folder, meta = fixed
    assert meta['inputs'][0] == meta['inputs'][0] | {'shape': [1, 2, 32, 16, 3], 'dtype': 'float32'}
    assert meta['inside']['flip']
    assert meta['step'] == 7
    assert meta['network'] == fingerprint.of(variables)  # not of those with BatchNorm folded
    clips = np.random.default_rng(1).uniform(0, 255, (1, 2, 32, 16, 3)).astype(np.float32)
    normal = ((clips / 255 - augment.MEAN) / augment.STD).astype(np.float32)
    apply = jax.jit(functools.partial(model.apply, train=False))
    views = [apply(variables, x).embedding_before_neck for x in (normal, normal[:, :, :, ::-1])]
    wanted = (views[0] + views[1]) / 2
    embed = exported.load(folder)
    np.testing.assert_allclose(embed(clips), wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    assert np.abs(np.asarray(views[0]) - wanted).max() > 1e-3
    for bad, said in (
        (clips[:, :1], r'clips is float32 \[1, 1, 32, 16, 3\], expected float32 \[1, 2, 32, 16, 3\]'),
        (clips.astype(np.uint8), 'clips is uint8'),
        (np.concatenate([clips, clips]), r'\[2, 2, 32'),
    ):
        with pytest.raises(ValueError, match=said):
            embed(bad)
    with pytest.raises(ValueError, match='got 2 inputs, expected clips'):
        embed(clips, clips)


def test_a_program_for_other_devices_says_so(fixed, monkeypatch):
    monkeypatch.setattr(jax, 'default_backend', lambda: 'tpu')
    with pytest.raises(ValueError, match='was exported for cpu, this machine runs tpu'):
        exported.load(fixed[0])


def test_run_by_itself_a_program_says_how_far_it_is_from_the_exporter(fixed, tmp_path, capsys):
    assert exported.main(fixed[0]) == 0
    assert 'largest difference from the exporter' in capsys.readouterr().out
    other = shutil.copytree(fixed[0], tmp_path / 'other')
    with np.load(other / exported.SAMPLE) as file:
        sample = dict(file)
    np.savez(other / exported.SAMPLE, **sample | {'embedding': 1.01 * sample['embedding']})
    with pytest.raises(SystemExit, match=r'sample\.npz is not what was written; export the network again'):
        exported.main(other)
    meta = json.loads((other / 'model.json').read_text())
    assert {'model.stablehlo', 'sample.npz', 'load.py'} < set(meta.pop('files'))
    del meta['crc32_of_the_rest']
    (other / 'model.json').write_text(json.dumps(meta))  # as it was before there were digests
    assert exported.main(other) == 1


def test_every_flipped_bit_of_an_exported_program_is_named(fixed, tmp_path):
    folder, draw = shutil.copytree(fixed[0], tmp_path / 'other'), random.Random(0)
    for file in (folder / 'model.stablehlo', folder / 'model.json', folder / 'sample.npz', folder / 'load.py'):
        data = file.read_bytes()
        for _ in range(20):
            changed = bytearray(data)
            changed[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
            file.write_bytes(changed)
            if file.name == 'model.json':  # what JSON does not mind, such as a space for a line's end
                with contextlib.suppress(ValueError):
                    if json.loads(changed) == json.loads(data):
                        continue
            with pytest.raises(ValueError, match=f'{file} is not what was written') as error:
                exported.load(folder)
            assert len(str(error.value).splitlines()) == 1
        file.write_bytes(data)
    exported.load(folder)


@pytest.mark.slow
def test_what_computes_something_else_is_not_kept_and_an_empty_folder_is_filled(strf, tmp_path, monkeypatch, capsys):
    (tmp_path / 'out').mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(exported, 'load', lambda folder: lambda *inputs: np.float32('nan'))
        with pytest.raises(ValueError, match='differs from the network by nan of its largest value'):
            export.export(strf[0], tmp_path / 'out', batch='1', platforms=['cpu'])
    assert [list(one.iterdir()) for one in tmp_path.iterdir()] == [[]]
    assert export.run([str(strf[0]), str(tmp_path / 'out'), '--batch', '1', '--platforms', 'cuda']) == 0
    assert 'not run: this machine (cpu) is none of cuda' in capsys.readouterr().out
    assert (tmp_path / 'out' / 'model.json').is_file()


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (['--batch', 'many'], "batch 'many': expected a number of clips, or 'symbolic'"),
        (['--batch', '0'], "batch '0': expected"),
        (['--platforms', 'cpu,gpu'], "platform 'gpu' is not known; choose of cpu, cuda"),
        (['--frames', '0'], '--frames 0: expected at least 1'),
    ],
)
def test_arguments_that_cannot_be_are_one_message(strf, tmp_path, capsys, arguments, said):
    assert export.run([str(strf[0]), str(tmp_path / 'export'), *arguments]) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / 'export').exists()


def test_nothing_is_overwritten_and_a_missing_checkpoint_is_named(strf, tmp_path, capsys):
    (tmp_path / 'notes').write_text('mine')
    assert export.run([str(strf[0]), str(tmp_path)]) == 1
    assert 'exists and is not empty' in capsys.readouterr().err
    assert export.run([str(tmp_path / 'nowhere'), str(tmp_path / 'out')]) == 1
    assert 'no checkpoint under' in capsys.readouterr().err
    assert [one.name for one in tmp_path.iterdir()] == ['notes']


def test_stmn_says_that_it_weighs_a_fixed_number_of_frames(tmp_path, capsys):
    experiment, _, variables = small('stmn')
    assert export.run([str(saved(tmp_path, experiment, variables)), str(tmp_path / 'out'), '--frames', '3']) == 1
    assert 'clips of 3 frames, but the temporal weights are made for exactly 2' in capsys.readouterr().err


def test_onnx_gives_the_same_features(strf, tmp_path):
    """Runs where jax2onnx is installed, which CI's requirements cannot hold (docs/export.md)."""
    for name in ('jax2onnx', 'onnx', 'onnxruntime'):
        pytest.importorskip(name)
    meta = export.export(strf[0], tmp_path / 'export', kind='onnx')
    assert meta['difference'] < 1e-5
    clips = np.random.default_rng(1).integers(0, 256, (3, *meta['inputs'][0]['shape'][1:]), np.uint8)
    _, _, model, variables = strf
    normal = ((clips / 255 - augment.MEAN) / augment.STD).astype(np.float32)
    apply = jax.jit(functools.partial(model.apply, train=False))
    views = [apply(variables, x).embedding for x in (normal, normal[:, :, :, ::-1])]
    wanted = (views[0] + views[1]) / 2
    found = export.run_onnx(pathlib.Path(tmp_path / 'export' / export.ONNX_MODEL), [clips])
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def pictures(strf, count):
    """Pictures as a tracker gives them, and their features by the network: each is a clip that stands still."""
    _, experiment, model, variables = strf
    images = np.random.default_rng(2).random((count, 3, 32, 16), np.float32)
    normal = ((images.transpose(0, 2, 3, 1) - augment.MEAN) / augment.STD).astype(np.float32)
    clips = np.stack([normal] * experiment.test.frames, axis=1)
    apply = jax.jit(functools.partial(model.apply, train=False))
    views = [apply(variables, x).embedding for x in (clips, clips[:, :, :, ::-1])]
    return images, np.asarray(views[0] + views[1]) / 2


@pytest.mark.slow
def test_pictures_of_trackers_are_clips_that_stand_still(strf, tmp_path):
    meta = export.export(strf[0], tmp_path / 'export', platforms=['cpu'], frames_dtype='images')
    shape = ['batch', 3, 32, 16]
    assert meta['inputs'] == [meta['inputs'][0] | {'name': 'images', 'shape': shape, 'dtype': 'float32'}]
    images, wanted = pictures(strf, 3)
    found = np.asarray(exported.load(tmp_path / 'export')(images))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_a_network_that_sees_motion_takes_no_pictures(tmp_path):
    experiment, _, variables = small('star')
    checkpoint = saved(tmp_path / 'run', experiment, variables)
    with pytest.raises(ValueError, match='sees motion, which a picture has not'):
        export.export(checkpoint, tmp_path / 'export', frames_dtype='images')


def test_onnx_takes_what_ultralytics_gives(strf, tmp_path):
    """As its `ReID` (8.4) does: a first input [N, 3, H, W] whose fixed sizes it resizes crops to, one output [N, D]."""
    for name in ('jax2onnx', 'onnx', 'onnxruntime'):
        pytest.importorskip(name)
    import onnxruntime

    export.export(strf[0], tmp_path / 'export', kind='onnx', frames_dtype='images')
    session = onnxruntime.InferenceSession(tmp_path / 'export' / export.ONNX_MODEL)
    [given], [output] = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type) == ('images', 'tensor(float)')
    assert not isinstance(given.shape[0], int)
    assert given.shape[1:] == [3, 32, 16]
    images, wanted = pictures(strf, 5)
    found = session.run([output.name], {given.name: images})
    assert len(found) == 1
    np.testing.assert_allclose(found[0], wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_onnx_without_its_packages_says_where_to_read(strf, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'jax2onnx', None)
    assert export.run([str(strf[0]), str(tmp_path / 'out'), '--format', 'onnx']) == 1
    assert 'docs/export.md says how to install' in capsys.readouterr().err
