"""`python -m jaxreid.reproduce`: a whole table on the `tiny` preset, killed twice on the way."""

import json
import signal
import sys
import time

TABLE = [
    sys.executable, '-m', 'jaxreid.reproduce', 'sta-table2', '--dataset=synthetic', '--preset=tiny',
    '--config.backbone.width=4', '--config.sampler.num_ids=2', '--config.sampler.tracklets_per_id=2',
    '--config.sta.dim=8', '--config.train.max_steps=3', '--config.train.checkpoint_every_steps=1',
    '--config.train.eval_every_epochs=0', '--config.train.log_every_steps=1',
    '--config.test.batch_clips=16', '--config.test.references=false',
]  # fmt: skip


def kill_when(process, there):
    """Ends a run without a word as soon as `there()` is true; returns what it had printed."""
    until = time.monotonic() + 200
    while not there():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until, 'the run is too slow'
        time.sleep(0.02)
    process.kill()
    output = process.communicate()[0]
    assert process.returncode == -signal.SIGKILL
    return output


def test_a_killed_table_goes_on_where_it_was_and_ends_complete(command, tmp_path):
    arguments = [*TABLE, f'--workdir={tmp_path}']
    trained = tmp_path / 'sta_synthetic-table2_n2,tiny-seed0'

    # In the middle of the only training, which the other rows share.
    kill_when(command.launch(arguments), lambda: any(p.name.isdigit() for p in (trained / 'checkpoints').glob('*')))
    found = json.loads((tmp_path / 'sta-table2-synthetic.json').read_text())
    assert [row['status'] for row in found['rows']] == ['not run'] * 4

    # Between two rows.
    second = tmp_path / 'sta_synthetic-table1_full,tiny-seed0'
    output = kill_when(command.launch(arguments), second.is_dir)
    assert 'start: checkpoint of step' in output
    first_log = (trained / 'metrics.jsonl').read_text()
    assert [json.loads(line)['step'] for line in first_log.splitlines() if 'loss' in line] == [1, 2, 3]

    output = command.execute(arguments)
    assert '4 runs, 1 of them finished' in output
    assert (trained / 'metrics.jsonl').read_text() == first_log
    assert not (second / 'checkpoints').exists()
    found = json.loads((tmp_path / 'sta-table2-synthetic.json').read_text())
    assert [row['status'] for row in found['rows']] == ['finished'] * 4
    assert [row['runs'][0]['protocol']['frames_per_clip'] for row in found['rows']] == [2, 4, 6, 8]
    assert [row['runs'][0]['checkpoint_of'] for row in found['rows']] == [None] + 3 * [trained.name]
    text = (tmp_path / 'sta-table2-synthetic.md').read_text()
    assert text in output
    assert text.count('| 1 | 3 | ') == 4
    assert '| paper, mars |' in text
