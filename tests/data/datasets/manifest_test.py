import csv
import json
import random
import re
import warnings

import numpy as np
import pytest

from jaxreid import config
from jaxreid.data import source
from jaxreid.data.datasets import manifest
from jaxreid.data.tracklets import tracklet
from tests.fixtures import listed_folder as listing_fixture

HEADER = 'tracklet,pid,camera,role,frames,folder,glob'
ROWS = [
    't1,1,1,train,,ann/a,',
    't2,1,2,train,ann/b/2.jpg|ann/b/1.jpg,,',
    't3,7,1,query+gallery,,,flat/7_1_*.jpg',
    't4,7,2,gallery,,,flat/7_2_*.jpg',
    't5,-1,1,gallery,junk.png,,',
    't6,0,1,gallery,,other,',
    't7,8,1,query,still.jpg,,',
    't8,8,2,gallery,.//eight.jpg,,',
]
FILES = [
    *(f'ann/a/frame{n}.jpg' for n in (1, 2, 9, 10, 11)),
    'ann/a/.hidden.jpg',
    'ann/a/notes.txt',
    'ann/b/1.jpg',
    'ann/b/2.jpg',
    *(f'flat/7_1_{n}.jpg' for n in (1, 2, 10)),
    *(f'flat/7_2_{n}.jpg' for n in (1, 2)),
    *(f'flat/7_11_{n}.jpg' for n in (1, 2)),
    'other/x.PNG',
    'junk.png',
    'still.jpg',
    'eight.jpg',
]


@pytest.fixture
def root(tmp_path):
    listing_fixture.touch(tmp_path, FILES)
    return tmp_path


def write(root, rows=ROWS, *, header=HEADER, name='own.csv'):
    path = root / name
    path.write_text('\n'.join([header, *rows]) + '\n')
    return path


def read(root, rows=ROWS, **how):
    return manifest.read(write(root, rows, **how))


def summary(dataset):
    test = [(t.name, t.pid, t.camera, t.frames) for t in dataset.test]
    train = [(t.name, t.pid, t.camera, t.frames) for t in dataset.train]
    return train, test, dataset.query.tolist(), dataset.gallery.tolist(), dict(dataset.pid_names)


def test_rows_become_tracklets_with_roles_and_frames_in_natural_order(root):
    dataset = read(root)
    assert dataset.root == str(root)
    assert [(t.name, t.pid, t.camera) for t in dataset.train] == [('t1', 1, 1), ('t2', 1, 2)]
    assert dataset.train[0].frames == tuple(f'ann/a/frame{n}.jpg' for n in (1, 2, 9, 10, 11))
    assert dataset.train[1].frames == ('ann/b/2.jpg', 'ann/b/1.jpg')  # as listed
    assert [t.name for t in dataset.test] == ['t3', 't4', 't5', 't6', 't7', 't8']
    assert dataset.test[0].frames == tuple(f'flat/7_1_{n}.jpg' for n in (1, 2, 10))  # and not 7_11_*
    assert dataset.query.tolist() == [True, False, False, False, True, False]
    assert dataset.gallery.tolist() == [True, True, True, True, False, True]
    assert [t.pid for t in dataset.test] == [7, 7, tracklet.JUNK_ID, tracklet.DISTRACTOR_ID, 8, 8]
    assert dataset.test[4].frames == ('still.jpg',)
    assert dataset.test[5].frames == ('eight.jpg',)


def test_json_lines_say_the_same_as_csv(root):
    rows = [dict(zip(HEADER.split(','), row.split(','), strict=True)) for row in ROWS]
    for row in rows:
        row['pid'], row['camera'] = int(row['pid']), int(row['camera'])
        row['frames'] = row['frames'].split('|') if row['frames'] else []
    path = root / 'own.jsonl'
    path.write_text('\n\n'.join(json.dumps(row | {'time': 12.5}) for row in rows))
    assert summary(manifest.read(path)) == summary(read(root))


