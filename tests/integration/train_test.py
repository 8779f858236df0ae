"""The front door, end to end: what a run leaves behind, options of the loop, real footage."""

import importlib.util
import json
import re
import tomllib
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from tests.fixtures import commands


def test_a_run_leaves_results_features_logs_and_references(command, tmp_path):
    output = command.run(
        tmp_path, '--config.train.eval_every_epochs=1', '--config.train.max_steps=10', '--config.augment.erase=0.5',
        "--config.test.protocols=('mars-paper','torchreid')", '--config.test.references=true',
    )  # fmt: skip
    rows = json.loads((tmp_path / 'results.json').read_text())
    assert [(r['selected'], r['step'], r['protocol']['name']) for r in rows] == [
        ('monitoring', 5, 'mars-paper'),
        ('monitoring', 10, 'mars-paper'),
        ('last step', 10, 'mars-paper'),
        ('last step', 10, 'torchreid'),
    ]
    references = rows[2]['references']
    assert references.keys() == {'trained', 'one_frame', 'untrained', 'colour', 'look_alikes', 'skeleton_oracle'}
    assert references['trained']['mAP'] == rows[2]['mAP']
    assert references['skeleton_oracle']['look_alike_rank1'] >= 90
    for words in (
        'strongest colour baseline',
        'the network before training',
        'mars-paper',
        'queries answered',
        'features',
    ):
        assert words in output
    with np.load(tmp_path / 'features.npz') as file:
        assert file['embedding'].shape[0] == len(file['pid']) > 30
        assert np.isfinite(file['embedding']).all()
        assert {-1, 0} <= set(file['pid'].tolist())
    logged = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
    wanted = {
        'loss',
        'cross_entropy',
        'triplet',
        'learning_rate',
        'clips_per_second',
        'waiting_for_data',
        'gradient_norm',
    }
    assert all(row.keys() >= wanted for row in logged if 'loss' in row)
    best = max(rows[:2], key=lambda row: row['mAP'])
    assert [p.name for p in (tmp_path / 'best').glob('[0-9]*')] == [str(best['step'])]
    assert f'best monitored: mAP {best["mAP"]:.2f}' in output
    check_what_people_look_at(tmp_path, output)


def check_what_people_look_at(workdir, output):
    """The curves, the settings and what the terminal said."""
    charts = [node for node in ElementTree.parse(workdir / 'curves.svg').getroot() if node.tag.endswith('svg')]
    assert len(charts) == 4  # loss, accuracy, learning rate, monitored scores
    written = (workdir / 'settings.toml').read_text()
    settings = tomllib.loads(written)
    assert settings['data']['preset'] == 'tiny'
    assert re.search(r'^# \d+ of them differ from \S+strf_synthetic\.py:tiny:$', written, re.MULTILINE)
    assert '\n#   backbone.width = 8, there 16\n' in written
    header, *lines = (workdir / 'log.txt').read_text().splitlines()
    assert header.startswith('=== 20')
    assert '--workdir' in header
    assert {line for line in lines if line} <= set(re.split('[\r\n]', output))
    assert any(line.startswith('best monitored: ') for line in lines)
    assert ('tensorboard --logdir' in output) == (importlib.util.find_spec('tensorboard') is not None)


def test_training_lowers_the_loss(command, tmp_path):
    command.run(tmp_path, '--config.train.epochs=12', '--config.optim.lr=3e-3')
    rows = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
    losses = [row['loss'] for row in rows if 'loss' in row]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


@pytest.mark.parametrize(
    'options',
    [
        ['--config.train.compute_dtype=bfloat16', '--config.train.remat=true', '--config.train.bn_groups=2'],
        ['--config.data.processes=2', '--config.sampler.kind=identity_epoch', '--config.sampler.clip=rrs',
         '--config.test.clips=rrs', '--config.test.flip=true', '--config.test.distance=euclidean'],
    ],
)  # fmt: skip
def test_options_of_the_loop_run(command, tmp_path, options):
    command.run(tmp_path, '--config.train.max_steps=2', *options, devices=2, quick=True)
    assert json.loads((tmp_path / 'results.json').read_text())[0]['mAP'] > 0


def test_the_full_network_trains_and_evaluates_on_real_footage(command, shared, tmp_path):
    root = shared / 'real_tracklets' / 'mars'
    if not root.is_dir():
        pytest.skip('no real tracklets beside this checkout')
    arguments = command.arguments(
        tmp_path, f'--config.data.root={root}', '--config.backbone.init=random', '--config.train.max_steps=1'
    )
    arguments[3] = f'--config={commands.ROOT / "configs" / "strf_mars.py"}'
    arguments = [a for a in arguments if 'backbone.width' not in a and 'num_ids' not in a]
    # A quarter of the pixels, a quarter of the time: widths and depths are what is full here.
    smaller = ['--config.data.height=128', '--config.data.width=64']
    command.execute([*arguments, *smaller, '--config.sampler.num_ids=3', '--config.test.clips=begin_crop'], quick=True)
    row = json.loads((tmp_path / 'results.json').read_text())[-1]
    assert row['protocol']['answered_queries'] == 6
    with np.load(tmp_path / 'features.npz') as file:
        assert file['embedding'].shape == (16, 2048)
