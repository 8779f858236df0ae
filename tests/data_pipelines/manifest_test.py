import json
import shlex
import subprocess
import sys

import pytest

from data_pipelines import manifest as tool
from jaxreid import command_line
from jaxreid.data import source
from jaxreid.data.batches import train_pipeline
from jaxreid.data.datasets import manifest
from jaxreid.weights import imagenet
from tests.fixtures import listed_folder as listing_fixture

FOLDERS = r'(?P<pid>\d+)/c(?P<camera>\d)_(?P<tracklet>\d+)/.*'
FLAT = r'(?P<role>train|query|gallery)/(?P<pid>-?\d{4})_c(?P<camera>\d)_\d+\.jpg'


def walked(people, *, cameras=(1, 2), tracklets=(1, 2), frames=(1, 2, 9, 10)):
    return [
        f'{p}/c{c}_{t}/{f}.jpg' for p in people for c in cameras for t in tracklets for f in frames
    ]  # fmt: skip


def test_folders_become_tracklets_of_people_to_train_on_and_to_test_on(tmp_path):
    listing_fixture.touch(tmp_path, walked(range(1, 7)))
    said = tool.run([str(tmp_path), str(tmp_path / 'own.csv'), '--pattern', FOLDERS])
    assert '24 tracklets, 96 images, 6 people, 2 cameras' in said
    assert '12 train, 6 gallery, 6 query+gallery; 3 people to train on' in said
    assert 'frames_root' not in said
    dataset = manifest.read(tmp_path / 'own.csv')
    assert len({t.pid for t in dataset.train}) == len({t.pid for t in dataset.test}) == 3
    assert dataset.gallery.all()
    asked = [(t.pid, t.camera, t.name) for t, query in zip(dataset.test, dataset.query, strict=True) if query]
    assert [(pid, camera) for pid, camera, _ in asked] == [
        (p, c) for p in sorted({a[0] for a in asked}) for c in (1, 2)
    ]
    assert all(name.endswith('/1') for _, _, name in asked)
    one = dataset.train[0]
    assert one.frames == tuple(f'{one.pid}/c1_1/{f}.jpg' for f in (1, 2, 9, 10))
    assert ',folder\n' in (tmp_path / 'own.csv').read_text()


def test_the_draw_depends_on_people_alone(tmp_path, monkeypatch):
    listing_fixture.touch(tmp_path / 'a', walked(range(1, 9)))
    listing_fixture.touch(tmp_path / 'b', walked(range(1, 9), tracklets=(1,), frames=(1,)))
    written = []
    for seed, folder in enumerate('aab'):
        with monkeypatch.context() as patch:
            listing_fixture.shuffle(patch, seed)
            tool.run([str(tmp_path / folder), str(tmp_path / 'own.csv'), '--pattern', FOLDERS, '--test-share', '0.3'])
        written.append((tmp_path / 'own.csv').read_text())
    assert written[0] == written[1]
    people = [{line.split(',')[1] for line in text.splitlines() if 'query' in line} for text in written]
    assert people[0] == people[2]
    assert len(people[0]) == round(0.3 * 8)


def test_who_was_seen_by_one_camera_is_not_tested_on(tmp_path):
    listing_fixture.touch(tmp_path, walked(range(1, 4)) + walked(range(4, 9), cameras=(2,)))
    tool.run([str(tmp_path), str(tmp_path / 'own.csv'), '--pattern', FOLDERS, '--test-share', '0.99'])
    dataset = manifest.read(tmp_path / 'own.csv')
    assert {t.pid for t in dataset.test} == {1, 2, 3}
    assert {t.pid for t in dataset.train} == {4, 5, 6, 7, 8}


def test_images_of_a_flat_folder_are_sorted_into_tracklets_and_roles_are_read(tmp_path):
    stills = [f'train/000{p}_c{c}_{f}.jpg' for p in (1, 3) for c in (1, 2) for f in (9, 10)]
    stills += ['query/0002_c1_1.jpg', 'gallery/0002_c2_1.jpg', 'gallery/0000_c2_3.jpg']
    listing_fixture.touch(tmp_path / 'in', [*stills, 'in/other.jpg', 'train/._0001_c1_9.jpg', 'train/notes.txt'])
    out = tmp_path / 'out' / 'own.jsonl'
    said = tool.run([str(tmp_path / 'in'), str(out), '--pattern', FLAT, '--skip-others'])
    assert f'--config.data.frames_root={tmp_path}/in' in said
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert {row['tracklet']: row['role'] for row in rows} == {
        '0000/2': 'gallery',
        '0002/1': 'query',
        '0002/2': 'gallery',
        '0001/1': 'train',
        '0001/2': 'train',
        '0003/1': 'train',
        '0003/2': 'train',
    }
    assert next(row for row in rows if row['tracklet'] == '0001/1')['frames'] == [
        'train/0001_c1_9.jpg',
        'train/0001_c1_10.jpg',
    ]
    dataset = manifest.read(out, frames_root=str(tmp_path / 'in'))
    assert sorted(t.pid for t in dataset.test) == [0, 2, 2]


