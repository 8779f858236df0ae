"""Results carry their protocol, adding to them loses nothing, and people who were trained on are counted."""

import dataclasses
import json

import numpy as np
import pytest

from jaxreid import config
from jaxreid.data import source
from jaxreid.data.stores import frame_cache
from jaxreid.data.tracklets import tracklet
from jaxreid.evaluation import evaluate, feature_file, features, network, protocols, results
from tests.fixtures import ranked_rows
from tests.oracles import rerank as oracle


def found(step=5):
    """Features of six tracklets: two people seen by two cameras, a distractor, junk."""
    rng = np.random.default_rng(0)
    pid = np.array([1, 1, 2, 2, 0, -1])
    embedding = np.eye(4, dtype=np.float32)[[0, 0, 1, 1, 2, 3]] + 0.01 * rng.standard_normal((6, 4)).astype(np.float32)
    return feature_file.Features(
        embedding=embedding,
        embedding_before_neck=embedding * 2,
        pid=pid,
        camera=np.array([1, 2, 1, 2, 1, 1]),
        query=np.array([1, 0, 1, 0, 0, 0], bool),
        gallery=np.ones(6, bool),
        name=np.array([f't{i}' for i in range(6)]),
        frames=np.arange(6),
        meta={
            'dataset': 'mars', 'split': 'test', 'clips': 'rrs', 'clip_seed': None, 'frames_per_clip': 4,
            'one_frame': False, 'flip': False, 'flow': 'off', 'compute_dtype': 'float32', 'frames_seen': 24,
            'corrupt_frames_replaced': 0, 'step': step,
        },
    )  # fmt: skip


def test_a_feature_file_opens_without_pickle_and_holds_every_array(tmp_path):
    ours = found()
    ours.save(tmp_path / 'features.npz')
    with np.load(tmp_path / 'features.npz', allow_pickle=False) as file:
        assert set(file) == {
            'embedding', 'embedding_before_neck', 'pid', 'camera', 'query', 'gallery', 'name', 'frames', 'meta',
        }  # fmt: skip
        np.testing.assert_array_equal(file['embedding'], ours.embedding)
        assert file['embedding'].dtype == np.float32
        assert file['name'].tolist() == ours.name.tolist()
        assert json.loads(str(file['meta']))['clips'] == 'rrs'


def test_a_feature_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(OSError, match=r'cannot write .*features.npz'):
        found().save(tmp_path / 'file' / 'features.npz')


def test_every_row_and_every_line_of_the_table_carry_the_protocol():
    experiment = config.Experiment()
    experiment.test.protocols = ('mars-paper', 'mars-official')
    rows = evaluate.score(found(), experiment, selected='last step')
    assert [row['protocol']['name'] for row in rows] == ['mars-paper', 'mars-official']
    for row in rows:
        assert row['mAP'] == pytest.approx(100)
        assert row['cmc'] == {'1': 100, '5': 100, '10': 100, '20': 100}
        assert (row['step'], row['selected'], row['protocol']['gallery_size']) == (5, 'last step', 5)
        assert row['protocol'].keys() >= {
            'ap', 'gallery', 'junk', 'distractors', 'distance', 'clips', 'flip', 'frames_seen', 'answered_queries',
            'unanswered_queries', 're_ranking', 'dataset', 'flow', 'compute_dtype', 'clip_seed',
        }  # fmt: skip
    text = results.table(rows)
    for word in (
        'mars-paper',
        'mars-official',
        'step AP',
        'trapezoid AP',
        'cosine',
        'rrs x 4 frames',
        'flow off',
        'float32',
        '2 queries answered',
    ):
        assert word in text


def crowd(seed=1):
    """Noisy features of 60 tracklets of ten people, distractors and junk; queries are in the gallery as on MARS."""
    rng = np.random.default_rng(seed)
    pid = rng.integers(-1, 11, 60)
    embedding = rng.normal(size=(12, 6))[pid] + 0.7 * rng.normal(size=(60, 6))
    return dataclasses.replace(
        found(),
        embedding=embedding.astype(np.float32),
        embedding_before_neck=embedding.astype(np.float32),
        pid=pid,
        camera=rng.integers(0, 3, 60),
        query=(np.arange(60) < 20) & (pid > 0),
        gallery=np.arange(60) != 7,
        name=np.array([f't{i}' for i in range(60)]),
        frames=np.arange(60),
    )


