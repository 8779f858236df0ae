"""A finished training as a folder to share, and what reads it."""

import hashlib
import json
import shutil
import subprocess
import sys

import huggingface_hub
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import jaxreid
from jaxreid import config
from jaxreid.evaluation import network
from jaxreid.models import build, cost
from jaxreid.process import commands
from jaxreid.training import checkpoint, published
from jaxreid.weights import publish, start, state_file
from tests.fixtures import fake_hub, random_network

PEOPLE = {'3': 'ignatz', '5': 'quentin'}
SECRET = '/home/zoltan/kubla'


def settings(seed=0, **data):
    e = config.Experiment(
        data=config.Data(dataset='manifest', root=f'{SECRET}/shop/own.csv', height=32, width=16, **data),
        backbone=config.Backbone(block='c2d', width=4, depths=(1, 1, 1, 1), init='checkpoint', weights=f'{SECRET}/old'),
        strf=config.Strf(stages=()),
        train=config.Train(seed=seed, epochs=2, compute_dtype='float32'),
    )
    return config.validate(e)


def result(seed, *, step=6, name='mars-paper', tested_on='manifest shop/own.csv'):
    protocol = {'name': name, 'dataset': 'manifest', 'clips': 'all_frames', 'frames_per_clip': 4, 'one_frame': False,
                'flip': False, 'flow': 'off', 'compute_dtype': 'float32', 'distance': 'cosine', 're_ranking': 'none',
                'ap': 'step', 'gallery': 'with_queries', 'gallery_size': 40, 'junk': 'none', 'distractors': 'none',
                'same_camera': 'ignored', 'answered_queries': 20, 'unanswered_queries': 0, 'unanswerable': 'left out',
                'frames_seen': 400, 'corrupt_frames_replaced': 0}  # fmt: skip
    cmc = {'1': 70.0 + seed, '5': 80.0, '10': 90.0, '20': 95.0}
    return {'protocol': protocol, 'mAP': 60.0 + 2 * seed, 'mINP': 50.0, 'cmc': cmc, 'step': step,
            'selected': 'last step', 'trained_on': 'manifest shop/own.csv', 'tested_on': tested_on}  # fmt: skip


def finished(folder, *, seed=0, step=6, rows=None, **data):
    """The workdir of a training of two epochs of three steps, at `step`."""
    e = settings(seed, **data)
    model = build.build(e, num_ids=2, dtype=jnp.float32)
    variables = random_network.variables(cost.shapes(model, frames=2, height=32, width=16), seed=seed)
    meta = {'config': config.to_dict(e), 'labels': {'3': 0, '5': 1}, 'pid_names': PEOPLE, 'steps_per_epoch': 3,
            'versions': {'jax': 'any'}}  # fmt: skip
    saved = checkpoint.Checkpoints(folder / 'checkpoints', keep=1)
    saved.save(step, {**variables, 'opt_state': {'mu': jnp.ones(3)}}, meta)
    saved.close()
    rows = [result(seed), result(seed, name='torchreid')] if rows is None else rows
    (folder / 'results.json').write_text(json.dumps(rows))
    return folder


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """Workdirs of three seeds."""
    base = tmp_path_factory.mktemp('runs')
    return [finished(base / f'seed{seed}', seed=seed) for seed in range(3)]


@pytest.fixture(scope='module')
def shared(runs, tmp_path_factory):
    """What is published of them."""
    out = tmp_path_factory.mktemp('shared') / 'shop-doors'
    publish.publish(runs, out, license='cc-by-nc-4.0', data_terms='agreed to by those shown')
    return out


def clips(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (2, 3, 40, 20, 3), np.uint8)


def test_the_folder_gives_the_features_of_the_checkpoint_bit_for_bit(runs, shared):
    theirs, ours = jaxreid.load(runs[0]), jaxreid.load(shared)
    np.testing.assert_array_equal(ours.embed(clips()), theirs.embed(clips()))
    assert ours.network.fingerprint == theirs.network.fingerprint
    assert ours.network.path == shared
    assert not np.array_equal(ours.embed(clips()), jaxreid.load(runs[1]).embed(clips()))