def test_one_role_for_all_and_junk_in_the_gallery(tmp_path):
    listing_fixture.touch(tmp_path, walked(range(3), cameras=(1,)))
    tool.run([str(tmp_path), str(tmp_path / 'own.csv'), '--pattern', FOLDERS, '--role', 'gallery'])
    dataset = manifest.read(tmp_path / 'own.csv')
    assert (len(dataset.test), dataset.gallery.all(), dataset.query.any()) == (6, True, False)
    listing_fixture.touch(tmp_path, walked(range(3), cameras=(2,)))
    tool.run([str(tmp_path), str(tmp_path / 'own.csv'), '--pattern', FOLDERS])
    dataset = manifest.read(tmp_path / 'own.csv')
    assert not any(query for t, query in zip(dataset.test, dataset.query, strict=True) if t.pid == 0)


def test_one_name_in_two_folders_is_numbered_and_links_in_circles_end(tmp_path):
    listing_fixture.touch(tmp_path, ['day1/7_c1/1.jpg', 'day2/7_c1/1.jpg', 'day2/7_c2/1.jpg'])
    (tmp_path / 'day1' / 'back').symlink_to(tmp_path)
    found = tool.find(tmp_path, r'day\d/(?P<pid>\d)_c(?P<camera>\d)/.*')
    assert [(one.name, one.folder) for one in found] == [
        ('7/1', 'day1/7_c1'),
        ('7/1#2', 'day2/7_c1'),
        ('7/2', 'day2/7_c2'),
    ]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--pattern', '('], 'is not a regular expression'),
        (['--pattern', r'(?P<pid>\d+)/.*'], r"names the parts \['pid'\]; expected"),
        (['--pattern', r'(?P<id>\d+)/c(?P<camera>\d).*'], 'names the parts'),
        (['--pattern', r'(?P<pid>\d+)/c(?P<camera>9)_.*'], 'does not fit 8 of the images'),
        (['--pattern', r'(?P<pid>\d+)/c(?P<camera>9)_.*', '--skip-others'], 'No images'),
        (['--pattern', r'(?P<pid>\d+)/c(?P<camera>9?)\d_.*'], 'finds no pid or no camera in'),
        (['--pattern', FOLDERS, '--test-share', '1'], 'above 0 and below 1'),
        (['--pattern', FOLDERS, '--test-share', '0.1'], r'1 of 1 people .* nobody to test on'),
        (['--pattern', FOLDERS, '--role', 'train', '--test_share', '0.5'], 'leave out --test-share'),
        (['--pattern', FOLDERS.replace('.*', '(?P<role>.).*')], "the role is '1'"),
        (['--pattern', FOLDERS.replace('.*', '(?P<role>.).*'), '--role', 'train'], 'names a role already'),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, arguments, message):
    listing_fixture.touch(tmp_path, walked([1], frames=(1, 11)))
    with pytest.raises(ValueError, match=message):
        tool.run([str(tmp_path), str(tmp_path / 'own.csv'), *arguments])


def test_bars_in_names_need_json_lines_and_other_files_are_refused(tmp_path):
    listing_fixture.touch(tmp_path, ['1_c1_a|b.jpg', '2_c1_a.jpg'])
    start, rest = [str(tmp_path)], ['--pattern', r'(?P<pid>\d)_c(?P<camera>\d)_.*', '--role', 'gallery']
    with pytest.raises(ValueError, match=r'write a \.jsonl file'):
        tool.run([*start, str(tmp_path / 'own.csv'), *rest])
    tool.run([*start, str(tmp_path / 'own.jsonl'), *rest])
    with pytest.raises(ValueError, match=r"ends in '\.txt'"):
        tool.run([*start, str(tmp_path / 'own.txt'), *rest])
    with pytest.raises(FileNotFoundError, match='There is no folder'):
        tool.run([str(tmp_path / 'nowhere'), str(tmp_path / 'own.csv'), *rest])


