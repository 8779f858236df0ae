"""A whole copy passes; whatever is lost, damaged, doubled or moved is counted and named."""

import _thread
import dataclasses
import json
import os
import shutil
import signal
import time

import cv2
import numpy as np
import pytest

from data_pipelines import verify
from jaxreid import config
from jaxreid.data.datasets import catalogue, prid
from jaxreid.data.datasets import contents as contents_lib
from jaxreid.data.synthetic import plan as synthetic_plan
from jaxreid.data.synthetic import render
from jaxreid.data.tracklets import frame_decode
from jaxreid.process import exit_status
from tests.fixtures import dukev_folder, field_folders, ilids_folder, lsvid_folder, public_tables
from tests.fixtures import listed_folder as listing_fixture
from tests.fixtures import mars_folder as mars_fixture

PRESET = dataclasses.replace(
    render.PRESETS['tiny'],
    name='few',
    train_ids=3,
    test_ids=2,
    group_share=0.0,
    cameras_per_id=(2, 2),
    tracklets_per_camera=(1, 1),
    distractors=2,
    junk=1,
    median_frames=4.0,
    max_frames=6,
)
MARS = {  # of the fixture, by hand
    'train ids': 4,
    'train tracklets': 8,
    'train tracklets per camera': (2, 3, 1, 0, 1, 1),
    'train frames': 73,
    'test ids': 2,
    'test tracklets': 7,
    'test tracklets per camera': (3, 1, 1, 1, 0, 1),
    'test frames': 33,
    'junk tracklets': 1,
    'junk frames': 2,
    'distractor tracklets': 2,
    'distractor frames': 5,
    'query ids': 2,
    'queries': 2,
    'queries per camera': (1, 1, 0, 0, 0, 0),
    'query frames': 9,
    'ids in train and test': 0,
}


@pytest.fixture(scope='module')
def rendered(tmp_path_factory):
    return render.ensure_preset(tmp_path_factory.mktemp('rendered') / 'few', PRESET, seed=3, progress=False)


@pytest.fixture
def few(rendered, tmp_path):
    return shutil.copytree(rendered, tmp_path / 'few')


@pytest.fixture
def mars(tmp_path, monkeypatch):
    publish(monkeypatch, 'mars', dict(MARS))
    root = mars_fixture.write(tmp_path / 'mars')
    for number, path in enumerate(sorted((root / 'bbox_test').rglob('*.jpg'))):
        path.write_bytes(mars_fixture.jpeg(1000 + number))  # the fixture draws the same pictures in train and test
    return root


def publish(monkeypatch, dataset, counts):
    facts = dataclasses.replace(catalogue.find(dataset), published=counts)
    monkeypatch.setitem(catalogue.by_name(), dataset, facts)


def contents(dataset, root):
    return catalogue.find(dataset).count(config.Data(dataset=dataset, root=str(root)))


def run(dataset, root):
    return verify.verify(dataset, root, workers=2, progress=False)


def counted(report):
    """Numbers of the findings that are not 0."""
    kinds = {key: value for key, value in report.items() if isinstance(value, dict) and 'count' in value}
    kinds |= report['duplicates']
    return {key: value['count'] for key, value in kinds.items() if value['count']}


@pytest.mark.parametrize('dataset', list(field_folders.WRITERS))
def test_a_whole_copy_of_a_newer_data_set_is_as_published(dataset, tmp_path, monkeypatch):
    root = field_folders.WRITERS[dataset](tmp_path / 'data')
    if dataset == 'g2a':  # the fixture draws the same pictures in train and test
        for number, path in enumerate(sorted((root / 'bbox_test').rglob('*.jpg'))):
            path.write_bytes(mars_fixture.jpeg(1000 + number))
    found = contents(dataset, root)
    assert run(dataset, root)['problems'] != []  # tiny
    publish(monkeypatch, dataset, {name: found.counts[name] for name in catalogue.find(dataset).published})
    report = run(dataset, root)
    assert report['problems'] == []
    assert report['unused_images']['count'] == 0
    next(root.rglob('*.jpg')).write_bytes(b'cut')
    assert run(dataset, root)['problems'][0].startswith('missing or damaged images: 1')