def test_its_files_are_tensors_settings_scores_with_their_spread_a_hash_and_licences(shared):
    assert {file.name for file in shared.iterdir()} == {
        'README.md',
        'jaxreid.json',
        'model.safetensors',
        'settings.toml',
    }
    said = json.loads((shared / 'jaxreid.json').read_text())
    content = (shared / 'model.safetensors').read_bytes()
    assert said['sha256'] == hashlib.sha256(content).hexdigest()
    tensors = safetensors.numpy.load(content)
    assert {name.split('/')[0] for name in tensors} == {'params', 'batch_stats'}  # no optimizer
    assert (said['name'], said['step'], said['license'], said['data_terms']) == (
        'shop-doors', 6, 'cc-by-nc-4.0', 'agreed to by those shown',
    )  # fmt: skip
    first, second = said['scores']
    assert (first['result']['protocol']['name'], second['result']['protocol']['name']) == ('mars-paper', 'torchreid')
    assert first['result'] == result(0)
    assert first['over_seeds']['mAP'] == {'seeds': [0, 1, 2], 'values': [60.0, 62.0, 64.0], 'mean': 62.0, 'std': 2.0}
    assert first['over_seeds']['rank1']['std'] == 1.0


def test_neither_people_nor_paths_are_told(shared):
    for file in shared.iterdir():
        text = file.read_bytes().decode(errors='replace')
        assert not [word for word in (*PEOPLE.values(), 'zoltan', 'kubla') if word in text], file.name
    said = published.read(shared)['checkpoint']
    assert said['labels'] == {'unknown 0': 0, 'unknown 1': 1}
    assert said['config']['data']['root'] == 'shop/own.csv'
    assert said['config']['backbone']['weights'] == 'old'


def test_folders_of_mixed_in_data_are_left_out_too():
    data = {
        'also': (f'manifest={SECRET}/a/b.csv', f'ilids:3={SECRET}/iLIDS'),
        'store': 'records',
        'records': f'{SECRET}/records',
    }
    made = publish.without_paths(settings(**data, flow_folder=SECRET))
    assert made.data.also == ('manifest=a/b.csv', 'ilids:3=')
    assert 'zoltan' not in json.dumps(config.to_dict(made))
    kept = settings()
    kept.backbone.weights = 'hf:shop/doors@v1'
    assert publish.without_paths(kept).backbone.weights == 'hf:shop/doors@v1'


def test_the_card_is_one_that_the_hub_reads(shared):
    card = huggingface_hub.ModelCard.load(shared / 'README.md')
    assert card.data.license == 'cc-by-nc-4.0'
    assert card.data.library_name == 'jaxreid'
    assert card.data.model_name == 'shop-doors'
    metrics = [(one.dataset_name, one.metric_name, one.metric_value) for one in card.data.eval_results]
    assert metrics == [
        ('manifest shop/own.csv', f'{kind} ({rule})', value)
        for rule in ('mars-paper', 'torchreid')
        for kind, value in (('mAP', 60.0), ('rank-1', 70.0))
    ]
    assert (
        '| manifest shop/own.csv | mars-paper | 0 | 60.00 | 70.00 | 0, 1, 2 | 62.00 ± 2.00 | 71.00 ± 1.00 |'
        in card.text
    )
    assert 'Licence of the weights: cc-by-nc-4.0' in card.text
    assert published.read(shared)['sha256'] in card.text


def test_one_training_has_no_spread(runs, tmp_path):
    said = publish.publish(runs[:1], tmp_path / 'one')
    assert said['scores'][0]['over_seeds']['mAP'] == {'seeds': [0], 'values': [60.0], 'mean': 60.0, 'std': None}
    text = (tmp_path / 'one' / 'README.md').read_text()
    assert '| 0 | 60.00 | 70.00 |' in text
    assert '±' not in text
    assert 'license: "unknown"' in text


