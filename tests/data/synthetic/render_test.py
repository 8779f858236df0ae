import dataclasses
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import scipy.io

from jaxreid import config
from jaxreid.data import source
from jaxreid.data.synthetic import person as synthetic_person
from jaxreid.data.synthetic import plan as synthetic_plan
from jaxreid.data.synthetic import render
from jaxreid.data.synthetic import sheet as synthetic_sheet
from jaxreid.process import cache

NAME = re.compile(r'^(\d{4}|00-1)C([1-6])T(\d{4})F(\d{3})\.jpg$')


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    return render.ensure(tmp_path_factory.mktemp('synthetic') / 'tiny', 'tiny', workers=2, progress=False)


def small(name='small', **changes):
    """A preset of a few dozen frames."""
    base = dict(
        train_ids=3,
        test_ids=2,
        group_share=0.0,
        cameras_per_id=(2, 2),
        tracklets_per_camera=(1, 1),
        distractors=2,
        junk=1,
    )
    return dataclasses.replace(render.PRESETS['tiny'], name=name, median_frames=4.0, max_frames=6, **base, **changes)


def digests(root):
    return {
        str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(root.rglob('*'))
        if p.is_file()
    }


def table(root, split):
    return scipy.io.loadmat(root / 'info' / f'tracks_{split}_info.mat')[f'track_{split}_info']


def names(root, split):
    return (root / 'info' / f'{split}_name.txt').read_text().split()


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_bytes(tiny, tmp_path):
    alone = render.ensure(tmp_path / 'alone', 'tiny', workers=1, progress=False)
    assert digests(alone) == digests(tiny)


def test_another_seed_gives_other_pictures_and_other_people():
    first, second = (synthetic_plan.make_plan(render.PRESETS['tiny'], seed=s) for s in (0, 1))
    assert first.people != second.people
    a, b = (next(render.Renderer(p).frames(p.tracklets['train'][0])) for p in (first, second))
    assert np.abs(a.astype(int) - b).mean() > 5


def test_name_lists_are_sorted_and_name_exactly_the_files(tiny):
    for split in ('train', 'test'):
        files = sorted(p.name for p in (tiny / f'bbox_{split}').rglob('*') if p.is_file())
        assert names(tiny, split) == files
        for path in (tiny / f'bbox_{split}').rglob('*.jpg'):
            assert NAME.match(path.name)
            assert path.parent.name == path.name[:4]


def test_tables_agree_with_the_name_lists(tiny):
    for split in ('train', 'test'):
        rows, listed = table(tiny, split), names(tiny, split)
        assert rows.dtype == np.int32
        assert rows[0, 0] == 1
        assert rows[-1, 1] == len(listed)
        np.testing.assert_array_equal(rows[1:, 0], rows[:-1, 1] + 1)
        for start, end, identity, camera in rows:
            block = listed[start - 1 : end]
            prefix = {'-1': '00-1'}.get(str(identity), f'{identity:04d}') + f'C{camera}T'
            assert block == [f'{block[0][:11]}F{i:03d}.jpg' for i in range(1, end - start + 2)]
            assert block[0].startswith(prefix)


def test_tracklet_numbers_run_on_over_the_cameras_of_an_identity(tiny):
    seen = {}
    for name in names(tiny, 'train'):
        if name.endswith('F001.jpg'):
            seen.setdefault(name[:4], []).append((int(name[5]), int(name[7:11])))
    for tracklets in seen.values():
        assert [number for _, number in tracklets] == list(range(1, len(tracklets) + 1))
        assert tracklets == sorted(tracklets)


def test_train_and_test_share_no_identity_and_test_holds_junk_and_distractors(tiny):
    train, test = set(table(tiny, 'train')[:, 2]), set(table(tiny, 'test')[:, 2])
    assert not train & test
    assert min(train) > 0
    assert {-1, 0} <= test
    assert len(train) == 12
    assert len(test) == 10 + 2