def test_re_ranked_scores_are_those_of_the_queries_and_the_gallery_that_the_protocol_ranks():
    experiment, ours = config.Experiment(), crowd()
    experiment.test.protocols = ('mars-paper', 'torchreid', 'mars-official')
    plain = evaluate.score(ours, experiment, selected='last step')
    experiment.test.rerank, experiment.test.rerank_k1 = True, 5
    rows = evaluate.score(ours, experiment, selected='last step')
    assert 're-ranking k-reciprocal, k1 5, k2 6, lambda 0.3' in results.table(rows)
    for row, before in zip(rows, plain, strict=True):
        assert row['protocol'].pop('re_ranking') == 'k-reciprocal, k1 5, k2 6, lambda 0.3'
        assert before['protocol'].pop('re_ranking') == 'none'
        assert row['protocol'] == before['protocol']
        assert row['mAP'] != pytest.approx(before['mAP'], abs=0.1)
        kept = ours.gallery & (ours.pid != -1)
        if row['protocol']['name'] == 'torchreid':
            kept &= ~ours.query
        expected = np.full((ours.query.sum(), ours.gallery.sum()), 9.0)
        expected[:, kept[ours.gallery]] = oracle.rerank(
            ours.embedding[ours.query], ours.embedding[kept], distance='cosine', k1=5, k2=6, weight=0.3
        )
        roles = ours.pid, ours.camera, ours.query, ours.gallery, protocols.named(row['protocol']['name'])
        assert row['mAP'] == pytest.approx(ranked_rows.of_distances(expected, *roles)['mAP'])


@pytest.mark.parametrize(
    ('how', 'text'),
    [
        ({'clips': 'random', 'clip_seed': 7}, 'clips random (seed 7) x 4 frames'),
        ({'clips': 'whole', 'flow': 'tvl1', 'flip': True}, 'clips whole tracklets, flip yes, flow tvl1'),
        ({'clips': 'rrs', 'one_frame': True}, 'clips rrs x 1 frames'),
    ],
)
def test_the_table_says_how_clips_were_chosen(how, text):
    ours = found()
    ours.meta.update(how)
    assert text in results.table(evaluate.score(ours, config.Experiment(), selected='last step'))


def test_what_makes_numbers_doubtful_is_said_before_them_and_kept_with_them():
    experiment = config.Experiment()
    assert 'warnings' not in evaluate.score(found(), experiment, selected='last step')[0]
    embedding = found().embedding.copy()
    embedding[[0, 4]] = 0
    embedding[3] = embedding[2]
    experiment.test.rerank = True
    (row,) = evaluate.score(dataclasses.replace(found(), embedding=embedding), experiment, selected='last step')
    zeros, copies, far = row['warnings']
    assert zeros == '2 features are all zeros (first: t0, t4).'
    assert copies.startswith('1 of 4 rows marked gallery repeat the feature of another one (first: t3; most often t2')
    assert far.startswith('re-ranking (k1) looks for 20 neighbours, but the gallery holds 5')
    said = results.table([row])
    for warning in row['warnings']:
        assert 0 <= said.index(warning) < said.index(f'{row["mAP"]:.2f}')


def test_results_grow_and_the_same_row_is_replaced(tmp_path):
    path = tmp_path / 'results.json'
    experiment = config.Experiment()
    first = evaluate.score(found(step=5), experiment, selected='monitoring')
    second = evaluate.score(found(step=9), experiment, selected='last step')
    results.append(path, first)
    results.append(path, second)
    results.append(path, second)
    rows = json.loads(path.read_text())
    assert [(row['step'], row['selected']) for row in rows] == [(5, 'monitoring'), (9, 'last step')]


@pytest.mark.parametrize('text', ['{"mAP": ', '{}', '[1]', '[{"mAP": 3}]'])
def test_a_results_file_of_something_else_is_not_overwritten(tmp_path, text):
    path = tmp_path / 'results.json'
    path.write_text(text)
    with pytest.raises(ValueError, match=r'results.json does not hold results of jaxreid'):
        results.append(path, evaluate.score(found(), config.Experiment(), selected='last step'))
    assert path.read_text() == text


def test_used_items_stand_beside_the_score(tmp_path):
    ours = found()
    ours.meta['used_items'] = {'spatial_items': features.used_items(np.array([1.0, 3]))}
    row = evaluate.score(ours, config.Experiment(), selected='last step')[0]
    assert row['used_items']['spatial_items']['counts'] == [1.0, 3.0]
    assert 'spatial items: 1.75 of 2 used' in results.table([row])


def people(data, pids, *, tested, names=None, trained=None):
    """How many of the tested were trained on."""
    meta = {
        'labels': {str(pid): label for label, pid in enumerate(pids)},
        'pid_names': names or {},
        'config': config.to_dict(config.Experiment(data=trained or data)),
    }
    test = tuple([tracklet.Tracklet(str(row), pid, 1, ('x',)) for row, pid in enumerate(tested)])
    marks = np.ones(len(test), bool)
    dataset = tracklet.Dataset('', (), test, marks, marks, pid_names={1: 'ann', 2: 'bob'} if names else {})
    before = evaluate.trained_people(meta)
    return len(before & evaluate.test_people(dataset, data))


