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


CLAIMS = [
    sys.executable, '-m', 'jaxreid.reproduce', 'claims', '--dataset=synthetic', '--preset=tiny', '--seeds=0',
    '--claims=sta-stripes,sta-fusion', '--config.backbone.init=random', '--config.train.epochs=3',
    *[argument for argument in TABLE if argument.startswith('--config.')],
]  # fmt: skip


def test_killed_claims_go_on_where_they_were_and_share_what_they_trained(command, tmp_path):
    arguments = [*CLAIMS, f'--workdir={tmp_path}']
    first, plain, third = (tmp_path / f'sta_synthetic-table1_{row},tiny-seed0' for row in ('sta', 'avg', 'fusion'))
    page, ceilings = tmp_path / 'claims-synthetic.json', plain / 'ceilings.json'

    # In the middle of the third training: both rows of one claim are there, and one of the other's.
    kill_when(command.launch(arguments), lambda: any(p.name.isdigit() for p in (third / 'checkpoints').glob('*')))
    logs = [(folder / 'metrics.jsonl').read_text() for folder in (first, plain)]
    helped = ceilings.read_text()
    stripes, fusion = json.loads(page.read_text())['claims']
    assert (stripes['verdict'], fusion['verdict']) == ('one seed: no interval', 'not run')
    assert fusion['seeds'] == [
        {'seed': 0, 'row': None, 'against': stripes['seeds'][0]['row'], 'ceiling': fusion['seeds'][0]['ceiling'],
         'failed': []}
    ]  # fmt: skip

    output = command.execute(arguments)
    assert '2 claims, synthetic: 3 runs, 2 of them finished' in output
    assert 'start: checkpoint of step' in output
    assert logs == [(folder / 'metrics.jsonl').read_text() for folder in (first, plain)]
    assert ceilings.read_text() == helped
    stripes, fusion = json.loads(page.read_text())['claims']
    assert fusion['verdict'] == 'one seed: no interval'
    assert stripes['row_values'] == fusion['against_values']
    assert stripes['difference'] == stripes['seeds'][0]['row'] - stripes['seeds'][0]['against']
    without, clear = json.loads(helped)['views']
    assert clear['name'] == stripes['ceiling_by'] == 'nothing in the way'
    assert stripes['ceiling'] == clear['mAP'] - without['mAP']
    text = (tmp_path / 'claims-synthetic.md').read_text()
    assert text in output
    assert text.count('| one seed: no interval |') == 2