def test_every_query_has_an_answer_in_another_camera(tiny):
    rows = table(tiny, 'test')
    stored = scipy.io.loadmat(tiny / 'info' / 'query_IDX.mat')['query_IDX']
    assert stored.dtype == np.uint16
    assert stored.shape[0] == 1
    queries = stored[0].astype(int) - 1
    pairs = [(rows[q, 2], rows[q, 3]) for q in queries]
    assert len(set(pairs)) == len(pairs) > 15
    for identity, camera in pairs:
        assert identity > 0
        assert ((rows[:, 2] == identity) & (rows[:, 3] != camera)).any()


def test_whom_one_camera_alone_saw_is_no_query():
    alone = dataclasses.replace(small(), cameras_per_id=(1, 1))
    assert synthetic_plan.make_plan(alone, seed=0).queries == []


def test_crops_have_the_size_of_the_preset_and_are_no_flat_pictures(tiny):
    for name in names(tiny, 'test')[::97]:
        image = cv2.imread(str(tiny / 'bbox_test' / name[:4] / name))
        assert image.shape == (64, 32, 3)
        assert image.std() > 10


def test_the_description_gives_the_plan_back(tiny):
    stored = json.loads((tiny / 'info' / 'synthetic.json').read_text())
    plan = synthetic_plan.from_json(stored)
    assert plan == synthetic_plan.make_plan(render.PRESETS['tiny'])
    assert json.loads(json.dumps(plan.to_json())) == stored


@pytest.mark.parametrize('preset', ['tiny', 'demo', 'gait'])
def test_lookalikes_share_their_looks_and_differ_in_every_trait_of_gait_and_build(preset):
    plan = synthetic_plan.make_plan(render.PRESETS[preset])
    for split in ('train', 'test'):
        assert plan.groups[split]
        for group in plan.groups[split]:
            assert len(group) == plan.preset.group_size
            people = [plan.people[plan.identities[i]] for i in group]
            assert len({p.appearance for p in people}) == 1
            for limits, part in ((synthetic_person.GAIT_RANGE, 'gait'), (synthetic_person.BUILD_RANGE, 'build')):
                for field, (low, high) in limits.items():
                    values = np.sort([getattr(getattr(p, part), field) for p in people])
                    assert np.diff(values).min() > 0.2 * (high - low) / len(group), field
                    assert low <= values[0] <= values[-1] <= high


def test_a_person_without_look_alikes_is_drawn_from_the_whole_range_of_every_trait():
    rng = np.random.default_rng(0)
    bodies = [synthetic_person.draw_bodies(rng, 1)[0] for _ in range(300)]
    for part, ranges in enumerate((synthetic_person.BUILD_RANGE, synthetic_person.GAIT_RANGE)):
        for name, (low, high) in ranges.items():
            share = (np.array([getattr(body[part], name) for body in bodies]) - low) / (high - low)
            assert 0 <= share.min() < 0.05, name
            assert 0.95 < share.max() <= 1, name


def test_all_others_differ_in_looks():
    plan = synthetic_plan.make_plan(render.PRESETS['demo'])
    groups = plan.groups['train'] + plan.groups['test']
    looks = {plan.people[row].appearance for row in plan.identities.values()}
    assert len(looks) == len(plan.identities) - sum(len(g) - 1 for g in groups)


@pytest.mark.slow
def test_presets_hold_what_they_are_documented_to_hold():
    for name, preset in render.PRESETS.items():
        plan = synthetic_plan.make_plan(preset)
        assert preset.name == name
        assert 6 <= preset.fps <= 8
        assert preset.cameras >= 4
        frames = sum(t.frames for rows in plan.tracklets.values() for t in rows)
        tracklets = sum(len(rows) for rows in plan.tracklets.values())
        tests = plan.tracklets['test']
        assert {t.identity for t in tests} >= {-1, 0}
        hidden = preset.occluded + preset.staying > 0
        assert {t.occluder_when for t in tests} == ({'none', 'start', 'middle', 'end'} if hidden else {'none'})
        match name:
            case 'demo':
                assert len(plan.queries) >= 300
                lengths = [t.frames for rows in plan.tracklets.values() for t in rows]
                assert min(lengths) == 2
                assert max(lengths) > 150
                assert np.mean([10 <= n <= 40 for n in lengths]) > 0.5
            case 'gait':
                assert sum(len(g) for g in plan.groups['test']) > 0.8 * preset.test_ids
            case 'mars_scale':
                assert (preset.train_ids, preset.test_ids, preset.height, preset.width) == (625, 636, 256, 128)
                assert 18_000 < tracklets < 22_000
                assert 1.0e6 < frames < 1.4e6
                assert max(len(t.name) for t in tests) == 11
                assert max(t.frames for t in tests) > 300


