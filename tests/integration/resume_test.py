"""A run that is killed, stopped or moved to other devices continues as if nothing had happened."""

import json
import shutil
import signal
import sys
import time

import numpy as np
import pytest

from data_pipelines import build
from jaxreid.training import checkpoint
from tests.fixtures import checkpoint_arrays, commands

LAST = commands.LAST
STEPS, LONG, OFTEN = commands.LONG


def wait_for_step(workdir, step, process, *, after_checkpoint=False):
    """Returns when the run has reported so many steps, where asked so many after its first complete checkpoint."""
    log = workdir / 'metrics.jsonl'
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        saved = [int(p.name) for p in (workdir / 'checkpoints').glob('*') if p.name.isdigit()]
        wanted = step + min(saved, default=LAST + 1) if after_checkpoint else step
        if log.exists() and len(log.read_text().splitlines()) >= wanted:
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    pytest.fail('the run made no progress')


def loss(workdir):
    """The last one that was reported."""
    rows = map(json.loads, (workdir / 'metrics.jsonl').read_text().splitlines())
    return [row['loss'] for row in rows if 'loss' in row][-1]


@pytest.fixture
def finished(uninterrupted, tmp_path):
    """A copy of that run."""
    return shutil.copytree(uninterrupted, tmp_path / 'finished')