def test_columns_of_ones_own_byte_order_marks_and_windows_lines_do_no_harm(root):
    expected = summary(read(root))
    text = '\ufeff' + '\r\n'.join([f'fps,{HEADER},note', *(f'25,{row},"a, b"' for row in ROWS), ''])
    path = root / 'windows.csv'
    path.write_bytes(text.encode())
    assert summary(manifest.read(path)) == expected


def test_names_are_numbered_in_sorted_order_and_kept(root):
    rows = [
        't1,zoe,door,train,,ann/a,',
        't2,-1,yard,gallery,junk.png,,',
        't3,7,yard,query+gallery,,,flat/7_1_*.jpg',
        't4,7,door,gallery,,,flat/7_2_*.jpg',
        't5,0000,door,gallery,eight.jpg,,',
    ]
    dataset = read(root, rows)
    assert dataset.pid_names == {1: '7', 2: 'zoe'}
    assert dataset.camera_names == {1: 'door', 2: 'yard'}
    assert (dataset.train[0].pid, dataset.train[0].camera) == (2, 1)
    assert [(t.pid, t.camera) for t in dataset.test] == [(-1, 2), (1, 2), (1, 1), (0, 1)]
    random.Random(0).shuffle(rows)
    assert read(root, rows).pid_names == dataset.pid_names


def test_whole_numbers_written_as_floats_are_those_numbers(root):
    """As pandas and spreadsheets write them: 7.0 is nobody else than 7, -1.0 is junk, 0.0 a distractor."""
    floats = [re.sub(r'^(\w+,-?\d+),(\d+),', r'\1.0,\2.0,', row) for row in ROWS]
    mixed = [floats[i] if i % 2 else row for i, row in enumerate(ROWS)]
    lines = [dict(zip(HEADER.split(','), row.split(','), strict=True)) for row in ROWS]
    for line in lines:
        line['pid'], line['camera'] = float(line['pid']), float(line['camera'])
    wanted = summary(read(root, ROWS))
    assert summary(read(root, floats)) == summary(read(root, mixed)) == wanted
    (root / 'own.jsonl').write_text('\n'.join(map(json.dumps, lines)))
    assert summary(manifest.read(root / 'own.jsonl')) == wanted


def test_cameras_may_be_numbered_from_zero(root):
    assert read(root, ['t1,1,0,train,,ann/a,', *ROWS[1:]]).train[0].camera == 0


def test_natural_order_counts_digits_as_numbers_and_is_total():
    names = ['f10.jpg', 'f9.jpg', 'f09.jpg', 'f1a2.jpg', 'f1a10.jpg', '7.jpg', 'a.jpg', 'f².jpg', 'f٣.jpg', '']
    expected = ['', '7.jpg', 'a.jpg', 'f1a2.jpg', 'f1a10.jpg', 'f09.jpg', 'f9.jpg', 'f10.jpg', 'f².jpg', 'f٣.jpg']
    for seed in range(5):
        random.Random(seed).shuffle(names)
        assert sorted(names, key=manifest.natural) == expected
    padded = [f'{n:04d}.jpg' for n in range(0, 2000, 7)]
    assert sorted(padded, key=manifest.natural) == sorted(padded)


def test_the_order_in_which_folders_are_listed_does_not_matter(root, monkeypatch):
    expected = summary(read(root))
    for seed in range(3):
        with monkeypatch.context() as patch:
            listing_fixture.shuffle(patch, seed)
            assert summary(read(root)) == expected


def test_paths_start_at_a_named_folder_where_one_is_given(root, tmp_path_factory):
    path = write(tmp_path_factory.mktemp('elsewhere'))
    data = config.Data(dataset='manifest', root=str(path), frames_root=str(root))
    dataset = source.read(data)
    assert (dataset.root, summary(dataset)) == (str(root), summary(read(root)))
    with pytest.raises(FileNotFoundError, match=r'data\.frames_root is .*nowhere'):
        manifest.read(path, frames_root=str(root / 'nowhere'))
    with pytest.raises(config.ConfigError, match=r'data\.frames_root'):
        config.validate(config.Experiment(data=config.Data(dataset='mars', frames_root='x')))


