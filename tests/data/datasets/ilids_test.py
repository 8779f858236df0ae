import numpy as np
import pytest

from jaxreid import config
from jaxreid.data import source
from jaxreid.data.datasets import ilids
from tests.fixtures import ilids_folder, public_tables
from tests.fixtures import listed_folder as listing_fixture


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """300 persons with numbers up to 319, in ten random splits."""
    root = tmp_path_factory.mktemp('ilids')
    rng = np.random.default_rng(0)
    people = sorted({*rng.permutation(np.arange(1, 319))[:299].tolist(), 319})
    listing_fixture.touch(root, ilids_folder.paths(people, frames=(1, 2)))
    listing_fixture.touch(root, [f'i-LIDS-VID/images/cam1/person{p:03d}/cam1_person{p:03d}.png' for p in people])
    ls_set = np.stack([rng.permutation(300) + 1 for _ in range(10)])
    ilids_folder.write_splits(root, ls_set.astype(np.float64))
    return root, people, ls_set


@pytest.mark.parametrize(('half', 'test_columns'), [('first', slice(0, 150)), ('second', slice(150, 300))])
def test_splits_count_the_sorted_persons_from_one_and_have_the_published_sizes(whole, half, test_columns):
    root, people, ls_set = whole
    expected = public_tables.counts('ilids', 'published')
    for split in (0, 9):
        dataset = ilids.read(root, split=split, test_half=half)
        tested = sorted(people[number - 1] for number in ls_set[split, test_columns])
        trained = sorted(set(people) - set(tested))
        query = [t for t, marked in zip(dataset.test, dataset.query, strict=True) if marked]
        gallery = [t for t, marked in zip(dataset.test, dataset.gallery, strict=True) if marked]
        assert [t.pid for t in query] == [t.pid for t in gallery] == tested
        assert {t.camera for t in query} == {1}
        assert {t.camera for t in gallery} == {2}
        assert [(t.pid, t.camera) for t in dataset.train] == [(p, camera) for p in trained for camera in (1, 2)]
        assert not (dataset.query & dataset.gallery).any()
        assert {
            'persons': len(tested) + len(trained),
            'cameras': len({t.camera for t in dataset.train}),
            'splits': len(ls_set),
            'ls_set_shape': list(ls_set.shape),
            'person_number_max': max(*tested, *trained),
            'tracklets': len(dataset.train) + len(dataset.test),
            'train_ids_per_split': len(trained),
            'test_ids_per_split': len(set(tested)),
            'train_tracklets_per_split': len(dataset.train),
            'query_per_split': len(query),
            'gallery_per_split': len(gallery),
        }.items() <= expected.items()


def test_halves_and_splits_differ(whole):
    root, _, _ = whole
    trained = [
        tuple(t.name for t in ilids.read(root, split=split, test_half=half).train)
        for split in range(2)
        for half in ('first', 'second')
    ]
    assert len(set(trained)) == 4
    assert not set(trained[0]) & set(trained[1])


def test_frames_stand_in_order_and_the_stills_are_not_read(tmp_path):
    root = ilids_folder.write(tmp_path)
    listing_fixture.touch(root, ['i-LIDS-VID/images/cam1/person003/cam1_person003.png', 'i-LIDS-VID/Readme.txt'])
    dataset = ilids.read(root)
    assert [(t.pid, t.camera) for t in dataset.test] == [(1, 1), (3, 1), (319, 1), (1, 2), (3, 2), (319, 2)]
    assert [t.pid for t in dataset.train] == [9, 9, 10, 10, 57, 57]
    assert [frame for t in (*dataset.train, *dataset.test) for frame in t.frames] == [
        f'{ilids_folder.FOLDER}/cam{t.camera}/person{t.pid:03d}/cam{t.camera}_person{t.pid:03d}_{frame:05d}.png'
        for t in (*dataset.train, *dataset.test)
        for frame in (98, 99, 100)
    ]


def test_the_order_in_which_folders_are_listed_does_not_matter(tmp_path, monkeypatch):
    ilids_folder.write(tmp_path)
    expected = ilids.read(tmp_path, split=1)
    for seed in range(5):
        with monkeypatch.context() as patch:
            listing_fixture.shuffle(patch, seed)
            assert listing_fixture.same(ilids.read(tmp_path, split=1), expected)


def test_the_sequences_may_lie_in_the_root_itself(tmp_path):
    ilids_folder.write(tmp_path, folder='sequences')
    assert ilids.read(tmp_path).train[0].frames[0] == 'sequences/cam1/person009/cam1_person009_00098.png'