@pytest.mark.slow
def test_a_slice_of_mars_scale_comes_out_at_full_size():
    plan = synthetic_plan.make_plan(render.PRESETS['mars_scale'])
    renderer = render.Renderer(plan)
    for tracklet in (plan.tracklets['train'][1], plan.tracklets['test'][-1]):
        frame = next(renderer.frames(tracklet))
        assert frame.shape == (256, 128, 3)
        assert frame.dtype == np.uint8


def test_a_frame_does_not_depend_on_which_other_frames_are_drawn():
    plan = synthetic_plan.make_plan(render.PRESETS['tiny'])
    renderer = render.Renderer(plan)
    for tracklet in plan.tracklets['test'][-8:]:
        everything = list(renderer.frames(tracklet))
        last = tracklet.frames - 1
        np.testing.assert_array_equal(next(render.Renderer(plan).frames(tracklet, only=[last])), everything[last])


def test_the_background_moves_behind_the_walker_and_differs_between_tracklets():
    plan = synthetic_plan.make_plan(render.PRESETS['tiny'])
    empty = [
        dataclasses.replace(t, content='background', occluder='none')
        for t in plan.tracklets['train']
        if t.camera == 1 and t.frames > 4
    ][:3]
    renderer = render.Renderer(plan)
    first = [list(renderer.frames(t)) for t in empty]
    for frames in first:
        assert np.abs(frames[0].astype(int) - frames[-1]).mean() > 3
    assert np.abs(first[0][0].astype(int) - first[1][0]).mean() > 15


def test_feet_stand_on_the_ground_and_legs_keep_their_length():
    rng = np.random.default_rng(0)
    phase = np.linspace(0, 2 * np.pi, 25)
    for build, gait in synthetic_person.draw_bodies(rng, 4):
        joints = synthetic_person.walk(build, dataclasses.replace(gait, bob=0.0), phase)
        at = {name: joints[:, i] for i, name in enumerate(synthetic_person.JOINTS)}
        lengths = synthetic_person.segment_lengths(build)
        for side in ('left', 'right'):
            for a, b, part in (
                ('hip', 'knee', 'thigh'),
                ('knee', 'ankle', 'shank'),
                ('shoulder', 'elbow', 'upper_arm'),
                ('elbow', 'hand', 'forearm'),
            ):
                size = np.linalg.norm(at[f'{side}_{a}'] - at[f'{side}_{b}'], axis=1)
                np.testing.assert_allclose(size, lengths[part], rtol=1e-9)
        assert joints[..., 1].min() >= -1e-9
        ahead = at['left_ankle'][:, 2] - at['right_ankle'][:, 2]
        assert ahead[0] > 0.2 > -0.2 > ahead[12]  # half a cycle later the other leg is in front
        height = at['head_top'][:, 1].max()
        assert 0.9 * build.height < height < 1.02 * build.height


def test_yaw_turns_the_walker_in_the_image():
    build, gait = synthetic_person.draw_bodies(np.random.default_rng(0), 1)[0]
    joints = synthetic_person.walk(build, gait, np.zeros(1))
    left, right = (synthetic_person.INDEX[f'{side}_shoulder'] for side in ('left', 'right'))
    toe = synthetic_person.INDEX['left_toe']
    front, near = synthetic_person.project(joints, np.zeros(1), pitch=0.0)
    assert front[0, left, 0] > front[0, right, 0]  # facing us, the left shoulder is on the right of the image
    assert near[0, toe] > near[0, 0]
    side, near = synthetic_person.project(joints, np.full(1, np.pi / 2), pitch=0.0)
    assert side[0, toe, 0] > side[0, 0, 0]  # walking to the right
    assert near[0, right] > near[0, left]