@pytest.mark.parametrize(
    ('name', 'system'), [('uninterrupted', ()), ('uninterrupted-tfclip', commands.TFCLIP)], ids=['strf', 'tfclip']
)
def test_a_killed_run_ends_with_the_very_bits_of_one_never_killed(command, tmp_path, name, system):
    uninterrupted = command.once(name, *system, *commands.LONG)
    process = command.start(tmp_path, *system, STEPS, LONG, OFTEN)
    wait_for_step(tmp_path, 2, process, after_checkpoint=True)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = checkpoint.find(tmp_path)[1]
    assert before < LAST
    output = command.run(tmp_path, *system, STEPS, LONG, OFTEN)
    assert f'start: checkpoint of step {before}' in output
    ours, theirs = checkpoint_arrays.read(tmp_path, LAST), checkpoint_arrays.read(uninterrupted, LAST)
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    steps = [json.loads(line)['step'] for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
    assert [s for i, s in enumerate(steps) if s not in steps[:i]] == list(range(1, LAST + 1))
    said = (tmp_path / 'log.txt').read_text().splitlines()
    assert [line[:6] for line in said if line.startswith('=== ')] == ['=== 20'] * 2  # the killed command and this one
    assert (
        f'over the steps of the training; at the end loss {loss(tmp_path):.3g}' in (tmp_path / 'curves.svg').read_text()
    )


IN_PARTS = """
import sys
from jaxreid.clip_memory import __main__, identity_memory
identity_memory.PART = 2
sys.exit(__main__.run(sys.argv[1:]))
"""


def test_a_killed_command_of_the_clip_memory_goes_on_to_the_very_bits_of_one_never_killed(tmp_path):
    command = commands.Command(tmp_path)
    arguments = [sys.executable, '-c', IN_PARTS, *commands.TFCLIP]
    process = command.launch(arguments)
    while len(kept := {file: file.stat().st_mtime_ns for file in tmp_path.glob('clip_memory-*/*.npy')}) < 3:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    command.execute(arguments)
    ours = {file: file.read_bytes() for file in tmp_path.glob('clip_memory-*/*.npy')}
    assert len(ours) > len(kept)
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    shutil.rmtree(next(iter(ours)).parent)
    command.execute(arguments)
    assert {file: file.read_bytes() for file in tmp_path.glob('clip_memory-*/*.npy')} == ours


@pytest.mark.parametrize(('number', 'status'), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_a_resumable_workdir_and_no_traceback(command, uninterrupted, tmp_path, number, status):
    process = command.start(tmp_path, STEPS, LONG, '--config.train.checkpoint_every_steps=1000')
    wait_for_step(tmp_path, 2, process)
    process.send_signal(number)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == status, output
    assert 'saved; run the same command again to continue' in output
    assert 'Traceback' not in output
    assert checkpoint.find(tmp_path)[1] >= 2
    command.run(tmp_path, STEPS, LONG)
    ours, theirs = checkpoint_arrays.read(tmp_path, LAST), checkpoint_arrays.read(uninterrupted, LAST)
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def test_a_run_that_changes_its_store_on_the_way_ends_with_the_bits_of_one_on_the_folder(
    command, uninterrupted, tmp_path
):
    without = ['--config.train.eval_every_epochs=0', '--config.test.references=false', '--config.test.clips=begin_crop']
    (root,) = command.cache.glob('synthetic-tiny-*')
    records = f'--config.data.records={build.build("synthetic", str(root), str(tmp_path / "records"), preset="tiny")}'
    before = 0
    for last, decoded, where in (
        (13, True, ['--config.data.store=device']),
        (27, False, ['--config.data.store=records', records]),
        (LAST, True, ['--config.data.store=ram', records]),
    ):
        output = command.run(tmp_path, LONG, *without, f'--config.train.max_steps={last}', *where)
        assert ('decode: 100%' in output) == decoded
        assert (f'start: checkpoint of step {before}' in output) == (before > 0)
        before = last
    ours, theirs = checkpoint_arrays.read(tmp_path, LAST), checkpoint_arrays.read(uninterrupted, LAST)
    for name in theirs:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def test_a_finished_run_started_again_only_evaluates(command, finished):
    before = json.loads((finished / 'results.json').read_text())
    output = command.run(finished, STEPS, LONG, OFTEN)
    assert f'start: checkpoint of step {LAST}' in output
    after = json.loads((finished / 'results.json').read_text())
    assert [(r['mAP'], r['cmc']) for r in before] == [(r['mAP'], r['cmc']) for r in after]


def test_other_settings_do_not_continue_a_run(here, uninterrupted):
    output = here(uninterrupted, STEPS, LONG, '--config.optim.lr=0.5', status=1)
    assert 'holds a run with other settings' in output
    assert 'config.optim.lr: 0.001 before, 0.5 now' in output


def test_a_checkpoint_of_another_model_is_refused_with_what_differs(here, uninterrupted, tmp_path):
    other = here(tmp_path, '--mode=eval', f'--checkpoint={uninterrupted}', '--config.backbone.width=16', status=1)
    assert 'belongs to another model' in other
    assert 'config.backbone.width: 8 before, 16 now' in other


def test_eval_restores_on_other_devices_and_scores_alike(here, uninterrupted, tmp_path):
    here(tmp_path, '--mode=eval', f'--checkpoint={uninterrupted}')
    ours = json.loads((tmp_path / 'results.json').read_text())[0]
    theirs = json.loads((uninterrupted / 'results.json').read_text())[-1]
    assert ours['protocol'] == theirs['protocol']
    assert ours['mAP'] == pytest.approx(theirs['mAP'], abs=0.2)


def test_another_network_of_the_same_shapes_is_refused_too(here, uninterrupted, tmp_path):
    output = here(tmp_path, '--mode=eval', f'--checkpoint={uninterrupted}', '--config.strf.order=parallel', status=1)
    assert "config.strf.order: 't_then_s' before, 'parallel' now" in output


BRIEF = (
    '--config.train.eval_every_epochs=0', '--config.test.clips=begin_crop', '--config.optim.warmup_epochs=0.5',
    '--config.optim.decay_epochs=(1,)',
)  # fmt: skip


def last_bits(workdir):
    return checkpoint_arrays.read(workdir, checkpoint.find(workdir)[1])


def test_a_finished_run_that_becomes_longer_is_the_run_of_that_length_under_steps(here, tmp_path):
    step = (*BRIEF, '--config.optim.schedule=step')
    here(tmp_path / 'grown', *step, '--config.train.epochs=1')
    output = here(tmp_path / 'grown', *step, '--config.train.epochs=2')
    assert 'this is the run that 2 epochs from the start would have been' in output
    here(tmp_path / 'whole', *step, '--config.train.epochs=2')
    ours, theirs = last_bits(tmp_path / 'grown'), last_bits(tmp_path / 'whole')
    for name in theirs:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def test_a_cosine_that_becomes_longer_is_stretched_over_the_new_length(here, tmp_path):
    cosine = (*BRIEF, '--config.optim.schedule=cosine')
    here(tmp_path, *cosine, '--config.train.epochs=1')
    end = checkpoint.find(tmp_path)[1]
    output = here(tmp_path, *cosine, '--config.train.epochs=2')
    assert f'start: checkpoint of step {end}. It goes on to 2 epochs, where it had 1: the cosine is stretched' in output
    rows = map(json.loads, (tmp_path / 'metrics.jsonl').read_text().splitlines())
    rates = {row['step']: row['learning_rate'] for row in rows if 'learning_rate' in row}
    assert list(rates) == list(range(1, 2 * end + 1))
    warm = round(end / 2)
    for at, rate in rates.items():
        length = end if at <= end else 2 * end
        done = max(at - 1 - warm, 0) / (length - warm)
        expected = 0.5e-3 * (1 + np.cos(np.pi * done)) * min(0.01 + 0.99 * (at - 1) / warm, 1)
        assert rate == pytest.approx(expected, rel=1e-4), at
    assert 'config.train.epochs: 2 before, 1 now' in here(tmp_path, *cosine, '--config.train.epochs=1', status=1)


def test_a_run_beyond_the_steps_asked_for_is_not_relabelled(here, uninterrupted):
    output = here(uninterrupted, '--config.train.max_steps=3', LONG, OFTEN, status=1)
    assert f'is trained to step {LAST} already, beyond the 3 steps asked for' in output


def test_an_evaluation_does_not_overwrite_features_made_in_another_way(here, finished):
    before = (finished / 'features.npz').read_bytes()
    here(finished, '--mode=eval', '--config.test.clips=rrs', '--config.test.flip=true')
    assert (finished / 'features.npz').read_bytes() == before
    assert (finished / f'features-synthetic-tiny-step{LAST}-rrs-flip.npz').exists()


def test_a_damaged_checkpoint_is_named_with_the_older_one_to_continue_from(command, finished):
    for file in (finished / 'checkpoints' / str(LAST) / 'state').rglob('*'):
        if file.is_file() and '/d/' in str(file):
            file.write_bytes(file.read_bytes()[:10])
    output = command.run(finished, STEPS, LONG, OFTEN, status=1)
    assert f'checkpoints/{LAST} is damaged' in output
    assert 'move it away to continue from step 39' in output
    assert 'Traceback' not in output
    assert 'Event loop' not in output


def test_two_processes_agree_on_a_last_step_when_interrupted(command, tmp_path):
    address = f'--coordinator=127.0.0.1:{commands.free_port()}'
    arguments = ['--config.train.epochs=400', '--config.train.eval_every_epochs=0', address, '--num_processes=2']
    running = [command.start(tmp_path, *arguments, f'--process_id={i}') for i in range(2)]
    wait_for_step(tmp_path, 5, running[0])
    for process in running:
        process.send_signal(signal.SIGINT)
    outputs = [process.communicate(timeout=200)[0] for process in running]
    assert [process.returncode for process in running] == [130, 130], '\n'.join(outputs)
    assert checkpoint.find(tmp_path)[1] >= 5
    assert 'saved; run the same command again' in outputs[0]


def test_a_training_that_is_stopped_saves_though_ctrl_c_ended_who_read_the_terminal_too(command, tmp_path):
    process = command.start(tmp_path, STEPS, LONG, '--config.train.checkpoint_every_steps=1000')
    wait_for_step(tmp_path, 2, process)
    process.stdout.close()  # as `2>&1 | tee log` does, which gets the same Ctrl-C
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) == 130
    assert checkpoint.find(tmp_path)[1] >= 2
    assert 'saved; run the same command again to continue' in (tmp_path / 'log.txt').read_text()


def test_a_training_that_is_asked_twice_stops_at_once(command, tmp_path):
    process = command.start(tmp_path, STEPS, LONG, '--config.train.checkpoint_every_steps=1')
    wait_for_step(tmp_path, 2, process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 130, output
    assert 'Traceback' not in output
    command.run(tmp_path, STEPS, LONG)


@pytest.mark.parametrize('killed', [0, 1], ids=['the coordinator', 'a worker'])
def test_a_process_that_is_killed_is_named_by_the_other_within_a_minute(command, tmp_path, killed):
    address = f'--coordinator=127.0.0.1:{commands.free_port()}'
    arguments = ['--config.train.epochs=4000', '--config.train.eval_every_epochs=0', address, '--num_processes=2']
    running = [command.start(tmp_path, *arguments, f'--process_id={i}') for i in range(2)]
    wait_for_step(tmp_path, 5, running[0])
    running[killed].send_signal(signal.SIGKILL)
    killed_at = time.monotonic()
    output = running[1 - killed].communicate(timeout=100)[0]
    assert time.monotonic() - killed_at < 60
    running[killed].communicate()
    assert running[1 - killed].returncode == 1, output
    lines = [line for line in output.splitlines() if f'process {killed} is gone' in line]
    assert len(lines) == 1, output
    assert 'run the same command on all hosts again' in lines[0]
    for other in ('Traceback', 'cannot write a checkpoint', '@ 0x', 'stack trace', 'MiB free'):
        assert other not in output, output
