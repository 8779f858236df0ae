import numpy as np
import pytest

from jaxreid import config
from jaxreid.data import source
from jaxreid.data.datasets import dukev
from tests.fixtures import dukev_folder, public_tables
from tests.fixtures import listed_folder as listing_fixture


def assert_is_the_fixture(dataset, *, prefix='', old=False):
    expected = dukev_folder.paths(prefix=prefix, old=old)
    assert [frame for t in (*dataset.train, *dataset.test) for frame in t.frames] == expected
    rows = [(t.pid, t.camera, len(t.frames)) for t in (*dataset.train, *dataset.test)]
    assert rows == [(pid, camera, len(frames)) for _, pid, _, camera, frames in dukev_folder.TRACKLETS]
    assert dataset.query.tolist() == [True] * 2 + [False] * 5
    assert dataset.gallery.tolist() == [False] * 2 + [True] * 5
    assert dataset.query.dtype == dataset.gallery.dtype == bool
    assert [t.name for t in dataset.test[1:3]] == ['query/7139/4832', 'gallery/0002/2200']
    assert len({t.name for t in dataset.test}) == len(dataset.test)


@pytest.mark.parametrize('old', [False, True])
@pytest.mark.parametrize('prefix', ['', 'DukeMTMC-VideoReID/'])
def test_reads_new_and_old_names_and_the_folder_of_the_archive(tmp_path, old, prefix):
    assert_is_the_fixture(dukev.read(dukev_folder.write(tmp_path, old=old, prefix=prefix)), prefix=prefix, old=old)


def test_frames_stand_in_order_of_their_number_even_where_both_formats_are_mixed(tmp_path):
    folder = 'train/0001/0001/'
    mixed = [
        dukev_folder.name(1, 2, 1, 999),
        dukev_folder.name(1, 2, 2, 40, old=True),
        dukev_folder.name(1, 2, 3, 5, kind='D'),
        dukev_folder.name(1, 2, 9999, 1, old=True),
    ]
    listing_fixture.touch(
        tmp_path, [folder + frame for frame in mixed] + [p for p in dukev_folder.paths() if p[:15] != folder[:-1]]
    )
    assert dukev.read(tmp_path).train[0].frames == tuple(folder + frame for frame in mixed)


def test_the_order_in_which_folders_are_listed_does_not_matter(tmp_path, monkeypatch):
    dukev_folder.write(tmp_path)
    expected = dukev.read(tmp_path)
    for seed in range(5):
        with monkeypatch.context() as patch:
            listing_fixture.shuffle(patch, seed)
            assert listing_fixture.same(dukev.read(tmp_path), expected)


def test_files_and_folders_of_other_programs_are_ignored(tmp_path):
    dukev_folder.write(tmp_path)
    folder = tmp_path / 'train' / '0001' / '0001'
    for stray in ('Thumbs.db', '.DS_Store', '._0001_C2_F0001_X29993.jpg', 'notes.txt'):
        (folder / stray).write_bytes(b'')
    for stray in ('__MACOSX', '@eaDir', '.cache'):
        (tmp_path / 'train' / stray).mkdir()
    assert_is_the_fixture(dukev.read(tmp_path))


@pytest.fixture(scope='module')
def official(tmp_path_factory):
    """A folder with the tables' frames in its listings: new format in the gallery, old elsewhere; every seventh
    tracklet starts at F0002."""
    names = {}
    rows = [(split, *row) for split in ('query', 'gallery') for row in public_tables.dukev(split).tolist()]
    for row, (split, pid, camera, number, frames) in enumerate(rows):
        start = 2 if row % 7 == 0 else 1
        names[f'{split}/{pid:04d}/{number:04d}'] = [
            dukev_folder.name(pid, camera, frame, 3 * frame, old=row < 702) for frame in range(start, start + frames)
        ][::-1]
    for pid, camera, number in public_tables.dukev('train').tolist():
        names[f'train/{pid:04d}/{number:04d}'] = [dukev_folder.name(pid, camera, 1, 1, old=True)]
    counts = public_tables.counts('dukev', 'computed')
    root = tmp_path_factory.mktemp('duke')
    for split in ('train', 'query', 'gallery'):
        (root / split).mkdir()
    with pytest.MonkeyPatch.context() as patch:
        listing_fixture.pretend(patch, root, [f'{where}/{one}' for where, some in names.items() for one in some])
        return dukev.read(root), counts


def per_camera(tracklets):
    cameras = [tracklet.camera for tracklet in tracklets]
    return {str(camera): cameras.count(camera) for camera in sorted(set(cameras))}