def test_a_second_call_renders_nothing(tiny):
    before = {p: p.stat().st_mtime_ns for p in tiny.rglob('*')}
    assert render.ensure(tiny, 'tiny', progress=False) == tiny
    assert {p: p.stat().st_mtime_ns for p in tiny.rglob('*')} == before


def test_without_a_root_the_users_cache_is_taken(tmp_path, monkeypatch):
    monkeypatch.setitem(render.PRESETS, 'small', small())
    monkeypatch.setenv('JAXREID_CACHE', str(tmp_path / 'cache'))
    root = render.ensure('', 'small', seed=5, progress=False)
    assert root.parent == tmp_path / 'cache'
    assert root != render.ensure('', 'small', seed=6, progress=False)
    monkeypatch.delenv('JAXREID_CACHE')
    monkeypatch.setenv('XDG_CACHE_HOME', '/somewhere')
    assert cache.folder() == pathlib.Path('/somewhere/jaxreid')
    monkeypatch.delenv('XDG_CACHE_HOME')
    assert cache.folder() == pathlib.Path.home() / '.cache' / 'jaxreid'


def test_unknown_preset_and_negative_seed_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no synthetic preset 'huge'; choose one of tiny, demo"):
        render.ensure(tmp_path, 'huge')
    with pytest.raises(ValueError, match='seed of the synthetic benchmark is -1'):
        render.ensure(tmp_path, 'tiny', seed=-1)


