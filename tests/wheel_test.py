"""What `pip install` of this repository gives: one package, whose commands work in any folder."""

import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig

import numpy as np
import pytest

import jaxreid

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).resolve().parents[1]
SMALL = [
    '--config.backbone.width=8', '--config.backbone.block=c2d', '--config.strf.stages=()', '--config.sampler.num_ids=4',
    '--config.sampler.tracklets_per_id=2', '--config.train.max_steps=1', '--config.train.eval_every_epochs=0',
    '--config.test.references=false', '--config.test.clips=even',
]  # fmt: skip


def execute(*command, cwd, env=None, status=0):
    both = {'stdout': subprocess.PIPE, 'stderr': subprocess.STDOUT}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=env, text=True, timeout=300, **both)
    assert done.returncode == status, done.stdout[-3000:]
    return done.stdout


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    """(python, environment) of a fresh environment with the wheel; its other packages are those of the tests."""
    base = tmp_path_factory.mktemp('wheel')
    source = base / 'source'  # no build leaves anything in the checkout
    source.mkdir()
    for name in ('jaxreid', 'configs', 'data_pipelines'):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('pyproject.toml', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / name, source)
    try:
        execute(sys.executable, '-m', 'pip', 'wheel', '--no-deps', '-w', base, source, cwd=base)
    except AssertionError as e:
        if 'hatchling' in str(e) and 'No matching distribution' in str(e):
            pytest.skip('hatchling, which builds the wheel, cannot be had')
        raise
    (wheel,) = base.glob('*.whl')
    execute(sys.executable, '-m', 'venv', '--without-pip', base / 'venv', cwd=base)
    python = base / 'venv' / 'bin' / 'python'
    execute(sys.executable, '-m', 'pip', '--python', python, 'install', '--no-deps', '--no-index', wheel, cwd=base)
    (site,) = (base / 'venv').glob('lib/python*/site-packages')
    (site / 'others.pth').write_text(sysconfig.get_path('purelib') + '\n')
    environment = {k: v for k, v in os.environ.items() if not k.startswith('PYTHON')}
    environment |= {
        'JAXREID_CACHE': str(base / 'cache'),
        'XLA_FLAGS': '',
        'PYTHONUNBUFFERED': '1',
        'VIRTUAL_ENV': str(base / 'venv'),
    }
    return python, environment


@pytest.fixture(params=['empty', 'with packages of those names'])
def folder(request, tmp_path):
    if request.param != 'empty':
        for name in ('configs', 'data_pipelines'):
            (tmp_path / name).mkdir()
            (tmp_path / name / '__init__.py').write_text(f'raise RuntimeError("the {name} of somebody else")\n')
    return tmp_path


def test_one_package_is_installed_with_all_that_it_needs(installed, tmp_path):
    python, environment = installed
    files = execute(sys.executable, '-m', 'pip', '--python', python, 'show', '-f', 'jaxreid', cwd=tmp_path)
    tops = {line.split('/')[0].strip() for line in files.partition('Files:')[2].splitlines() if line.strip()}
    assert {top for top in tops if not top.endswith('.dist-info') and top != '..'} == {'jaxreid'}
    (metadata,) = python.parents[1].glob('lib/python*/site-packages/*.dist-info/METADATA')
    for line in ('License-Expression: Apache-2.0', 'Author: jaxreid developers', 'Classifier: Typing :: Typed'):
        assert f'\n{line}\n' in metadata.read_text()
    kinds = ('.py', '.html', '.css', '.js')
    needed = [path for path in (ROOT / 'jaxreid').rglob('*') if path.suffix in kinds or path.name == 'py.typed']
    held = {path.relative_to(ROOT).as_posix() for path in needed}
    for name in ('configs', 'data_pipelines'):
        held |= {f'jaxreid/{path.relative_to(ROOT).as_posix()}' for path in (ROOT / name).rglob('*.py')}
    assert {name for name in held if f'  {name}\n' not in files} == set()
    assert execute(python, '-c', 'import jaxreid; print(jaxreid.__version__)', cwd=tmp_path, env=environment) == (
        f'{jaxreid.__version__}\n'
    )


def test_commands_work_in_any_folder(installed, folder):
    python, environment = installed
    command = python.parent / 'jaxreid'

    def run(*arguments, status=0):
        return execute(*arguments, cwd=folder, env=environment, status=status)

    assert 'reproduce' in run(command, '--help')
    assert run(command, '--version') == f'{jaxreid.__version__}\n'
    assert 'Did you mean' in run(command, 'scroe', status=2)
    shown = run(command, 'summary', '--config', 'strf_mars')
    assert 'trainable parameters' in shown
    by_path = ['--config', 'configs/strf_mars.py:table2_p3db', '--mode', 'summary']
    assert 'trainable parameters' in run(python, '-m', 'jaxreid.main', *by_path)
    assert 'no config file' in run(command, 'summary', '--config', 'strf_mrs', status=1)
    own = folder / 'configs' / 'mine.py'
    own.parent.mkdir(exist_ok=True)
    shutil.copy(ROOT / 'configs' / 'strf_mars.py', own)
    assert run(command, 'summary', '--config', 'configs/mine.py', '--workdir', 'own').split('written')[0] in shown

    trained = run(command, 'train', '--config', 'strf_synthetic:tiny', *SMALL)
    assert 'mAP' in trained
    before, _, after = trained.partition('compiling the training step, once')
    assert 'step/s' not in before  # no estimate of the time before there can be one
    assert 'train: 100%' in after
    features = 'runs/strf_synthetic-tiny/features.npz'
    assert 'mars-paper' in run(command, 'score', features, '--resamples', '0')
    assert 'torchreid' in run(python, '-m', 'jaxreid.evaluation.score', features, '--protocol', 'torchreid')
    (rendered,) = pathlib.Path(environment['JAXREID_CACHE']).glob('synthetic-tiny-*')
    for program in ([command, 'verify'], [python, '-m', 'jaxreid.data_pipelines.verify']):
        assert 'as published' in run(*program, 'synthetic', rendered)
    embedded = 'import jaxreid, numpy as np; net = jaxreid.load("runs/strf_synthetic-tiny"); '
    embedded += 'print(net.embed(np.random.default_rng(0).integers(0, 256, (2, 4, 70, 40, 3), np.uint8)).shape)'
    width = np.load(folder / features)['embedding'].shape[1]
    assert f'(2, {width})' in run(python, '-c', embedded)


def test_every_command_helps_and_is_what_python_m_runs(installed, tmp_path):
    python, environment = installed
    code = (
        'import contextlib, io, sys\n'
        'from jaxreid.process import commands\n'
        'for name, one in commands.COMMANDS.items():\n'
        '    said = io.StringIO()\n'
        '    try:\n'
        '        with contextlib.redirect_stdout(said): commands.run([name, "--help"])\n'
        '    except SystemExit as e:\n'
        '        assert not e.code, (name, e.code)\n'
        '    text = said.getvalue()\n'
        '    assert text.startswith(f"usage: jaxreid {name} "), text\n'
        '    assert f"python -m {one.module} " not in text, text\n'
        '    for module in [m for m in sys.modules if m == one.module]: del sys.modules[module]\n'
    )
    execute(python, '-W', 'ignore', '-c', code, cwd=tmp_path, env=environment)
    shown = execute(python, '-m', 'jaxreid.data_pipelines.verify', '--help', cwd=tmp_path, env=environment)
    assert shown.startswith('usage: python -m jaxreid.data_pipelines.verify ')