def test_a_whole_rendered_benchmark_is_as_published(few, tmp_path, capsys):
    assert verify.main(['synthetic', str(few), '--json', str(tmp_path / 'out' / 'report.json')]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[0] == f'synthetic in {few}: as published'
    plan = synthetic_plan.make_plan(PRESET, seed=3)
    frames = sum(t.frames for rows in plan.tracklets.values() for t in rows)
    assert f'images {frames}; height x width 64x32: {frames}\n' in text
    report = json.loads((tmp_path / 'out' / 'report.json').read_text())
    assert report['problems'] == []
    assert (report['images'], report['sizes']) == (frames, {'64x32': frames})
    assert set(counted(report)) <= {'short_tracklets'}
    assert [p.name for p in (tmp_path / 'out').iterdir()] == ['report.json']


def spoil(path, how):
    match how:
        case 'lost':
            path.unlink()
        case 'empty':
            path.write_bytes(b'')
        case 'cut off':
            path.write_bytes(path.read_bytes()[:-20])
        case 'no image':
            path.write_bytes(b'<html>not found</html>')
        case 'hole':
            data = path.read_bytes()
            path.write_bytes(data[: len(data) // 2] + bytes(100) + data[len(data) // 2 + 100 :])
        case 'pipe':
            path.unlink()
            os.mkfifo(path)


@pytest.mark.parametrize(
    ('how', 'message'),
    [
        ('lost', 'No such file'),
        ('empty', 'the file is empty'),
        ('cut off', 'truncated JPEG'),
        ('no image', 'no image, or a damaged one'),
        ('hole', 'a hole in its data'),
        ('pipe', 'is a device, a pipe or a socket'),
    ],
)
def test_a_lost_or_damaged_file_is_a_problem_and_is_named(few, how, message, capsys):
    path = sorted((few / 'bbox_test').rglob('*.jpg'))[4]
    spoil(path, how)
    assert verify.main(['synthetic', str(few), '--workers', '1']) == 1
    text = capsys.readouterr().out
    assert '  - missing or damaged images: 1 of ' in text
    (line,) = [line for line in text.splitlines() if path.name in line]
    assert line.startswith(f'  {path.relative_to(few)}: ')
    assert message in line


def test_images_of_another_size_or_in_train_and_test_are_problems(few):
    train = sorted((few / 'bbox_train').rglob('*.jpg'))
    test = sorted((few / 'bbox_test').rglob('*.jpg'))
    cv2.imwrite(str(train[0]), np.random.default_rng(0).integers(0, 256, (50, 30, 3), np.uint8))
    test[0].write_bytes(train[-1].read_bytes())
    report = run('synthetic', few)
    assert report['problems'] == [
        'identical images in train and test: 1',
        'images of another size than 64x32 pixels: 1',
    ]
    assert report['unexpected_size']['first'] == [f'{train[0].relative_to(few)}: 50x30']
    assert report['sizes'] == {'64x32': report['images'] - 1, '50x30': 1}
    assert report['duplicates']['between train and test'] == {
        'count': 1,
        'first': [f'{test[0].relative_to(few)} = {train[-1].relative_to(few)}'],
    }


def test_counts_that_differ_stand_beside_the_published_ones(mars, capsys):
    assert run('mars', mars)['problems'] == []
    catalogue.find('mars').published['queries'] = 3
    catalogue.find('mars').published['queries per camera'] = (1, 2, 0, 0, 0, 0)
    assert verify.main(['mars', str(mars)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f'mars in {mars}: NOT as published', '  - counts that are not the published ones: 2 of 17']
    assert [line.split() for line in lines if line.endswith('<-')] == [
        ['queries', '2', '3', '<-'],
        ['published', '1', '2', '0', '0', '0', '0', '<-'],
    ]


def test_duplicates_jumps_late_starts_short_tracklets_and_unused_files_are_told_without_being_problems(
    mars, capsys, monkeypatch
):
    folder = mars / 'bbox_train' / '0001'

    folder.joinpath('0001C1T0001F003.jpg').write_bytes(folder.joinpath('0001C1T0001F001.jpg').read_bytes())
    folder.joinpath('0001C2T0002F001.jpg').write_bytes(folder.joinpath('0001C1T0001F002.jpg').read_bytes())
    third = mars / 'bbox_train' / '0003'
    third.joinpath('0003C1T0001F001.jpg').write_bytes(folder.joinpath('0001C1T0001F005.jpg').read_bytes())
    third.joinpath('0003C1T0001F002.jpg').write_bytes(folder.joinpath('0001C1T0001F005.jpg').read_bytes())
    # The last frame of one tracklet becomes frame 99, the first of another frame 800, in name list and folder.
    names = mars / 'info' / 'train_name.txt'
    text = names.read_text()
    for old, new in (('0001C1T0001F009', '0001C1T0001F099'), ('0007C6T0001F001', '0007C6T0001F800')):
        text = text.replace(old, new)
        (mars / 'bbox_train' / old[:4] / f'{old}.jpg').rename(mars / 'bbox_train' / new[:4] / f'{new}.jpg')
    names.write_text(text)
    listing_fixture.touch(mars, ['bbox_test/0002/0002C1T0001F900.jpg', 'bbox_test/Thumbs.db', 'notes.txt'])
    report = run('mars', mars)
    assert report['problems'] == []
    assert counted(report) == {
        'within a tracklet': 1,
        'between tracklets of a person': 1,
        'between persons': 2,
        'jumps_in_frame_numbers': 2,
        'late_starts': 1,
        'short_tracklets': 6,
        'unused_images': 1,
        'other_files': 1,
    }
    assert report['duplicates']['within a tracklet']['first'] == [
        'bbox_train/0001/0001C1T0001F003.jpg = bbox_train/0001/0001C1T0001F001.jpg'
    ]
    assert report['jumps_in_frame_numbers']['first'] == [
        '0007C6T0001: 1, the widest 6 to 800',
        '0001C1T0001: 1, the widest 8 to 99',
    ]
    assert report['late_starts']['first'] == ['0007C6T0001: at 2']
    assert report['unused_images']['first'] == ['bbox_test/0002/0002C1T0001F900.jpg']
    assert report['other_files']['first'] == ['bbox_test/Thumbs.db']
    monkeypatch.setattr(verify, '_SHOWN', 2)
    assert verify.main(['mars', str(mars)]) == 0
    assert 'tracklets of fewer than 4 frames: 6\n  0001C2T0003: 1\n  0003C3T0002: 3\n  and 4 more' in (
        capsys.readouterr().out
    )


def test_long_lists_are_cut_in_the_json_file_and_counted_whole(mars, monkeypatch):
    monkeypatch.setattr(verify, '_LISTED', 3)
    for path in (mars / 'bbox_train').rglob('*.jpg'):
        path.write_bytes(b'')
    report = run('mars', mars)
    assert report['unreadable']['count'] == 73
    assert len(report['unreadable']['first']) == 3
    assert report['sizes'] == {'16x8': 33}


def duke_counts():
    return {
        'train ids': 2,
        'train tracklets': 4,
        'train tracklets per camera': (1, 1, 0, 0, 1, 0, 0, 1),
        'train frames': 8,
        'query ids': 2,
        'queries': 2,
        'queries per camera': (0, 0, 0, 1, 0, 0, 0, 1),
        'query frames': 5,
        'gallery ids': 3,
        'gallery ids of one camera': 1,
        'gallery tracklets': 5,
        'gallery tracklets per camera': (0, 0, 1, 1, 0, 1, 1, 1),
        'gallery frames': 9,
        'queries in the gallery as well': 2,
    }


@pytest.fixture
def dukev(tmp_path, monkeypatch):
    publish(monkeypatch, 'dukev', duke_counts())
    root = dukev_folder.write(tmp_path)
    for number in ('0002/2200', '7139/4832'):
        shutil.copytree(root / 'query' / number, root / 'gallery' / number, dirs_exist_ok=True)
    return root


def test_duke_s_gallery_holds_the_same_files_as_its_queries_and_that_is_no_duplicate(dukev):
    report = run('dukev', dukev)
    assert report['problems'] == []
    assert counted(report) == {'short_tracklets': 11}
    next((dukev / 'gallery' / '7139' / '4832').iterdir()).write_bytes(mars_fixture.jpeg(99))
    assert run('dukev', dukev)['query_copies_that_differ'] == {'count': 1, 'first': ['query/7139/4832']}


@pytest.mark.parametrize('lost', ['train/0001/0002', 'gallery/0002/2201', 'gallery/7139/4832', 'query/7139'])
def test_a_lost_tracklet_of_duke_shows_in_the_counts(dukev, lost):
    shutil.rmtree(dukev / lost)
    (problem,) = run('dukev', dukev)['problems']
    assert problem.startswith('counts that are not the published ones: ')


def test_frames_of_duke_are_numbered_by_f_and_crops_of_all_sizes_are_usual(dukev):
    assert contents('dukev', dukev).frame_numbers(['a/0001C6F0099X30823.jpg', 'a/0001_C6_F0101_D7.jpg']) == [99, 101]
    otherwise = contents_lib.Contents('', {}, {}, ())
    assert otherwise.frame_numbers(['cam1/cam1_person003_00317.png']) == [317]
    assert otherwise.frame_numbers(['a/0001_01_15_000123.jpg']) == [123]
    assert otherwise.frame_numbers(['a/0007.png', 'a/none.png']) == []
    for number, path in enumerate(sorted((dukev / 'train').rglob('*.jpg'))):
        path.write_bytes(mars_fixture.jpeg(number, height=20 + number))
    report = run('dukev', dukev)
    assert report['unexpected_size']['count'] == 0
    assert len(report['sizes']) == 9


def test_ilids_is_counted_in_all_ten_splits(tmp_path, monkeypatch):
    rows = [np.roll(np.arange(1, 7), shift) for shift in range(5)]
    ilids_folder.write(tmp_path, ls_set=rows + [row[::-1] for row in rows])
    listing_fixture.draw(tmp_path, ilids_folder.paths(ilids_folder.FEW))
    found = contents('ilids', tmp_path)
    assert found.counts.keys() == catalogue.find('ilids').published.keys()
    assert list(found.counts.values()) == [6, 319, 12, 6, 3, 3, (3, 3), (3, 3), 3.0, 3.0]
    report = run('ilids', tmp_path)
    assert (report['images'], report['sizes']) == (36, {'16x8': 36})
    publish(monkeypatch, 'ilids', found.counts)
    assert run('ilids', tmp_path)['problems'] == []
    ilids_folder.write_splits(tmp_path, np.stack(rows * 2)[:9])
    with pytest.raises(ValueError, match='splits 0 to 8; split 9 was asked for'):
        run('ilids', tmp_path)


def test_prid_is_counted_with_the_persons_that_no_split_names(tmp_path):
    def person(camera, number, frames):
        return [f'prid_2011/multi_shot/cam_{camera}/person_{number:04d}/{n:04d}.png' for n in range(1, frames + 1)]

    several = (('a', 1, 27), ('b', 1, 40), ('a', 2, 21), ('b', 2, 27), ('a', 6, 27), ('b', 6, 27), ('a', 3, 5))
    for camera, number, frames in (*several, ('b', 3, 99), ('a', 201, 30), ('b', 201, 30), ('b', 700, 1)):
        listing_fixture.touch(tmp_path, person(camera, number, frames))
    found = contents('prid', tmp_path)
    assert found.counts.keys() == catalogue.find('prid').published.keys()
    assert list(found.counts.values()) == [5, 6, 4, 3, 2, 1]
    assert (found.root, found.folders) == (str(tmp_path), ('prid_2011/multi_shot',))


def test_a_folder_with_the_persons_of_prid_has_the_published_counts(tmp_path):
    fewer = sorted(set(range(1, 201)) - set().union(*prid.people(split=0, persons=178)))
    for camera, persons in (('a', 385), ('b', 749)):
        for number in range(1, persons + 1):
            frames = 27 if number <= 200 and number not in fewer else 21 if number in fewer[:5] else 5
            folder = f'multi_shot/cam_{camera}/person_{number:04d}'
            listing_fixture.touch(tmp_path, [f'{folder}/{frame:04d}.png' for frame in range(1, frames + 1)])
    assert contents('prid', tmp_path).counts == catalogue.find('prid').published


def test_ls_vid_is_counted_with_its_validation_part_where_there_is_one(tmp_path, monkeypatch):
    root = lsvid_folder.write(tmp_path, draw=True)
    found = contents('lsvid', root)
    assert found.counts.keys() == catalogue.find('lsvid').published.keys()
    assert list(found.counts.values()) == [8, 5, 9, 17, 2, 6, 1, 3, 2, 8]
    publish(monkeypatch, 'lsvid', found.counts)
    listing_fixture.touch(root, ['tracklet_test/0003/0003_09_02_000001.jpg'])
    report = run('lsvid', root)
    assert report['problems'] == []
    assert report['unused_images']['first'] == ['tracklet_test/0003/0003_09_02_000001.jpg']
    (root / 'list_sequence' / 'list_seq_val.txt').unlink()
    report = run('lsvid', root)
    assert report['counts']['val ids'] == {'found': 0, 'published': 1}
    assert report['problems'] == ['counts that are not the published ones: 6 of 10']


def test_a_manifest_is_checked_without_published_counts(tmp_path, capsys):
    listing_fixture.draw(tmp_path, [f'shop/{name}.jpg' for name in ('a1', 'a2', 'b1', 'b2', 'c1', 'd1')])
    (tmp_path / 'shop' / 'b2.jpg').write_bytes((tmp_path / 'shop' / 'a1.jpg').read_bytes())
    listing_fixture.touch(tmp_path, ['shop/deeper/e1.jpg'])
    path = tmp_path / 'own' / 'tracklets.csv'
    path.parent.mkdir()
    rows = [
        'tracklet,pid,camera,role,glob',
        'a,1,1,train,a*.jpg',
        'piece,1,1,train,a1.jpg',
        'b,2,1,query+gallery,b*.jpg',
    ]
    path.write_text('\n'.join([*rows, 'c,2,2,query+gallery,c*.jpg', '']))
    arguments = ['manifest', str(path), '--frames_root', str(tmp_path / 'shop')]
    assert verify.main(arguments) == 1
    text = capsys.readouterr().out
    assert f'manifest in {tmp_path / "shop"}: has problems\n  - identical images in train and test: 1\n' in text
    assert 'b2.jpg = a1.jpg\n' in text
    report = verify.verify('manifest', path, frames_root=str(tmp_path / 'shop'), workers=1, progress=False)
    found = {name: count['found'] for name, count in report['counts'].items()}
    assert list(found.values()) == [2, 1, 2, 3, 1, 2, 3, 1, 2, 3]
    assert {count['published'] for count in report['counts'].values()} == {None}
    assert counted(report) == {'between train and test': 1, 'unused_images': 1, 'short_tracklets': 4}
    assert report['unused_images']['first'] == ['d1.jpg']
    (tmp_path / 'shop' / 'b2.jpg').unlink()
    assert verify.main(arguments) == 0
    assert ': in order\n' in capsys.readouterr().out


def test_the_published_counts_are_those_of_the_public_tables():
    mars = public_tables.counts('mars', 'computed')
    duke = public_tables.counts('dukev', 'computed') | public_tables.counts('dukev', 'published')
    ilids, prid, lsvid = (public_tables.counts(name, 'published') for name in ('ilids', 'prid', 'lsvid'))

    def cameras(counts):
        return tuple(counts[str(camera)] for camera in range(1, len(counts) + 1))

    names = {  # ours -> theirs, where words differ by more than a space
        'train tracklets per camera': 'train_tracklets_per_camera',
        'test ids': 'test_ids_positive',
        'junk tracklets': 'junk_tracklets_id_minus1',
        'distractor tracklets': 'distractor_tracklets_id_0',
        'queries': 'query',
        'queries per camera': 'query_per_camera',
        'ids in train and test': 'train_test_shared_ids',
        'gallery ids': 'test_ids',
        'gallery ids of one camera': 'distractor_ids_one_camera',
        'gallery tracklets per camera': 'test_tracklets_per_camera',
        'queries in the gallery as well': 'queries_also_in_gallery',
        'highest number of a person': 'person_number_max',
        'train ids of a split': 'train_ids_per_split',
        'queries of a split': 'query_per_split',
        'persons of camera a': 'persons_cam_a',
        'persons of camera b': 'persons_cam_b',
        'persons in both cameras': 'persons_in_both',
    }
    for ours, theirs in (
        (catalogue.find('mars').published, mars),
        (catalogue.find('dukev').published, duke),
        (catalogue.find('ilids').published, ilids),
        (catalogue.find('prid').published, prid),
        (catalogue.find('lsvid').published, lsvid),
    ):
        for name, count in ours.items():
            if 'frames of a tracklet' in name or 'or more' in name or 'of these' in name:
                continue
            found = theirs.get(names.get(name, ''), theirs.get(name.replace(' ', '_')))
            assert count == (cameras(found) if isinstance(found, dict) else found), name
    for camera in (1, 2):
        fewest, mean, most = ilids[f'cam{camera}_len_min_mean_max']
        assert catalogue.find('ilids').published['fewest frames of a tracklet per camera'][camera - 1] == fewest
        assert catalogue.find('ilids').published['most frames of a tracklet per camera'][camera - 1] == most
        assert catalogue.find('ilids').published[f'mean frames of a tracklet, camera {camera}'] == mean
    for frames, persons in prid['persons_with_frames_in_both_at_least'].items():
        assert catalogue.find('prid').published[f'persons with {frames} or more frames in both'] == persons
    assert (
        public_tables.counts('prid', 'computed')['persons']
        == catalogue.find('prid').published['of these, persons of the ten splits']
    )


def test_the_real_tracklets_are_whole_but_not_mars(shared, capsys):
    root = shared / 'real_tracklets' / 'mars'
    if not root.is_dir():
        pytest.skip('the real tracklets are not there')
    assert verify.main(['mars', str(root)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:3] == ['  - counts that are not the published ones: 16 of 17', '']
    assert 'images 680; height x width 256x128: 680' in lines


@pytest.mark.parametrize('dataset', config.DATASETS)
def test_a_folder_that_is_no_such_data_set_gives_status_2_and_says_so(tmp_path, dataset, capsys):
    (tmp_path / 'here').mkdir()
    out = tmp_path / 'report.json'
    assert verify.main([dataset, str(tmp_path / 'here'), '--json', str(out)]) == 2
    message = capsys.readouterr().err
    assert str(tmp_path / 'here') in message
    (problem,) = json.loads(out.read_text())['problems']
    assert problem.startswith('cannot be read: ')
    assert verify.main([dataset, str(tmp_path / 'nowhere')]) == 2
    assert 'there is no such f' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('content', 'message'),
    [(None, 'synthetic.json'), ('{', 'cannot be read'), ('{"preset": {}}', 'cannot be read'), ('old', 'version 0')],
)
def test_a_rendered_folder_needs_its_description(few, content, message):
    description = few / 'info' / 'synthetic.json'
    if content == 'old':
        content = json.dumps(json.loads(description.read_text()) | {'version': 0})
    description.unlink()
    if content:
        description.write_text(content)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        run('synthetic', few)
    assert str(description) in str(error.value)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], 'required: dataset, root'),
        (['market', 'x'], "invalid choice: 'market'"),
        (['mars', 'x', '--workers', '0'], 'at least one thread'),
        (['mars', 'x', '--json', '.'], 'is a folder; name a file'),
    ],
)
def test_wrong_commands_are_refused_with_status_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as error:
        verify.main(arguments)
    assert error.value.code == 2
    assert message in capsys.readouterr().err


