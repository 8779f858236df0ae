import dataclasses

import numpy as np
import pytest

from jaxreid import config
from jaxreid.data import source
from jaxreid.data.tracklets import hash_order, tracklet, validation_split
from jaxreid.evaluation import protocols
from tests.fixtures import mars_folder as mars_fixture
from tests.fixtures import public_tables
from tests.fixtures.ranked_rows import Rows


def dataset_of(rows):
    """Of (pid, camera) pairs; the name says the row."""
    train = tuple(tracklet.Tracklet(f't{row}', pid, camera, (f'{row}.jpg',)) for row, (pid, camera) in enumerate(rows))
    return tracklet.Dataset(root='here', train=train, test=(), query=np.zeros(0, bool), gallery=np.zeros(0, bool))


@pytest.fixture(scope='module')
def mars():
    """The training table of MARS, one frame a tracklet."""
    table = public_tables.mars('train')
    return dataset_of(table[:, 2:].tolist())


def test_mars_is_split_into_the_paper_s_numbers(mars):
    found = validation_split.split(mars, trial=0)
    assert (len({t.pid for t in found.train}), len({t.pid for t in found.test})) == (500, 125)
    assert (len(found.train), len(found.test)) == (7075, 1223)
    assert max(t.pid for t in found.train) < min(t.pid for t in found.test)
    assert {*found.train, *found.test} == set(mars.train)
    assert found.query.sum() == 200
    assert found.gallery.all()


def test_every_query_can_be_answered_and_trials_are_different_draws(mars):
    draws = [validation_split.split(mars, trial=trial) for trial in range(5)]
    pid = np.array([t.pid for t in draws[0].test])
    camera = np.array([t.camera for t in draws[0].test])
    for found in draws:
        assert [t.name for t in found.test] == [t.name for t in draws[0].test]
        rows = Rows(np.eye(1600)[pid], pid, camera, found.query, found.gallery)
        score = protocols.score(rows, protocols.named('mars-paper'))
        assert score['mAP'] == 100
        assert score['protocol']['answered_queries'] == 200
    assert len({found.query.tobytes() for found in draws}) == 5
    common = (draws[0].query & draws[1].query).sum()
    assert 15 < common < 60  # 200 * 200 / 1223 = 33 by chance
    again = validation_split.split(mars, trial=3)
    assert again.query.tolist() == draws[3].query.tolist()


def test_the_draw_does_not_depend_on_the_order_of_tracklets(mars):
    backwards = dataclasses.replace(mars, train=mars.train[::-1])
    one, two = (validation_split.split(d, trial=2) for d in (mars, backwards))
    assert one.query.tolist() == two.query.tolist()[::-1]
    assert set(one.train) == set(two.train)


def test_small_data_sets_hold_out_every_fifth_id_and_ask_only_what_has_a_match():
    found = validation_split.split(
        dataset_of([(p, c) for p in range(11) for c in (1, 2)] + [(99, 1), (99, 1)]), trial=0
    )
    assert sorted({t.pid for t in found.test}) == [10, 99]
    assert [(t.pid, bool(q)) for t, q in zip(found.test, found.query, strict=True)] == [
        (10, True),
        (10, True),
        (99, False),
        (99, False),
    ]


def test_what_cannot_be_split_is_refused():
    with pytest.raises(ValueError, match='here has 4 training ids'):
        validation_split.split(dataset_of([(p, c) for p in range(4) for c in (1, 2)]), trial=0)
    with pytest.raises(ValueError, match='None of the 1 ids held out of here was seen by two cameras'):
        validation_split.split(dataset_of([(p, 1) for p in range(5)]), trial=0)


def test_the_config_chooses_part_and_trial_before_long_tracklets_are_cut(tmp_path):
    train = tuple((pid, camera, 9) for pid in (1, 3, 5, 7, 9) for camera in (1, 2))
    root = mars_fixture.write(tmp_path / 'mars', train=train)
    data = config.Data(dataset='mars', root=str(root), part='validation', dense_frames=3)
    dataset = source.read(data)
    assert {t.pid for t in dataset.train} == {1, 3, 5, 7}
    assert len(dataset.train) == 24
    assert [(t.pid, len(t.frames)) for t in dataset.test] == [(9, 9), (9, 9)]
    assert dataset.query.all()
    with pytest.raises(config.ConfigError, match=r"part_trial = 1 draws the queries of data.part='validation'"):
        config.validate(config.Experiment(data=config.Data(part_trial=1)))


def test_hash_order_ignores_the_order_of_its_input_and_never_changes():
    assert hash_order.shuffled(range(8), seed='a') == hash_order.shuffled(range(7, -1, -1), seed='a')
    assert hash_order.shuffled(range(8), seed='a') != hash_order.shuffled(range(8), seed='b')
    assert sorted(hash_order.shuffled(range(1000), seed='a')) == list(range(1000))
    assert hash_order.shuffled('abcdefgh', seed='fixed') == list('caedbghf')
