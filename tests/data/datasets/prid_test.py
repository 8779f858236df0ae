import hashlib
import json

import numpy as np
import pytest

from jaxreid import config
from jaxreid.data import source
from jaxreid.data.datasets import prid
from jaxreid.evaluation import protocols
from tests.fixtures import listed_folder as listing_fixture
from tests.fixtures import prid_folder, public_tables
from tests.fixtures.ranked_rows import Rows


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """The persons and cameras of the real data set, with one frame each but for the first two persons."""
    root = tmp_path_factory.mktemp('prid')
    for camera, people in (('a', 385), ('b', 749)):
        listing_fixture.touch(root, prid_folder.paths(camera, range(1, people + 1)))
        listing_fixture.touch(root, prid_folder.paths(camera, (1, 2), frames=(2, 9, 10, 1000)))
    listing_fixture.touch(root, ['prid_2011/single_shot/cam_a/person_0001.png', 'prid_2011/readme.txt'])
    return root


@pytest.mark.parametrize('split', range(10))
def test_splits_of_178_persons_are_the_public_ones(split):
    train, test = prid.people(split=split, persons=178)
    assert {'train': train, 'test': test} == public_tables.prid_splits()[split]


def test_counts_are_the_published_ones():
    expected = public_tables.counts('prid', 'computed')
    splits = [prid.people(split=split, persons=178) for split in range(prid.FACTS.num_splits)]
    everyone = [sorted(train + test) for train, test in splits]
    assert {
        'splits': len(splits),
        'persons': len(everyone[0]),
        'train_per_split': len(splits[0][0]),
        'test_per_split': len(splits[0][1]),
        'train_test_shared': sum(len(set(train) & set(test)) for train, test in splits),
        'same_178_in_every_split': all(people == everyone[0] for people in everyone),
        'persons_of_first_200_left_out': sorted(set(range(1, 201)) - set(everyone[0])),
    }.items() <= expected.items()
    assert len({tuple(test) for _, test in splits}) == 10


def test_splits_of_200_persons_are_ten_different_halves_that_never_change():
    splits = [prid.people(split=split, persons=200) for split in range(10)]
    for train, test in splits:
        assert sorted(train + test) == list(range(1, 201))
        assert len(test) == 100
        assert test == sorted(test)
    assert len({tuple(test) for _, test in splits}) == 10
    assert splits[0][1][:8] == [1, 4, 7, 9, 14, 15, 27, 30]
    text = json.dumps([test for _, test in splits])
    # Whoever changes this changes what published results were measured on.
    assert hashlib.sha256(text.encode()).hexdigest()[:32] == '010fcc36170e40f6ea81daed0f694042'


@pytest.mark.parametrize(('persons', 'half'), [(178, 89), (200, 100)])
def test_query_is_camera_a_and_gallery_camera_b_of_the_tested_half(root, persons, half):
    dataset = prid.read(root, split=3, persons=persons)
    train, test = prid.people(split=3, persons=persons)
    assert [(t.pid, t.camera) for t in dataset.test] == [(p, 1) for p in test] + [(p, 2) for p in test]
    assert dataset.query.tolist() == [True] * half + [False] * half
    assert dataset.gallery.tolist() == [False] * half + [True] * half
    assert [(t.pid, t.camera) for t in dataset.train] == [(p, camera) for p in train for camera in (1, 2)]
    assert dataset.test[-1].frames == (f'prid_2011/multi_shot/cam_b/person_{test[-1]:04d}/0001.png',)
    assert {t.pid for t in (*dataset.train, *dataset.test)} <= set(range(1, 201))  # 201 are two people with one number


def test_one_gallery_tracklet_per_id_makes_cmc_and_ap_agree(root):
    dataset = prid.read(root)
    pid = np.array([t.pid for t in dataset.test])
    camera = np.array([t.camera for t in dataset.test])
    assert len(set(pid[dataset.gallery])) == dataset.gallery.sum() == 89
    embedding = np.random.default_rng(0).normal(size=(len(pid), 6)) + np.eye(6)[pid % 6]
    rows = Rows(embedding, pid, camera, dataset.query, dataset.gallery)
    ranked = protocols.rank_queries(rows, protocols.named('prid'))
    np.testing.assert_allclose(ranked.ap, 1 / ranked.first_hit)
    found = protocols.score(rows, protocols.named('prid'))
    assert (found['protocol']['answered_queries'], found['protocol']['gallery_size']) == (89, 89)
    np.testing.assert_allclose(found['cmc']['5'], 100 * np.mean(ranked.first_hit <= 5))


def test_the_order_in_which_folders_are_listed_does_not_matter(root, monkeypatch):
    expected = prid.read(root, split=1)
    first = next(t for t in (*expected.train, *expected.test) if t.pid == 1 and t.camera == 1)
    assert [frame[-8:] for frame in first.frames] == [f'{n:04d}.png' for n in (1, 2, 9, 10, 1000)]
    listing_fixture.shuffle(monkeypatch, 0)
    assert listing_fixture.same(prid.read(root, split=1), expected)


def test_the_config_chooses_split_and_persons_and_frames_can_be_read(tmp_path):
    for camera in 'ab':
        listing_fixture.touch(tmp_path, prid_folder.paths(camera, range(1, 201), prefix=''))
    train, _ = prid.people(split=9, persons=200)
    listing_fixture.draw(tmp_path, prid_folder.paths('a', train[:1], frames=(1, 2), prefix=''))
    data = config.Data(dataset='prid', root=str(tmp_path), split=9, split_rule='200', height=16, width=8)
    dataset = source.read(data)
    assert (len(dataset.train), len(dataset.test)) == (200, 200)
    assert source.store(data, dataset, split='train').read(0, np.array([0, 1])).shape == (2, 16, 8, 3)


def test_missing_folders_persons_and_frames_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'No PRID-2011 dataset at .*nowhere'):
        prid.read(tmp_path / 'nowhere')
    listing_fixture.touch(tmp_path, ['prid_2011/single_shot/cam_a/person_0001.png'])
    with pytest.raises(
        FileNotFoundError, match=r'no folder prid_2011/multi_shot/cam_a, .*; found single_shot\. A PRID'
    ):
        prid.read(tmp_path)
    for camera in 'ab':
        listing_fixture.touch(tmp_path, prid_folder.paths(camera, range(1, 178)))
    with pytest.raises(FileNotFoundError, match=r'cam_a lacks 19 of the 178 persons .*such as person_0178'):
        prid.read(tmp_path)
    for camera in 'ab':
        listing_fixture.touch(tmp_path, prid_folder.paths(camera, range(178, 199)))
    assert len(prid.read(tmp_path).train) == 178
    (tmp_path / 'prid_2011/multi_shot/cam_b/person_0020/0001.png').rename(tmp_path / 'lost.png')
    with pytest.raises(ValueError, match=r'cam_b/person_0020 holds no frames: found nothing, expected .* 0001.png'):
        prid.read(tmp_path)
    listing_fixture.touch(tmp_path, prid_folder.paths('b', [20], frames=(1, 2)))
    listing_fixture.touch(tmp_path, ['prid_2011/multi_shot/cam_b/person_0020/copy.png'])
    with pytest.raises(ValueError, match=r"person_0020, such as \['copy.png'\]; expected names such as 0001.png"):
        prid.read(tmp_path)


def test_unknown_splits_are_refused(root):
    with pytest.raises(ValueError, match='splits 0 to 9; split 10 was asked for'):
        prid.read(root, split=10)
    with pytest.raises(ValueError, match='178 or 200 persons; 183 were asked for'):
        prid.read(root, persons=183)