def test_a_report_that_cannot_be_written_gives_status_2(few, tmp_path, capsys):
    (tmp_path / 'file').write_bytes(b'')
    assert verify.main(['synthetic', str(few), '--json', str(tmp_path / 'file' / 'report.json')]) == 2
    assert 'cannot write' in capsys.readouterr().err


def test_ctrl_c_stops_at_once_and_writes_nothing(few, tmp_path, capsys, monkeypatch):
    decoded = []

    def decode(data):
        decoded.append(data)
        if len(decoded) == 3:
            _thread.interrupt_main()
        if len(decoded) >= 3:
            time.sleep(0.5)  # there is work left when the main thread hears of it
        return np.zeros((64, 32, 3), np.uint8)

    monkeypatch.setattr(frame_decode, 'decode_as_stored', decode)
    out = tmp_path / 'report.json'
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs deaf to Ctrl-C
    try:
        assert exit_status.run(lambda: verify.main(['synthetic', str(few), '--json', str(out), '--workers=2'])) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert 'stopped; no report was written' in capsys.readouterr().err
    assert not out.exists()


def test_neither_the_order_of_listings_nor_the_number_of_threads_changes_the_report(few, monkeypatch):
    sorted((few / 'bbox_test').rglob('*.jpg'))[2].write_bytes(b'')
    listing_fixture.touch(
        few, ['bbox_train/z.txt', 'bbox_train/0001/b.jpg', 'bbox_train/0001/a.jpg', 'bbox_train/0001/c.jpg']
    )
    expected = verify.verify('synthetic', few, workers=1, progress=False)
    for seed in range(2):
        with monkeypatch.context() as patch:
            listing_fixture.shuffle(patch, seed)
            assert verify.verify('synthetic', few, workers=3, progress=False) == expected