def test_a_folder_with_something_else_is_refused_and_left_alone(tiny, tmp_path):
    before = digests(tiny)
    with pytest.raises(
        FileExistsError, match=r"holds the synthetic benchmark preset 'tiny', seed 0.* but preset 'tiny', seed 3"
    ):
        render.ensure(tiny, 'tiny', seed=3, progress=False)
    with pytest.raises(FileExistsError, match=r"but preset 'demo'.*train_ids: 12 there"):
        render.ensure(tiny, 'demo', progress=False)
    assert digests(tiny) == before
    (tmp_path / 'note.txt').write_text('mine')
    with pytest.raises(FileExistsError, match=r'is not empty and has no info/synthetic\.json'):
        render.ensure(tmp_path, 'tiny', progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ['note.txt']
    with pytest.raises(FileExistsError, match='is a file'):
        render.ensure(tmp_path / 'note.txt', 'tiny', progress=False)


def test_a_damaged_description_is_refused(tmp_path):
    (tmp_path / 'info').mkdir()
    (tmp_path / 'info' / 'synthetic.json').write_text('{"preset": ')
    with pytest.raises(FileExistsError, match='cannot be read'):
        render.ensure(tmp_path, 'tiny', progress=False)


def test_a_data_set_from_before_a_preset_had_a_further_field_is_taken(tiny, tmp_path):
    folder = tmp_path / 'data'
    (folder / 'info').mkdir(parents=True)
    description = json.loads((tiny / 'info' / 'synthetic.json').read_text())
    del description['preset']['light'], description['preset']['views']
    (folder / 'info' / 'synthetic.json').write_text(json.dumps(description))
    assert render.ensure(folder, 'tiny', progress=False) == folder
    description['preset']['light'] = 0.5
    (folder / 'info' / 'synthetic.json').write_text(json.dumps(description))
    with pytest.raises(FileExistsError, match=r'the presets differ in light: 0\.5 there, 1\.0 wanted'):
        render.ensure(folder, 'tiny', progress=False)


def test_frames_that_are_missing_are_drawn_again(tiny, tmp_path):
    folder = shutil.copytree(tiny, tmp_path / 'data')
    frames = sorted((folder / 'bbox_test').rglob('*.jpg'))
    removed = {frames[0]: frames[0].read_bytes()}
    person = frames[-1].parent
    removed |= {file: file.read_bytes() for file in person.iterdir()}
    frames[0].unlink()
    shutil.rmtree(person)
    data = config.Data(dataset='synthetic', root=str(folder), preset='tiny')
    assert len(source.read(data).test)
    assert {file: file.read_bytes() for file in removed} == removed


def test_another_version_of_the_renderer_is_refused(tiny, monkeypatch):
    monkeypatch.setattr(synthetic_plan, 'RENDERER_VERSION', 10**6)
    with pytest.raises(FileExistsError, match='renderer version 1000000 was asked for'):
        render.ensure(tiny, 'tiny', progress=False)


def test_an_empty_folder_is_filled(tmp_path):
    root = render.ensure_preset(tmp_path, small(), seed=0, progress=False)
    assert (root / 'info' / 'synthetic.json').is_file()


def test_a_failing_render_leaves_nothing(tmp_path, monkeypatch):
    def full(self, folder, tracklet):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(render.Renderer, 'write', full)
    with pytest.raises(OSError, match='No space left'):
        render.ensure_preset(tmp_path / 'data', small(), seed=0, workers=1, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_failing_worker_process_is_reported_and_leaves_nothing(tmp_path):
    script = (
        'import pathlib, resource, signal, sys\n'
        'from jaxreid.data.synthetic import render\n'
        'signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n'
        'write = render._render_in_processes\n'
        'def limited(*args):\n'
        '    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))\n'
        '    write(*args)\n'
        'render._render_in_processes = limited\n'
        'try:\n'
        '    render.ensure(sys.argv[1], "tiny", workers=2, progress=False)\n'
        'except OSError as error:\n'
        '    print(error)\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', script, str(tmp_path / 'data')], capture_output=True, text=True, check=True
    )
    assert 'failed (worker exit status' in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_killed_render_leaves_no_half_data_set_and_the_next_one_cleans_up(tmp_path):
    script = (
        'import sys\n'
        'from jaxreid.data.synthetic import render\n'
        'render.ensure(sys.argv[1], "tiny", workers=2, progress=False)\n'
    )
    process = subprocess.Popen([sys.executable, '-c', script, str(tmp_path / 'data')], stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(tmp_path.glob('.data.partial-*/bbox_train/*/*.jpg')):
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / 'data').exists()
    assert list(tmp_path.glob('.data.partial-*'))
    time.sleep(0.2)  # the worker processes notice at their next tracklet
    render.ensure_preset(tmp_path / 'data', small(), seed=0, workers=1, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ['data']


@pytest.mark.slow
def test_concurrent_callers_get_one_whole_data_set(tmp_path, tiny):
    script = (
        'import sys\n'
        'from jaxreid.data.synthetic import render\n'
        'print(render.ensure(sys.argv[1], "tiny", workers=1, progress=False))\n'
    )
    runs = [
        subprocess.Popen([sys.executable, '-c', script, str(tmp_path / 'data')], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [run.communicate()[0].strip() for run in runs] == [str(tmp_path / 'data')] * 2
    assert [run.returncode for run in runs] == [0, 0]
    assert [p.name for p in tmp_path.iterdir()] == ['data']
    assert digests(tmp_path / 'data') == digests(tiny)


def test_a_contact_sheet_has_a_row_per_identity(tmp_path):
    plan = synthetic_plan.make_plan(render.PRESETS['tiny'])
    image = synthetic_sheet.sheet(plan, [1, 0], tracklets=2, frames=3)
    assert image.shape == (2 * 66, 2 * (3 * 32 + 2), 3)
    walk = next(t for t in plan.tracklets['train'] if t.identity == 1)
    np.testing.assert_array_equal(image[:64, :32], next(render.Renderer(plan).frames(walk)))
    assert synthetic_sheet.run(['tiny', str(tmp_path / 'sheet.png')]) == 0
    assert cv2.imread(str(tmp_path / 'sheet.png')).std() > 10