def test_tested_people_who_were_trained_on_are_counted_over_splits_and_parts_of_a_data_set():
    ilids = config.Data(dataset='ilids', split='3')
    trained = dataclasses.replace(ilids, split='0')
    assert people(ilids, [1, 2, 3, 4], tested=[3, 4, 4, 5], trained=trained) == 2
    assert people(ilids, [1, 2], tested=[3, 4]) == 0
    assert people(config.Data(dataset='mars', part='validation'), [1, 2], tested=[2], trained=config.Data()) == 1
    assert people(config.Data(dataset='mars'), [1, 2], tested=[-1, 0, 3]) == 0
    assert people(config.Data(dataset='mars'), [-1, 0, 1], tested=[-1, 0, 1]) == 1  # distractors and junk are nobody


def test_equal_numbers_of_different_data_sets_are_different_people():
    mars = config.Data(dataset='mars')
    assert people(mars, [1, 2], tested=[1, 2], trained=config.Data(dataset='dukev')) == 0
    one, other = (config.Data(dataset='synthetic', preset=preset) for preset in ('tiny', 'demo'))
    assert people(one, [1, 2], tested=[1, 2], trained=other) == 0
    mixed = config.Data(dataset='mars', also=('dukev=/x',))
    assert people(mars, [1, 2, 9], tested=[2, 9], names={'9': 'dukev 1'}, trained=mixed) == 0


def test_names_count_and_not_the_numbers_that_they_were_given():
    data = config.Data(dataset='manifest', root='/a/shop/own.csv')
    moved = dataclasses.replace(data, root='/b/shop/own.csv')
    assert people(data, [1, 2], tested=[1], names={'1': 'zoe', '2': 'ann'}, trained=moved) == 1
    assert people(data, [1, 2], tested=[2], names={'1': 'zoe', '2': 'ann'}) == 0
    market = dataclasses.replace(data, root='/a/market/own.csv')
    assert people(data, [1, 2], tested=[1, 2], trained=market) == 0


@pytest.mark.parametrize('changed', ['trained_on', 'tested_on'])
def test_results_of_other_training_or_test_data_stand_beside_each_other(tmp_path, changed):
    row = {'step': 1, 'selected': 'last step', 'protocol': {'name': 'x'}, 'trained_on': 'mars', 'tested_on': 'dukev'}
    path = tmp_path / 'results.json'
    results.append(path, [row])
    other = row | {changed: 'prid split 0'}
    results.append(path, [other])
    assert results.read(path) == [row, other]
    results.append(path, [row])
    assert results.read(path) == [other, row]


def test_several_kinds_of_clips_are_extracted_and_scored_with_one_restored_network(tmp_path, monkeypatch):
    experiment = config.Experiment(test=config.Test(clips='rrs', also_clips=('begin_crop', 'rrs')))
    marks = np.ones(2, bool)
    test = tuple([tracklet.Tracklet(str(camera), 1, camera, ('x',) * 9) for camera in (1, 2)])
    dataset = tracklet.Dataset('', (), test, marks, marks, pid_names={})
    meta = {'labels': {'7': 0}, 'config': config.to_dict(experiment)}
    restored, stores = [], []

    def load(path, *, experiment, mesh):
        restored.append(path)
        return network.Network(experiment, None, {}, meta, 5, mesh, path)

    def extract(self, dataset, *, clips, label, store):
        stores.append(store)
        made = {**self.making(clips=clips), 'compute_dtype': 'float32', 'frames_seen': 4, 'corrupt_frames_replaced': 0}
        return features.describe(dataset, np.ones((2, 3), np.float32), np.ones((2, 3), np.float32), made)

    monkeypatch.setattr(network.Network, 'load', load)
    monkeypatch.setattr(network.Network, 'features', extract)
    monkeypatch.setattr(source, 'read', lambda _: dataset)
    rows = evaluate.run(experiment, tmp_path, tmp_path, scored=True)
    assert [row['protocol']['clips'] for row in rows] == ['rrs', 'begin_crop']
    assert restored == [tmp_path]
    assert stores[0] is stores[1]  # frames are decoded once
    assert isinstance(stores[0], frame_cache.FrameCache)
    assert results.read(tmp_path / 'results.json') == json.loads(json.dumps(rows))
    names = ('features.npz', 'features-mars-step5-begin_crop.npz')
    assert [feature_file.load(tmp_path / name).meta['clips'] for name in names] == ['rrs', 'begin_crop']


def test_a_damaged_old_feature_file_is_found_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(network.Network, 'load', lambda *_, **__: pytest.fail('worked'))
    (tmp_path / 'features.npz').write_bytes(b'PK cut off')
    with pytest.raises(ValueError, match=r'features\.npz is no readable \.npz file'):
        evaluate.run(config.Experiment(), tmp_path, tmp_path / 'checkpoints', scored=False)
    assert (tmp_path / 'features.npz').read_bytes() == b'PK cut off'