def test_what_is_not_finished_or_no_other_seed_is_refused(runs, tmp_path):
    early = finished(tmp_path / 'early', step=3)
    untested = finished(tmp_path / 'untested', rows=[result(0, step=3), {**result(0), 'selected': 'monitoring'}])
    elsewhere = finished(tmp_path / 'elsewhere', seed=3, rows=[result(3, tested_on='mars')])
    other = finished(tmp_path / 'other', seed=4, dense_frames=64)
    again = finished(tmp_path / 'again', seed=1)
    for workdirs, message in (
        ([early], r'early is trained to step 3 of 6 and is not published'),
        ([untested], r'results.json has no result of the last step, 6'),
        ([runs[0], elsewhere], 'have no result in common'),
        ([runs[0], other], r'other is no other seed of .*seed0:\n  config.data.dense_frames: 0 before, 64 now'),
        ([runs[0], runs[0]], 'the seed, 0, is the same'),
        ([runs[0], runs[1], again], 'two workdirs have the same seed'),
    ):
        with pytest.raises(state_file.WeightsError, match=message):
            publish.publish(workdirs, tmp_path / 'out')
    with pytest.raises(checkpoint.CheckpointError, match='no checkpoint under'):
        publish.publish([tmp_path / 'nowhere'], tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_nothing_is_overwritten(runs, shared, tmp_path):
    before = {file.name: file.read_bytes() for file in shared.iterdir()}
    with pytest.raises(FileExistsError, match='is there already and is not overwritten'):
        publish.publish(runs[1:], shared)
    assert {file.name: file.read_bytes() for file in shared.iterdir()} == before
    (tmp_path / 'file').write_text('mine')
    with pytest.raises(FileExistsError, match='is there already'):
        publish.publish(runs, tmp_path / 'file')


@pytest.mark.parametrize('name', ['model.safetensors', 'jaxreid.json'])
def test_a_changed_file_is_named(shared, tmp_path, name):
    copy = shutil.copytree(shared, tmp_path / 'copy')
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(ValueError, match=name.replace('.', r'\.')):
        jaxreid.load(copy)


def test_a_network_of_the_hub_is_loaded_by_its_name_and_started_from(shared, tmp_path, monkeypatch):
    hub = fake_hub.Hub(tmp_path / 'cache')
    hub.repositories = {'shop/doors': {'main': shared}, 'shop/other': {'main': tmp_path}}
    monkeypatch.setattr('huggingface_hub.snapshot_download', hub.snapshot_download)
    found = jaxreid.load('hf:shop/doors')
    np.testing.assert_array_equal(found.embed(clips()), jaxreid.load(shared).embed(clips()))
    assert sorted(hub.fetched) == ['jaxreid.json', 'model.safetensors']
    with pytest.raises(checkpoint.CheckpointError, match=r'hf:shop/other has no jaxreid.json: it holds no network'):
        jaxreid.load('hf:shop/other')

    e = settings()
    e.backbone.weights = 'hf:shop/doors'
    model = build.build(e, num_ids=7, dtype=jnp.float32)
    fresh = random_network.variables(cost.shapes(model, frames=2, height=32, width=16), seed=9)
    began, said = start.initialise(fresh, e)
    np.testing.assert_array_equal(
        began['params']['stem']['conv1']['kernel'], found.network.variables['params']['stem']['conv1']['kernel']
    )
    assert said.endswith('arrays from hf:shop/doors; anew: head')
    e.backbone.weights = 'hf:shop/none'
    with pytest.raises(state_file.WeightsError, match=r"backbone\.weights = 'hf:shop/none': .*no such repository"):
        start.initialise(fresh, e)


def test_a_network_that_was_published_is_evaluated_under_other_settings_of_the_same_network(shared):
    e = settings()
    e.test.clips = 'even'
    assert network.Network.load(shared, experiment=e).experiment.test.clips == 'even'
    e.strf.order = 'parallel'  # of no unit, but told apart
    e.backbone.block, e.strf.stages = 'p3dc', (2,)
    with pytest.raises(checkpoint.CheckpointError, match=f'checkpoint {shared} belongs to another model'):
        network.Network.load(shared, experiment=e)


def test_the_command_says_how_to_share_it_and_what_is_not_stated(runs, tmp_path, capsys):
    assert publish.main([*map(str, runs[:2]), str(tmp_path / 'doors')]) == 0
    said = capsys.readouterr().out
    assert 'step 6, mAP 60.00, 2 seeds' in said
    assert f'hf upload OWNER/NAME {tmp_path / "doors"}' in said
    assert 'say the licence of the weights with --license' in said
    assert publish.main([str(runs[0]), str(tmp_path / 'doors')]) == 1
    assert 'is not overwritten' in capsys.readouterr().err
    assert commands.COMMANDS['publish'].module == 'jaxreid.weights.publish'


def test_neither_the_hub_s_library_nor_the_publisher_is_needed_to_load(shared):
    code = (
        "import sys; sys.modules['huggingface_hub'] = None; import jaxreid; "
        f'print(jaxreid.load({str(shared)!r}).experiment.backbone.width)'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == '4', done.stderr