def test_counts_are_those_of_the_public_tables(official):
    dataset, expected = official
    query = [t for t, marked in zip(dataset.test, dataset.query, strict=True) if marked]
    gallery = [t for t, marked in zip(dataset.test, dataset.gallery, strict=True) if marked]
    cameras = {}
    for tracklet in gallery:
        cameras.setdefault(tracklet.pid, set()).add(tracklet.camera)
    matches = [sum(t.pid == q.pid and t.camera != q.camera for t in gallery) for q in query]
    numbers = [int(t.name[-4:]) for t in dataset.train], [int(t.name[-4:]) for t in gallery]
    assert {
        'train_ids': len({t.pid for t in dataset.train}),
        'train_tracklets': len(dataset.train),
        'train_tracklet_id_range': [min(numbers[0]), max(numbers[0])],
        'train_tracklets_per_camera': per_camera(dataset.train),
        'test_ids': len(cameras),
        'test_ids_with_two_or_more_cameras': sum(len(seen) > 1 for seen in cameras.values()),
        'distractor_ids_one_camera': sum(len(seen) == 1 for seen in cameras.values()),
        'distractor_tracklets': sum(len(cameras[t.pid]) == 1 for t in gallery),
        'gallery_tracklets': len(gallery),
        'gallery_tracklet_id_range': [min(numbers[1]), max(numbers[1])],
        'gallery_frames': sum(len(t.frames) for t in gallery),
        'test_tracklets_per_camera': per_camera(gallery),
        'query': len(query),
        'query_ids': len({t.pid for t in query}),
        'query_frames': sum(len(t.frames) for t in query),
        'query_per_camera': per_camera(query),
        'queries_also_in_gallery': len({t.name[-9:] for t in query} & {t.name[-9:] for t in gallery}),
        'good_matches_total': sum(matches),
        'good_matches_min_max': [min(matches), max(matches)],
        'train_test_shared_ids': len({t.pid for t in dataset.train} & set(cameras)),
        'query_len_min_max': [min(len(t.frames) for t in query), max(len(t.frames) for t in query)],
        'gallery_len_max': max(len(t.frames) for t in gallery),
        'gallery_len_min': min(len(t.frames) for t in gallery),
    }.items() <= expected.items()
    assert [t.name for t in gallery if len(t.frames) == 1] == ['gallery/1785/3769']
    assert sum('F0001' not in t.frames[0] for t in query) == 101
    assert all(list(t.frames) == sorted(t.frames) for t in dataset.test)
    for tracklets in (dataset.train, query, gallery):
        assert [t.name for t in tracklets] == sorted(t.name for t in tracklets)


def test_frames_can_be_read_through_the_config(tmp_path):
    data = config.Data(dataset='dukev', root=str(dukev_folder.write(tmp_path)), height=16, width=8)
    dataset = source.read(data)
    assert_is_the_fixture(dataset)
    for split in ('train', 'test'):
        assert source.store(data, dataset, split=split).read(1, np.array([0, 1])).shape == (2, 16, 8, 3)


def test_missing_folders_are_named_with_what_is_there_instead(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'No DukeMTMC-VideoReID dataset at .*nowhere.*gallery/<id>/<tracklet>'):
        dukev.read(tmp_path / 'nowhere')
    (tmp_path / 'bbox_train').mkdir()
    (tmp_path / 'train').mkdir()
    with pytest.raises(FileNotFoundError, match=r'no folder query, gallery; found bbox_train, train\. A DukeMTMC'):
        dukev.read(tmp_path)


def test_an_empty_tracklet_is_named(tmp_path):
    dukev_folder.write(tmp_path)
    folder = tmp_path / 'gallery' / '1785' / '3769'
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r'gallery/1785/3769 holds no frames: found nothing, expected .*0099_X30823'):
        dukev.read(tmp_path)
    folder.rmdir()
    with pytest.raises(ValueError, match=r'gallery/1785 holds no folders; expected folders such as 0001'):
        dukev.read(tmp_path)


@pytest.mark.parametrize(
    ('extra', 'message'),
    [
        ('train/0001/0001/0001_C9_F0001_X1.jpg', r'1 malformed frame names in .*train/0001/0001, .*C9_F0001_X1.jpg'),
        ('train/0001/0001/0001_C2_F0009_X1 (copy).jpg', r'malformed frame names .*\(copy\)'),
        ('train/0001/0001/0001_C3_F0009_X1.jpg', r"train/0001/0001 holds frames .*'0001', '2'.*'0001', '3'.* id 0001"),
        ('train/0001/0001/0003_C2_F0009_X1.jpg', r"frames of id and camera .*'0003', '2'.* expected id 0001"),
        (
            'gallery/0002/2209/0003_C2_F0009_X1.jpg',
            r"holds frames of id .*'0003', '2'.* expected id 0002 in one camera",
        ),
        ('train/0001/0001/0001C2F0001X7.jpg', r'train/0001/0001 holds frame 1 twice: 0001C2F0001X7.jpg and 0001_C2'),
        ('train/1/0001/0001_C2_F0001_X1.jpg', r"train holds folders \['1'\]; expected folders such as 0001"),
        ('train/0002/0009/0002_C2_F0001_X1.jpg', r'1 ids .* are in train and in query or gallery, such as 0002'),
        ('train/1785/0009/1785_C2_F0001_X1.jpg', r'1 ids .* are in train and in query or gallery, such as 1785'),
    ],
)
def test_what_does_not_belong_there_is_named(tmp_path, extra, message):
    dukev_folder.write(tmp_path)
    listing_fixture.touch(tmp_path, [extra])
    with pytest.raises(ValueError, match=message):
        dukev.read(tmp_path)