def test_the_config_chooses_split_and_half_and_frames_can_be_read(tmp_path):
    ilids_folder.write(tmp_path)
    listing_fixture.draw(tmp_path, ilids_folder.paths(ilids_folder.FEW))
    data = config.Data(dataset='ilids', root=str(tmp_path), split=1, split_rule='second', height=16, width=8)
    dataset = source.read(data)
    assert [t.pid for t in dataset.test] == [1, 3, 9] * 2
    frames = source.store(data, dataset, split='test').read(2, np.array([2, 0]))
    assert frames.shape == (2, 16, 8, 3)
    assert (frames[0] != frames[1]).any()


def test_missing_folders_and_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'No iLIDS-VID dataset at .*nowhere: .*"train-test people splits/'):
        ilids.read(tmp_path / 'nowhere')
    with pytest.raises(FileNotFoundError, match=r'no folder sequences/cam1, sequences/cam2; found nothing\. An iLIDS'):
        ilids.read(tmp_path)
    root = ilids_folder.write(tmp_path)
    (root / ilids_folder.SPLITS).unlink()
    with pytest.raises(
        FileNotFoundError, match=r'people splits/train_test_splits_ilidsvid.mat or .* missing in .*spaces'
    ):
        ilids.read(root)


def test_persons_of_one_camera_are_named(tmp_path):
    root = ilids_folder.write(tmp_path)
    folder = root / ilids_folder.FOLDER / 'cam2' / 'person057'
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r'cam2/person057 holds no frames: found nothing, .*cam2_person057_00001.png'):
        ilids.read(root)
    folder.rmdir()
    with pytest.raises(ValueError, match=r'1 persons .* in one of cam1 and cam2 only, such as person057'):
        ilids.read(root)


@pytest.mark.parametrize(
    ('stray', 'message'),
    [
        (
            'cam1/person003/cam2_person003_00001.png',
            r'cam1/person003 holds cam2_person003_00001.png; expected .*cam1_pe',
        ),
        ('cam1/person003/cam1_person004_00001.png', r'cam1/person003 holds cam1_person004_00001.png'),
        ('cam1/person003/00001.png', r"malformed frame names in .*person003, such as \['00001.png'\]"),
        ('cam1/persons/a.png', r"cam1 holds folders \['persons'\]; expected folders such as person001"),
    ],
)
def test_what_does_not_belong_there_is_named(tmp_path, stray, message):
    root = ilids_folder.write(tmp_path)
    listing_fixture.touch(root, [f'{ilids_folder.FOLDER}/{stray}'])
    with pytest.raises(ValueError, match=message):
        ilids.read(root)


@pytest.mark.parametrize(
    ('ls_set', 'message'),
    [
        ([[1, 2, 3, 4]], r'ls_set of .*ilidsvid.mat has shape \(1, 4\) and 6 persons .*published file is \[10, 300\]'),
        ([[0, 1, 2, 3, 4, 5]], r'Row 0 of ls_set .* each of the persons 1 to 6 once'),
        ([[1, 1, 2, 3, 4, 5]], r'Row 0 of ls_set .* each of the persons 1 to 6 once'),
        ([[1, 2.5, 3, 4, 5, 6]], r'ls_set of .*ilidsvid.mat holds float64 values that are not whole'),
    ],
)
def test_a_split_file_of_something_else_is_refused(tmp_path, ls_set, message):
    root = ilids_folder.write(tmp_path)
    ilids_folder.write_splits(root, ls_set)
    with pytest.raises(ValueError, match=message):
        ilids.read(root)


def test_a_damaged_split_file_is_named(tmp_path):
    root = ilids_folder.write(tmp_path)
    ilids_folder.write_splits(root, [[1]], key='other')
    with pytest.raises(ValueError, match=r'train_test_splits_ilidsvid.mat has no variable ls_set'):
        ilids.read(root)
    for content in (b'', b'no matlab file', (root / ilids_folder.SPLITS).read_bytes()[:150]):
        (root / ilids_folder.SPLITS).write_bytes(content)
        with pytest.raises(
            ValueError, match=r'train_test_splits_ilidsvid.mat (cannot be read as a MATLAB file|has no)'
        ):
            ilids.read(root)


def test_unknown_splits_and_halves_are_refused(tmp_path):
    root = ilids_folder.write(tmp_path)
    with pytest.raises(ValueError, match=r'has splits 0 to 1; split 2 was asked for'):
        ilids.read(root, split=2)
    with pytest.raises(ValueError, match="test_half is 'third'"):
        ilids.read(root, test_half='third')
