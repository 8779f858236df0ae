"""`python -m jaxreid.plan`: what it prints, what it refuses, and that it knows every config."""

import json
import sys
import types

import jax
import pytest

from jaxreid import command_line, sharding
from jaxreid.plan import __main__ as plan
from jaxreid.plan import outcome, program, targets

CONFIGS = sorted(path.stem for path in command_line.CONFIGS.glob('*_*.py') if path.stem != '__init__')
SIZES = [f'{what}_size_in_bytes' for what in ('argument', 'alias', 'temp', 'output', 'generated_code')]


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['plan', *arguments])
    for name in targets.ENVIRONMENT:
        monkeypatch.setenv(name, targets.ENVIRONMENT[name])  # and put back afterwards
    return command_line.run(plan.main)


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (['--target', 'v7:2'], "there is no target 'v7:2'"),
        (['--target', 'v5e:3x8'], '32 clips do not split over the 24 devices of v5e:3x8; make sampler.num_ids'),
        (['--target', 'h200:24', '--mode', 'eval'], 'a multiple of 24'),
        (['--target', 'v5e:4x4', '--target-config', __file__], '--target-config describes a GPU'),
        (['--target', 'h200:8', '--target-config', 'no.txtpb'], 'no.txtpb'),
        (['--target', 'h200:8', '--config.backbone.width=0'], 'backbone.width'),
    ],
)
def test_what_cannot_be_is_one_line(arguments, said, monkeypatch, capsys):
    assert run(monkeypatch, '--config', 'strf_mars', *arguments) == 1
    error = capsys.readouterr().err.strip()
    assert said in error
    assert '\n' not in error


def test_a_missing_compiler_does_not_keep_other_targets_from_being_tried(monkeypatch, capsys):
    def none(target):
        raise ImportError('a compiler is missing')

    monkeypatch.setattr(targets, 'check_compiler', none)
    assert run(monkeypatch, '--config', 'strf_mars', '--target', 'v5e:4x4', 'a100:8') == 1
    assert [line for line in capsys.readouterr().err.split('\n') if line] == [
        'jaxreid: v5e:4x4: a compiler is missing', 'jaxreid: a100:8: a compiler is missing'
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(len(jax.devices()) < 8, reason='compiles for eight devices')
def test_everything_is_printed_and_kept(monkeypatch, capsys, tmp_path):
    """With the CPU's compiler in the place of a GPU's, which is not always at hand."""

    def here(experiment, target, mode, quick, second, description):
        return outcome.of(experiment, target, mode, quick=quick, second=second, devices=jax.devices()[:8])

    monkeypatch.setattr(outcome, 'in_child', here)
    monkeypatch.setattr(targets, 'check_compiler', lambda target: None)
    small = ['--config.backbone.width=8', '--config.train.compute_dtype=float32']
    command = ['--config', 'strf_synthetic:tiny', '--target', 'h200:8', '--json', str(tmp_path / 'out.json'), '--once']
    assert run(monkeypatch, *command, *small) == 0
    printed = capsys.readouterr().out
    written = json.loads((tmp_path / 'out.json').read_text())
    assert written['versions'].items() >= {'jax': jax.__version__, 'jaxlib': jax.lib.__version__}.items()
    (row,) = written['rows']
    assert printed.startswith('h200:8: training step of 32 clips, ')
    for word in ('memory      fits', 'arithmetic', 'traffic', 'all-reduce f32', 'waited for', 'at best', 'recipe'):
        assert f'  {word}' in printed or f' {word}' in printed, word
    assert (row['config'], row['settings'], row['fits']) == ('strf_synthetic:tiny', small, True)
    assert row['bound_s'] > 0


@pytest.mark.slow
@pytest.mark.skipif(len(jax.devices()) < 8, reason='plans for eight devices')
@pytest.mark.parametrize('mode', ['train', 'eval'])
@pytest.mark.parametrize('name', CONFIGS)
def test_every_config_is_answered(name, mode, monkeypatch, capsys):
    """All but the compile: the step is traced for eight devices, and an empty program stands for what is made of it."""
    empty = types.SimpleNamespace(
        as_text=lambda: 'HloModule m\n\nENTRY %main (p: f32[]) -> f32[] {\n  %p = f32[] parameter(0)\n}\n',
        memory_analysis=lambda: types.SimpleNamespace(**dict.fromkeys(SIZES, 2**20)),
    )
    steps = []

    def lower(traced):
        steps.append(traced.out_info)
        return types.SimpleNamespace(compile=lambda: empty)

    def here(experiment, target, mode, quick, second, description):
        return outcome.of(experiment, target, mode, quick=quick, second=False, devices=jax.devices()[:8])

    monkeypatch.setattr(jax.stages.Traced, 'lower', lower)
    monkeypatch.setattr(outcome, 'in_child', here)
    monkeypatch.setattr(targets, 'check_compiler', lambda target: None)
    small = ['--config.backbone.width=8', '--config.backbone.init=random', '--config.backbone.weights=']
    assert run(monkeypatch, '--config', name, '--target', 'h200:8', '--mode', mode, '--quick', *small) == 0
    clips = program.clips_of(command_line.read_config(name, small), mode)
    what = {'train': 'training', 'eval': 'evaluation'}[mode]
    assert capsys.readouterr().out.startswith(f'h200:8: {what} step of {clips} clips, ')
    (found,) = steps
    if mode == 'eval':
        assert found['embedding'].shape[0] == clips
    else:
        assert found[1]['loss'].shape == (1,)


def test_frames_on_the_devices_are_part_of_the_step():
    e = command_line.read_config('strf_mars', ['--config.data.store=device'])
    _, (_, batch, frames) = program.step_on(e, sharding.make_mesh(jax.devices()[:1]), 'train')
    assert frames.shape == (program.STORE_FRAMES, 256 * 3, 128)
    assert set(batch) == {'labels', 'index', 'rows'}


@pytest.mark.parametrize(('mode', 'expected'), [('train', 48), ('eval', 16)])
def test_a_batch_grows_by_whole_tracklets_groups_and_devices(mode, expected):
    e = command_line.read_config('strf_mars', ['--config.train.bn_groups=3', '--config.sampler.num_ids=12'])
    unit = program.unit(e, mode, 16)
    assert unit == expected
    assert program.clips_of(program.with_clips(e, mode, 2 * unit), mode) == 2 * unit
