"""Each thing that a user can get wrong is answered by one message that says what to do."""

import os
import subprocess

import pytest

from jaxreid import main
from jaxreid.data.synthetic import render
from jaxreid.process import atomic
from tests.fixtures import commands

MARS = f'--config={commands.ROOT / "configs" / "strf_mars.py"}'


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([MARS], 'config.data.root is empty'),
        ([MARS, '--config.data.root=/no/such/folder'], '/no/such/folder'),
        ([commands.TINY, '--config.optim.lrr=1'], "unknown setting config.optim.lrr. Did you mean 'optim.lr'?"),
        ([commands.TINY, '--config.optm.lr=1'], "Did you mean 'optim.lr'?"),
        ([commands.TINY, '--config.optim.lr=fast'], 'could not convert string to float'),
        ([commands.TINY, '--config.train.epochs=1.5'], 'config.train.epochs'),
        ([commands.TINY, '--config.data.store=5'], "config.data.store = '5' is not known. Valid: folder"),
        ([commands.TINY + 'y'], "no variant 'tinyy'. Did you mean 'tiny'?"),
        (['--config=configs/nothing.py'], 'nothing.py'),
        ([commands.TINY, '--mode=trian'], 'mode'),
        ([commands.TINY, '--epochs=3'], "Unknown command line flag 'epochs'"),
        ([commands.TINY, 'eval'], "unexpected argument 'eval'"),
        ([commands.TINY, '--mode=eval'], 'no checkpoint under'),
        ([commands.TINY, '--checkpoint=elsewhere'], '--checkpoint belongs to --mode eval and extract'),
        ([commands.TINY, '--num_processes=2', '--process_id=0'], 'belong together; one is missing'),
        ([commands.TINY, '--config.strf.kappa=-1.0'], 'is not at least 0'),
    ],
)
def test_wrong_arguments_get_one_clear_message(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('JAXREID_CACHE', str(tmp_path))
    assert main.run(['main', f'--workdir={tmp_path / "run"}', *arguments]) != 0
    printed = capsys.readouterr().err
    assert message in printed
    assert 'Traceback' not in printed


def test_help_shows_real_use(capsys):
    assert main.run(['main', '--help']) == 0
    printed = capsys.readouterr().out
    for word in ('--config configs/strf_mars.py', '--mode', '--workdir', '--checkpoint', 'distributed', 'summary'):
        assert word in printed


def test_a_results_file_of_something_else_stops_the_run_at_its_start(tmp_path, capsys):
    (tmp_path / 'results.json').write_text('{"a":')
    assert main.run(['main', commands.TINY, f'--workdir={tmp_path}']) == 1
    assert 'results.json does not hold results of jaxreid' in capsys.readouterr().err


def test_a_cache_that_is_a_file_is_named(tmp_path, capsys, monkeypatch):
    (tmp_path / 'cache').write_text('')
    monkeypatch.setenv('JAXREID_CACHE', str(tmp_path / 'cache'))
    assert main.run(['main', commands.TINY, f'--workdir={tmp_path / "run"}']) == 1
    assert 'set JAXREID_CACHE to a writable folder' in capsys.readouterr().err


def test_a_workdir_below_a_file_is_refused(tmp_path, capsys):
    (tmp_path / 'file').write_text('')
    assert main.run(['main', commands.TINY, f'--workdir={tmp_path / "file" / "run"}']) == 1
    assert 'cannot write to the workdir' in capsys.readouterr().err


def test_a_full_disk_is_reported_and_leaves_no_half_checkpoint(command, uninterrupted, tmp_path):
    assert uninterrupted.is_dir()  # data and programs are in the cache now
    _, epochs, _ = commands.LONG
    steps = ['--config.train.max_steps=4', epochs, '--config.train.checkpoint_every_steps=1']
    process = subprocess.run(  # no file may grow beyond 20 KiB (RLIMIT_FSIZE): what a full disk does to a write
        ['bash', '-c', 'ulimit -f 20; exec "$@"', 'limited', *command.arguments(tmp_path / 'full', *steps)],
        env=command.environment(1),
        cwd=commands.ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 1, process.stdout + process.stderr
    assert 'cannot write' in process.stderr
    assert 'Make space' in process.stderr or 'make space' in process.stderr
    for others in ('Traceback', 'ERROR', 'Event loop', 'os_error_code=\\'):  # what Orbax and asyncio log of it
        assert others not in process.stderr
    assert not [p for p in (tmp_path / 'full' / 'checkpoints').glob('*') if p.name.isdigit()]


def test_a_second_training_in_one_workdir_is_refused_while_the_first_lives(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('JAXREID_CACHE', str(tmp_path / 'cache'))
    with atomic.alone(tmp_path, doing='training in'):
        assert main.run(['main', commands.TINY, f'--workdir={tmp_path}']) == 1
    assert f'process {os.getpid()} on' in capsys.readouterr().err
    assert not {'settings.toml', 'metrics.jsonl', 'checkpoints', 'best'} & set(os.listdir(tmp_path))


@pytest.mark.parametrize(
    ('break_it', 'message'),
    [
        (lambda root: (root / 'info' / 'query_IDX.mat').unlink(), 'query_IDX.mat'),
        (lambda root: next((root / 'bbox_train').rglob('*F002.jpg')).unlink(), 'F002.jpg'),
        (
            lambda root: [f.write_bytes(f.read_bytes()[:300]) for f in (root / 'bbox_test').rglob('*F001.jpg')],
            'F001.jpg',
        ),
    ],
    ids=['missing table', 'absent frame', 'truncated JPEG'],
)
def test_a_broken_data_set_is_named_by_its_file(command, here, tmp_path, break_it, message):
    rendered = render.ensure(tmp_path / 'data', 'tiny', progress=False)
    break_it(rendered)
    mars = [f'--config.data.root={rendered}', '--config.data.dataset=mars', '--config.train.max_steps=1']
    if message != 'F001.jpg':
        output = here(tmp_path / 'run', *mars, status=1)
    else:
        _, epochs, _ = commands.LONG
        output = command.run(tmp_path / 'run', *mars, epochs, status=1)
        # The advice in the message works on the same workdir, and the score says so.
        again = command.run(tmp_path / 'run', *mars, epochs, '--config.data.on_corrupt_eval=skip_frame')
        assert 'of them replaced' in again
    assert message in output
    assert 'Traceback' not in output


def test_a_loss_that_is_not_finite_names_step_and_term_and_keeps_the_checkpoint(command, tmp_path):
    output = command.run(
        tmp_path / 'bad',
        '--config.optim.lr=1e36',
        '--config.optim.schedule=constant',
        '--config.optim.warmup_epochs=0.0',
        '--config.train.checkpoint_every_steps=1',
        status=1,
    )
    assert 'is nan' in output or 'is inf' in output
    assert 'step ' in output
    assert 'good checkpoint is step' in output or 'no checkpoint is written' in output


def test_fewer_identities_than_a_batch_needs_are_refused(here, tmp_path):
    output = here(tmp_path, '--config.sampler.num_ids=4000', status=1)
    assert '4000' in output
    assert 'ident' in output


def test_clips_that_do_not_split_over_the_devices_are_refused(here, tmp_path):
    output = here(tmp_path, '--config.sampler.num_ids=3', status=1)
    assert '6 clips do not split over 8 devices' in output


@pytest.mark.slow
def test_a_training_replaces_damaged_frames_by_name_and_stops_where_they_are_too_many(command, tmp_path):
    root = render.ensure(tmp_path / 'data', 'tiny', progress=False)
    frames = sorted((root / 'bbox_train').rglob('*.jpg'))
    how = [f'--config.data.root={root}', '--config.data.dataset=mars', '--config.train.max_steps=6', commands.LONG[1]]
    how += ['--config.system=baseline', '--config.backbone.depths=(1,1,1,1)', '--config.train.log_every_steps=2']
    how += ['--config.train.eval_every_epochs=0', '--config.test.clips=begin_crop']
    few = frames[::15]
    for number, frame in enumerate(few):
        data = frame.read_bytes()
        middle = (data.index(b'\xff\xda') + len(data)) // 2
        frame.write_bytes((b'', data[:middle], data[: middle - 40] + data[middle + 40 :])[number % 3])
    output = command.run(tmp_path / 'few', *how, quick=True)
    named = {line.partition(': ')[0] for line in (tmp_path / 'few' / 'damaged_frames.txt').read_text().splitlines()}
    assert named
    assert named <= set(map(str, few))
    assert output.count('damaged frame, a neighbour takes its place: ') == min(5, len(named))
    assert f'{len(named)} damaged training frames were replaced by neighbours: ' in output
    assert (tmp_path / 'few' / 'results.json').exists()
    for frame in frames[::2]:
        frame.write_bytes(b'')
    output = command.run(tmp_path / 'many', *how, status=1, quick=True)
    assert f'of {len(frames)} training frames are damaged, more than 10%' in output
    assert 'Traceback' not in output
    assert not (tmp_path / 'many' / 'results.json').exists()
