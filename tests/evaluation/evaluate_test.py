"""Results carry their protocol, and adding to them loses nothing."""

import json

import numpy as np
import pytest

from jaxreid import config
from jaxreid.evaluation import evaluate, features


def found(step=5):
    """Features of six tracklets: two people seen by two cameras, a distractor, junk."""
    rng = np.random.default_rng(0)
    pid = np.array([1, 1, 2, 2, 0, -1])
    embedding = np.eye(4, dtype=np.float32)[[0, 0, 1, 1, 2, 3]] + 0.01 * rng.standard_normal((6, 4)).astype(np.float32)
    return features.Features(
        embedding=embedding,
        embedding_before_neck=embedding * 2,
        pid=pid,
        camera=np.array([1, 2, 1, 2, 1, 1]),
        query=np.array([1, 0, 1, 0, 0, 0], bool),
        gallery=np.ones(6, bool),
        name=np.array([f't{i}' for i in range(6)]),
        frames=np.arange(6),
        meta={
            'dataset': 'mars', 'split': 'test', 'clips': 'rrs', 'frames_per_clip': 4, 'one_frame': False, 'flip': False,
            'frames_seen': 24, 'corrupt_frames_replaced': 0, 'step': step,
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
            'unanswered_queries', 're_ranking', 'dataset',
        }  # fmt: skip
    text = evaluate.table(rows)
    for word in (
        'mars-paper',
        'mars-official',
        'step AP',
        'trapezoid AP',
        'cosine',
        'rrs x 4 frames',
        '2 queries answered',
    ):
        assert word in text


def test_results_grow_and_the_same_row_is_replaced(tmp_path):
    path = tmp_path / 'results.json'
    experiment = config.Experiment()
    first = evaluate.score(found(step=5), experiment, selected='monitoring')
    second = evaluate.score(found(step=9), experiment, selected='last step')
    evaluate.append_results(path, first)
    evaluate.append_results(path, second)
    evaluate.append_results(path, second)
    rows = json.loads(path.read_text())
    assert [(row['step'], row['selected']) for row in rows] == [(5, 'monitoring'), (9, 'last step')]


@pytest.mark.parametrize('text', ['{"mAP": ', '{}', '[1]', '[{"mAP": 3}]'])
def test_a_results_file_of_something_else_is_not_overwritten(tmp_path, text):
    path = tmp_path / 'results.json'
    path.write_text(text)
    with pytest.raises(ValueError, match=r'results.json does not hold results of jaxreid'):
        evaluate.append_results(path, evaluate.score(found(), config.Experiment(), selected='last step'))
    assert path.read_text() == text
