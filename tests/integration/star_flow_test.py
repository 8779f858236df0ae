"""STAR from end to end, on flow computed while it trains and on flow computed before."""

import json
import sys

import pytest

from tests.fixtures import commands, mars_folder

SETTINGS = [
    f'--config={commands.ROOT / "configs" / "star_synthetic.py"}:table3_lsta,tiny',
    '--config.data.height=32',
    '--config.data.width=16',
    '--config.data.dataset=mars',
    '--config.data.num_ids=4',
]
NETWORK = [
    '--config.backbone.width=4',
    '--config.backbone.depths=(1,1,1,1)',
    '--config.star.attention_stages=(2,)',
    '--config.sampler.num_ids=2',
    '--config.sampler.tracklets_per_id=2',
    '--config.sampler.frames=2',
    '--config.test.frames=2',
    '--config.train.max_steps=2',
    '--config.train.log_every_steps=1',
    '--config.test.references=false',
]


@pytest.mark.parametrize('engine', ['opencv', 'jax'])
def test_stored_and_computed_flow_train_the_same_network_bit_for_bit(command, tmp_path, engine):
    def folder(name):
        return f'--config.data.flow_folder={tmp_path / name}'

    train = tuple((pid, camera, 5) for pid in (1, 3, 5, 7) for camera in (1, 2))
    root = mars_folder.write(tmp_path / 'data', train=train, height=32, width=16)
    settings = [*SETTINGS, f'--config.data.root={root}', f'--config.data.flow_engine={engine}']

    def numbers(name):
        rows = [json.loads(line) for line in (tmp_path / name / 'metrics.jsonl').read_text().splitlines()]
        timed = ('second', 'waiting', 'memory')
        return [{k: v for k, v in row.items() if not any(word in k for word in timed)} for row in rows]

    def run(name, flow):
        command.execute(
            [sys.executable, '-m', 'jaxreid.main', *settings, *NETWORK, f'--workdir={tmp_path / name}', folder(flow)],
            quick=True,
        )

    run('on_the_fly', 'computed')
    sampled = {file.relative_to(tmp_path / 'computed') for file in (tmp_path / 'computed').rglob('*.npy')}
    assert sampled
    compute = [sys.executable, '-m', 'data_pipelines.optical_flow', *settings, folder('stored')]
    output = command.execute(compute, quick=True)  # compiled as the training is: otherwise flow is rounded otherwise
    stored = {file.relative_to(tmp_path / 'stored'): file for file in (tmp_path / 'stored').rglob('*.npy')}
    assert 'frames have their flow' in output
    assert sampled < stored.keys()
    before = {file: file.stat().st_mtime_ns for file in stored.values()}
    run('from_the_store', 'stored')
    assert before == {file: file.stat().st_mtime_ns for file in (tmp_path / 'stored').rglob('*.npy')}
    assert [row['step'] for row in numbers('on_the_fly')] == [1, 2, 2]
    assert all(row['loss'] > 0 for row in numbers('on_the_fly')[:2])
    assert numbers('from_the_store') == numbers('on_the_fly')
