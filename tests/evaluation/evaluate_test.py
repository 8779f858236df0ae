"""Results carry their protocol, and adding to them loses nothing."""

import dataclasses
import json

import numpy as np
import pytest

from jaxreid import config
from jaxreid.evaluation import evaluate, feature_file, features, protocols, results
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
        'flow off; float32',
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
        assert row['mAP'] == pytest.approx(protocols.score_distances(expected, *roles, distance='')['mAP'])


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


def test_used_items_are_two_to_the_entropy_of_the_counts():
    assert features.used_items(np.array([5.0, 5, 5, 5]))['used'] == pytest.approx(4)
    assert features.used_items(np.array([0.0, 9, 0]))['used'] == pytest.approx(1)
    assert features.used_items(np.array([1.0, 1, 2]))['used'] == pytest.approx(2**1.5)


def test_used_items_stand_beside_the_score(tmp_path):
    ours = found()
    ours.meta['used_items'] = {'spatial_items': features.used_items(np.array([1.0, 3]))}
    row = evaluate.score(ours, config.Experiment(), selected='last step')[0]
    assert row['used_items']['spatial_items']['counts'] == [1.0, 3.0]
    assert 'spatial items: 1.75 of 2 used' in results.table([row])