def test_images_can_be_read_by_the_store(tmp_path):
    listing_fixture.draw(tmp_path, ['a/1.png', 'a/2.png', 'b.png', 'c.png'])
    path = write(tmp_path, ['t1,1,1,train,,a,', 't2,2,1,query,b.png,,', 't3,2,2,gallery,c.png,,'])
    data = config.Data(dataset='manifest', root=str(path), height=16, width=8)
    dataset = source.read(data)
    frames = source.store(data, dataset, split='train').read(0, np.array([1, 0, 1]))
    assert (frames[0] == frames[2]).all()
    assert (frames[0] != frames[1]).any()
    assert source.store(data, dataset, split='test').read(1, np.array([0])).shape == (1, 16, 8, 3)


# In place of the first row.
BAD = [
    ('t1,1,1,train,,ann/zzz,', "line 2: there is no folder 'ann/zzz'"),
    ('t1,1,1,train,,ann,', "line 2: folder 'ann' .* holds no images"),
    ('t1,1,1,train,ann/a,,', "line 2: frames holds 'ann/a', a folder; name it in the column folder"),
    ('t1,1,1,train,still.jpg|ann/,,', "line 2: frames holds 'ann', a folder"),
    ('t1,00-1,1,gallery,still.jpg,,', "line 2: pid '00-1' is how MARS calls its folder of junk; write -1"),
    ('t1,1,1,train,,../x,', "line 2: the path '../x' leaves the folder"),
    ('t1,1,1,train,,/etc,', "line 2: the path '/etc' leaves"),
    ('t1,1,1,train,,ann/../../x,', 'leaves the folder'),
    ('t1,1,1,train,,~/x,', 'leaves the folder'),
    ('t1,1,1,train,,C:\\x,', 'leaves the folder'),
    ('t1,1,1,train,,,', 'line 2: expected exactly one of frames, folder, glob; none of them is filled'),
    ('t1,1,1,train,still.jpg,ann/a,', 'exactly one of .*; frames and folder is filled'),
    ('t1,1,1,test,,ann/a,', "line 2: the role is 'test'; expected train, query, gallery, query\\+gallery"),
    ('t1,1,1,Train,,ann/a,', "the role is 'Train'"),
    (',1,1,train,,ann/a,', 'line 2: tracklet is missing'),
    ('t1,,1,train,,ann/a,', 'line 2: pid is missing'),
    ('t1,1,,train,,ann/a,', 'line 2: camera is missing'),
    ('t1,-1,1,train,,ann/a,', 'line 2: pid -1 means junk, for the gallery only'),
    ('t1,0,1,train,,ann/a,', 'line 2: pid 0 means distractors, for the gallery only; number persons from 1'),
    ('t1,-2,1,train,,ann/a,', 'line 2: pid -2; expected 1 to'),
    ('t1,1,-1,train,,ann/a,', 'line 2: camera -1; expected 0 to'),
    ('t1,9999999999,1,train,,ann/a,', 'line 2: pid 9999999999; expected 1 to'),
    ('t1,7,1,train,,ann/a,', 'line 4: tests a person whom line 2 trains on'),
    ('t1,007,1,train,,ann/a,', 'line 4: tests a person whom line 2 trains on'),
    ('t2,1,1,train,,ann/a,', "line 3: tracklet 't2' is in line 2 already"),
    ('t1,1,1,train,still.jpg,,', 'line 8: still.jpg is in tracklet .t1. of line 2 too'),
    ('t1,7,1,train,,,flat/7_1_*.jpg', 'line 4: flat/7_1_1.jpg is in tracklet .t1. of line 2 too'),
    ('t1,1,1,train,ann/b/1.jpg|,,', "frames is 'ann/b/1.jpg|'; expected paths"),
    ('t1,1,1,train,ann/b/1.jpg|ann/b/1.jpg,,', "the frame 'ann/b/1.jpg' is listed twice"),
    ('t1,1,1,train,ann/b/1.jpg|ann/b/3.jpg,,', "line 2: 1 of 2 files are not in .*, first 'ann/b/3.jpg'"),
    ('t1,1,1,train,.,,', "line 2: frames holds '.', a folder"),
    ('t1,1,1,train,,,flat/8_*.jpg', "holds no images that fit '8_"),
    ('t1,1,1,train,,,fl*/7_1_*.jpg', 'only its last part may be a pattern'),
    ('t1,1,1,train,,,flat/**', 'only its last part may be a pattern'),
    ('t1,1,1,train,,,nowhere/*.jpg', "there is no folder 'nowhere'"),
    ('t1,1,1,train,,ann/a', 'line 2 has 6 cells, the header 7'),
    ('"t1,1,1,train,,ann/a,', 'line 9 is not CSV'),
    ('t\x011,1,1,train,,ann/a,', 'holds the character'),
    ('t1,1,1,train,,ann/a\x00,', 'holds the character'),
]