def test_the_command_prints_what_to_run_next_and_errors_as_one_line(tmp_path):
    listing_fixture.touch(tmp_path / 'my crops', walked(range(1, 9)))
    command = [sys.executable, '-m', 'data_pipelines.manifest', str(tmp_path / 'my crops'), str(tmp_path / 'own.csv')]
    done = subprocess.run([*command, '--pattern', FOLDERS], capture_output=True, text=True, check=True)
    assert shlex.split(done.stdout.splitlines()[-1])[-1] == f'--config.data.frames_root={tmp_path}/my crops'
    failed = subprocess.run([*command, '--pattern', '('], capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert failed.stderr.startswith('\njaxreid: --pattern')
    assert 'Traceback' not in failed.stderr


SMALL = '--config configs/strf_manifest.py:small'


@pytest.mark.parametrize(
    ('role', 'people', 'expected'),
    [
        ('gallery', 4, '--mode extract --checkpoint runs/strf_manifest --config configs/strf_manifest.py'),
        ('query+gallery', 4, '--mode eval --checkpoint runs/strf_manifest --config configs/strf_manifest.py'),
        ('query', 4, '--mode eval --checkpoint runs/strf_manifest --config configs/strf_manifest.py'),
        ('train', 5, f'{SMALL} --config.data.part=validation'),
        ('', 16, SMALL),
        ('', 6, f'{SMALL} --config.sampler.num_ids=3'),
    ],
)
def test_the_next_command_is_what_tracklets_of_these_roles_are_for(
    tmp_path, monkeypatch, role, people, expected, recwarn
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('JAXREID_CACHE', str(tmp_path / 'cache'))
    listing_fixture.touch(tmp_path, walked(range(1, people + 1)))
    arguments = [str(tmp_path), str(tmp_path / 'own.csv'), '--pattern', FOLDERS, *([f'--role={role}'] if role else [])]
    said = tool.run(arguments).splitlines()
    assert said[-1] == f'python -m jaxreid.main {expected} --config.data.root={tmp_path}/own.csv'
    assert (f'There are no ImageNet weights in {tmp_path}/cache/weights' in said[2]) == (SMALL in expected)
    if SMALL in expected:
        spec, *settings = shlex.split(said[-1])[4:]
        made = command_line.read_config(spec, settings)
        assert train_pipeline.sampler(source.read(made.data).train, made).steps_per_epoch > 0
    for _ in range(len(recwarn)):
        recwarn.pop(UserWarning)  # queries alone have no match


def test_the_next_command_starts_from_weights_that_are_there_and_from_a_network_that_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('JAXREID_CACHE', str(tmp_path / 'cache'))
    (tmp_path / 'cache' / 'weights').mkdir(parents=True)
    (tmp_path / 'cache' / 'weights' / imagenet.CACHE_FILES[0]).touch()
    (tmp_path / 'runs' / 'strf_manifest-small').mkdir(parents=True)
    listing_fixture.touch(tmp_path / 'crops', walked(range(1, 11)))
    arguments = [str(tmp_path / 'crops'), str(tmp_path / 'crops' / 'own.csv'), '--pattern', FOLDERS]
    root = f'--config.data.root={tmp_path}/crops/own.csv'
    start = 'python -m jaxreid.main --config configs/strf_manifest.py'
    assert tool.run(arguments).splitlines()[2:] == [f'{start} --config.sampler.num_ids=5 {root}']
    assert f'runs/strf_manifest-small --config configs/strf_manifest.py:small {root}' in tool.run(
        [*arguments, '--role=gallery']
    )
    listing_fixture.touch(tmp_path / 'two', walked([1, 2]))
    few = tool.run([str(tmp_path / 'two'), str(tmp_path / 'two' / 'own.csv'), '--pattern', FOLDERS])
    assert 'too few people' in few.splitlines()[-1]


def test_junk_and_distractors_as_mars_writes_them_are_nobody_whatever_else_is_named(tmp_path):
    folders = ('0001', '0002', '00-1', '0000', 'anna')
    names = [f'{p}/{p}C{c}T0001F00{f}.jpg' for p in folders for c in (1, 2) for f in (1, 2)]
    listing_fixture.touch(tmp_path, names)
    arguments = [str(tmp_path), str(tmp_path / 'own.csv'), '--pattern', r'[^/]+/(?P<pid>.{4})C(?P<camera>\d)T\d{4}F.*']
    assert ' 3 people, ' in tool.run([*arguments, '--test_share=0.99'])
    dataset = manifest.read(tmp_path / 'own.csv')
    assert sorted(t.pid for t in dataset.test) == [-1, -1, 0, 0, 1, 1, 2, 2, 3, 3]
    assert dataset.pid_names == {1: '0001', 2: '0002', 3: 'anna'}
    assert not any(query for t, query in zip(dataset.test, dataset.query, strict=True) if t.pid < 1)
    with pytest.raises(ValueError, match=r'pid -1 means junk, for the gallery only'):
        tool.run([*arguments, '--role=train'])


@pytest.mark.parametrize('form', [' p{p}/cam{c}/f.jpg', 'p{p} /cam{c} /f.jpg', '~p{p}/cam{c}/f.jpg',
                                  'C:{p}/cam{c}/f.jpg', 'p\\{p}/cam{c}/f.jpg',
                                  'Zoe\u0308{p}/cam{c}/f.jpg'])  # fmt: skip
@pytest.mark.parametrize('suffix', ['csv', 'jsonl'])
def test_what_the_writer_lists_the_reader_finds_whatever_folders_are_called(tmp_path, form, suffix):
    for p in (1, 2):
        for c in (1, 2):
            path = tmp_path / 'd' / form.format(p=p, c=c)
            path.parent.mkdir(parents=True)
            path.write_bytes(b'')
    for extra in ([], ['--role=gallery']):
        out = tmp_path / f'm{len(extra)}.{suffix}'
        tool.run([str(tmp_path / 'd'), str(out), '--pattern', r'(?P<pid>[^/]+)/cam(?P<camera>\d+) ?/.*', *extra])
        data = manifest.read(out, frames_root=str(tmp_path / 'd'))
        frames = [frame for one in (*data.train, *data.test) for frame in one.frames]
        assert sorted(frame.removeprefix('./') for frame in frames) == sorted(
            form.format(p=p, c=c) for p in (1, 2) for c in (1, 2)
        )


def test_folders_that_differ_by_a_space_at_the_end_keep_their_own_images(tmp_path):
    for name in ('p1/cam1_1', 'p1/cam1_1 ', 'p1/cam2_1', 'p2/cam1_1', 'p2/cam2_1'):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / 'f.jpg').write_bytes(b'')
    tool.run([str(tmp_path), str(tmp_path / 'm.csv'), '--pattern', r'(?P<pid>[^/]+)/cam(?P<camera>\d+)[^/]*/.*'])
    data = manifest.read(tmp_path / 'm.csv')
    frames = [frame for one in (*data.train, *data.test) for frame in one.frames]
    assert len(set(frames)) == len(frames) == 5


def test_what_is_no_image_by_its_suffix_is_counted_in_the_terminal(tmp_path, capsys):
    (tmp_path / 'p1' / 'cam1').mkdir(parents=True)
    for name in ('a.jpg', 'b.jfif', 'c.jpe', 'd.GIF', 'e.jp2', 'f.avif', 'g.heic', 'h.heic', 'notes', '.hidden'):
        (tmp_path / 'p1' / 'cam1' / name).write_bytes(b'')
    (one,) = tool.find(tmp_path, r'(?P<pid>[^/]+)/cam(?P<camera>\d+)/.*')
    assert one.frames == ['a.jpg', 'b.jfif', 'c.jpe', 'd.GIF', 'e.jp2', 'f.avif']
    assert '3 files below' in (said := capsys.readouterr().err)
    assert said.strip().endswith('are left out: 2 .heic, 1 none')


def test_one_camera_alone_gets_advice_that_helps(tmp_path):
    listed = [tool.Listed(f'{p}', f'{p}', '1', '', f'{p}', ['a.jpg'], True) for p in range(6)]
    with pytest.raises(ValueError, match=r'0 of 6 people .* give each visit a camera of its own .* --role gallery'):
        tool.draw_roles(listed, test_share=0.5)
    seen_twice = [*listed, listed[0]._replace(name='again', camera='2'), listed[1]._replace(name='b', camera='2')]
    with pytest.raises(ValueError, match=r'1 of 6 people .* Give a larger --test-share'):
        tool.draw_roles(seen_twice, test_share=0.1)