@pytest.mark.parametrize(('bad', 'message'), BAD)
def test_a_bad_row_is_named_with_its_file_and_line(root, bad, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        read(root, [bad, *ROWS[1:]])
    assert 'own.csv' in str(error.value)


def test_several_bad_rows_are_told_at_once_but_not_all_of_many(root):
    rows = [f't{i},1,1,train,{i}.jpg,,' for i in range(8)]
    with pytest.raises(FileNotFoundError) as error:
        read(root, rows)
    assert all(words in str(error.value) for words in ('has 8 bad lines', 'line 2:', 'line 6:', 'and 3 more'))


@pytest.mark.parametrize(
    ('text', 'name', 'message'),
    [
        ('', 'own.csv', 'missing: tracklet, pid, camera, role, one of frames, folder, glob'),
        (HEADER, 'own.csv', 'has no rows'),
        (HEADER.replace('camera', 'cam'), 'own.csv', 'missing: camera'),
        (HEADER.replace(',', ';'), 'own.csv', 'Commas separate columns'),
        (HEADER + ',pid', 'own.csv', 'has the column pid twice'),
        ('', 'own.jsonl', 'has no rows'),
        ('[1]', 'own.jsonl', r'line 1 holds .\[1\].; expected an object'),
        ('{"tracklet": ', 'own.jsonl', 'line 1 is not JSON'),
        ('[' * 100000, 'own.jsonl', 'line 1 is not JSON'),
        ('{"tracklet": "a", "pid": 1.5, "camera": 1, "role": "train", "folder": "."}', 'own.jsonl', "pid is '1.5'"),
        ('{"tracklet": "a", "pid": true, "camera": 1, "role": "train", "folder": "."}', 'own.jsonl', "pid is 'True'"),
        ('{"tracklet": "a", "pid": 1, "camera": 1, "role": "train", "folder": 3}', 'own.jsonl', "folder is '3'"),
        (
            '{"tracklet": "a", "pid": 1, "camera": 1, "role": "train", "frames": ["\\ud800"]}',
            'own.jsonl',
            'holds the character',
        ),
        (HEADER, 'own.txt', "ends in '.txt'"),
    ],
)
def test_a_table_of_something_else_is_refused(root, text, name, message):
    path = root / name
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        manifest.read(path)
    assert name in str(error.value)


def test_no_file_a_folder_and_other_encodings_are_named(root):
    with pytest.raises(FileNotFoundError, match=r'No manifest at .*nowhere\.csv'):
        manifest.read(root / 'nowhere.csv')
    with pytest.raises(ValueError, match=r'is a folder; data\.root of a manifest is the file'):
        manifest.read(root)
    (root / 'latin.csv').write_bytes((HEADER + '\nJos\xe9,1,1,train,,ann/a,').encode('latin-1'))
    with pytest.raises(ValueError, match=r'latin\.csv is not UTF-8'):
        manifest.read(root / 'latin.csv')


def test_queries_without_a_match_are_warned_about_by_line(root):
    with pytest.warns(UserWarning, match=r'own\.csv: 1 of 2 queries .*: t7 \(line 8\)'):
        dataset = read(root, [row for row in ROWS if not row.startswith('t8')])
    tracklet.check_answerable(dataset)
    with pytest.warns(UserWarning, match='1 of 1 queries'):
        dataset = read(root, ['t7,8,1,query,still.jpg,,', 't8,8,1,gallery,eight.jpg,,'])
    with pytest.raises(ValueError, match='nothing can be scored'):
        tracklet.check_answerable(dataset)
    with pytest.raises(ValueError, match='2 test tracklets, 0 of them queries'):
        tracklet.check_answerable(read(root, ['t7,8,1,gallery,still.jpg,,', 't8,8,2,gallery,eight.jpg,,']))


def test_pieces_of_one_walk_may_share_frames(root):
    shared = ['a,1,1,train,ann/b/1.jpg|ann/b/2.jpg,,', 'b,1,1,train,ann/b/2.jpg|still.jpg,,']
    assert len(read(root, shared).train) == 2
    with pytest.raises(ValueError, match=r'line 3: ann/b/2\.jpg is in tracklet .a. of line 2 too'):
        read(root, [shared[0], shared[1].replace('b,1,1', 'b,1,2')])


def test_lists_of_frames_may_be_longer_than_python_s_limit_for_a_cell(root):
    before = csv.field_size_limit(1000)
    names = [f'long/{"x" * 200}{n}.jpg' for n in range(700)]
    listing_fixture.touch(root, names)
    assert read(root, [f't,1,1,train,{"|".join(names)},,']).train[0].frames == tuple(names)
    assert csv.field_size_limit(before) == 1000  # as it was set


def mutate(text, rng):
    """A text with one to three random wounds."""
    for _ in range(rng.integers(1, 4)):
        at, lines = int(rng.integers(0, len(text) + 1)), text.split('\n')
        row = int(rng.integers(0, len(lines)))
        match int(rng.integers(0, 9)):
            case 0:
                text = text[:at] + text[at + int(rng.integers(1, 30)) :]
            case 1:
                some = ['"', ',', '|', '/', '..', '*', '[', '\x00', '\n', '\r', 'é', '-', '9' * 30, '{', '}', '\\', '~']
                text = text[:at] + some[rng.integers(len(some))] + text[at:]
            case 2:
                text = text[:at]
            case 3:
                lines.insert(row, lines[rng.integers(len(lines))])
                text = '\n'.join(lines)
            case 4:
                cells = lines[row].split(',')
                cells[rng.integers(len(cells))] = ['', '0', '-1', 'x', 'train', '[', 'a' * 300, '1e9'][rng.integers(8)]
                lines[row] = ','.join(cells)
                text = '\n'.join(lines)
            case 5:
                del lines[row]
                text = '\n'.join(lines)
            case 6:
                text = text.replace(
                    ['1', '7', 'ann', 'query', ','][rng.integers(5)], ['2', '', 'x', ' '][rng.integers(4)]
                )
            case 7:
                text = text[:at] + chr(int(rng.integers(1, 0xD800))) + text[at + 1 :]
            case _:
                text = re.sub(r'\d', str(rng.integers(0, 10)), text, count=int(rng.integers(1, 5)))
    return text


@pytest.mark.parametrize('name', ['own.csv', 'own.jsonl'])
def test_hundreds_of_mutated_manifests_give_a_data_set_or_an_error_that_names_the_file(root, name):
    if name == 'own.csv':
        text = '\n'.join([HEADER, *ROWS])
    else:
        rows = [dict(zip(HEADER.split(','), row.split(','), strict=True)) for row in ROWS]
        text = '\n'.join(json.dumps({k: v for k, v in row.items() if v}) for row in rows)
    rng, path = np.random.default_rng(7), root / name
    outcomes, named = {'read': 0, 'refused': 0}, 0
    for _ in range(600):
        path.write_bytes(mutate(text, rng).encode())
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore', UserWarning)
                dataset = manifest.read(path)
        except (ValueError, OSError) as error:
            named += name in str(error)
            outcomes['refused'] += 1
        else:
            assert len(dataset.query) == len(dataset.test)
            assert all((root / frame).is_file() for t in (*dataset.train, *dataset.test) for frame in t.frames)
            assert not {t.pid for t in dataset.train} & {t.pid for t in dataset.test}
            outcomes['read'] += 1
    assert named == outcomes['refused']
    assert min(outcomes.values()) > 30, outcomes


def test_columns_with_a_mark_are_attributes_and_empty_cells_are_none(tmp_path):
    for n in (1, 2):
        (tmp_path / f'{n}.jpg').write_bytes(b'')
    (tmp_path / 'own.csv').write_text(
        'tracklet,pid,camera,role,frames,attr:outfit,attr:occluded,note\n'
        'a,1,1,query,1.jpg, coat ,0.4,x\nb,1,2,gallery,2.jpg,,,y\n'
    )
    found = manifest.read(tmp_path / 'own.csv')
    assert [dict(one.attributes) for one in found.test] == [{'outfit': 'coat', 'occluded': '0.4'}, {}]
    rows = [
        {'tracklet': 'a', 'pid': 1, 'camera': 1, 'role': 'query', 'frames': '1.jpg', 'attr:seated': True},
        {'tracklet': 'b', 'pid': 1, 'camera': 2, 'role': 'gallery', 'frames': '2.jpg', 'attr:seated': None},
    ]
    (tmp_path / 'own.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    assert [dict(one.attributes) for one in manifest.read(tmp_path / 'own.jsonl').test] == [{'seated': 'True'}, {}]
    rows[1]['attr:seated'] = ['no']
    (tmp_path / 'own.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    with pytest.raises(ValueError, match=r'line 2: attr:seated is .* expected a text, a number'):
        manifest.read(tmp_path / 'own.jsonl')
    (tmp_path / 'own.csv').write_text('tracklet,pid,camera,role,frames,attr:x,attr:x\na,1,1,query,1.jpg,,\n')
    with pytest.raises(ValueError, match='has the column attr:x twice'):
        manifest.read(tmp_path / 'own.csv')


def test_a_table_of_windows_finds_its_folders_and_frames(tmp_path):
    for name in ('p01/cam1_1', 'p01/cam2_1', 'p\\2'):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / 'f1.jpg').write_bytes(b'')
    (tmp_path / 'm.csv').write_text(
        'tracklet,pid,camera,role,folder,frames,glob\na,1,1,query+gallery,p01\\cam1_1,,\n'
        'b,1,2,query+gallery,,p01\\cam2_1\\f1.jpg,\nc,2,2,gallery,,,p\\2/f*.jpg\n'
    )
    data = manifest.read(tmp_path / 'm.csv')
    assert [one.frames for one in data.test] == [('p01/cam1_1/f1.jpg',), ('p01/cam2_1/f1.jpg',), ('p\\2/f1.jpg',)]


def test_a_person_is_one_person_in_both_forms_of_unicode(tmp_path):
    (tmp_path / 'Zo\u00eb').mkdir()
    (tmp_path / 'Zo\u00eb' / 'a.jpg').write_bytes(b'')
    (tmp_path / 'b.jpg').write_bytes(b'')
    (tmp_path / 'm.csv').write_text(
        'tracklet,pid,camera,role,folder,frames\na,Zoe\u0308,1,query+gallery,Zoe\u0308,\n'
        'b,Zo\u00eb,2,gallery,, b.jpg \n',
        encoding='utf-8',
    )
    data = manifest.read(tmp_path / 'm.csv')
    assert {one.pid for one in data.test} == {1}
    assert data.test[0].frames == ('Zo\u00eb/a.jpg',)
    assert data.test[1].frames == ('b.jpg',)
