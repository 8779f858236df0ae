"""Tracklets from a rendered video whose people and places are known, by what moves and from MOT files."""

import csv
import re

import cv2
import numpy as np
import pytest

from jaxreid.data.datasets import manifest
from jaxreid.from_video import __main__ as command
from jaxreid.from_video import cut, detect, mot_file, track
from jaxreid.from_video import video as video_lib
from jaxreid.process import atomic
from tests.fixtures import rendered_video

FRAMES = 110


@pytest.fixture(scope='module')
def video(tmp_path_factory):
    """(file, where the two people are): they meet in the middle."""
    path = tmp_path_factory.mktemp('video') / 'door.avi'
    return path, rendered_video.write(path, [(170, 0, 1), (180, 35, -1)], frames=FRAMES)


def listed(folder):
    with open(folder / cut.MANIFEST, newline='') as file:
        return list(csv.DictReader(file))


def test_everybody_is_followed_and_nobody_is_mixed_up(video):
    path, truth = video
    find = detect.Motion(cut._background(path, None), min_height=48)
    tracker = track.Tracker(max_gap=10, merging=True)
    followed = {}
    with video_lib.Video(path) as opened:
        for frame, _, image in opened:
            for number, box in tracker.update(frame, find(image)):
                followed.setdefault(number, []).append((frame, box))
    check_followed([boxes for boxes in followed.values() if len(boxes) >= 8], truth)


def check_followed(tracks, truth, *, overlap=0.3):
    """Everybody has a track, tracks are one person's, and most of what is to be seen is in them."""
    owners = []
    for boxes in tracks:
        who = []
        for frame, box in boxes:
            seen = {k: walk[frame] for k, walk in enumerate(truth) if frame in walk}
            overlaps = track.overlaps(np.array([box]), np.array(list(seen.values()), float))[0]
            assert overlaps.max() > overlap, (frame, box)
            who.append(list(seen)[int(overlaps.argmax())])
        counts = np.bincount(who, minlength=len(truth))
        assert counts.max() >= 0.95 * len(who), counts
        owners.append(int(counts.argmax()))
    assert set(owners) == set(range(len(truth)))
    assert len(owners) <= 2 * len(truth)  # where they meet a track may end
    assert sum(map(len, tracks)) > 0.45 * sum(map(len, truth))


def test_crops_are_listed_in_a_manifest_with_camera_and_time(video, tmp_path, capsys):
    out = tmp_path / 'cut'
    arguments = [str(video[0]), str(out), '--camera=door', '--start=2026-11-21T14:00:00', '--every=2']
    assert command.run(arguments) == 0
    said = capsys.readouterr().out
    assert 'A modern detector and tracker cut better tracklets' in said
    rows = listed(out)
    tracks, tracked = mot_file.read(out / cut.TRACKS)
    assert tracked
    assert sum(len(boxes.ids) for boxes in tracks.values()) == len(list(out.glob('*/*.jpg')))
    dataset = manifest.read(out / cut.MANIFEST)
    assert len(dataset.test) == len(rows) >= 2
    for one, row in zip(dataset.test, rows, strict=True):
        begin = 14 * 3600 + (int(row['first_frame']) - 1) / rendered_video.RATE
        assert one.time == f'2026-11-21T14:00:{begin - 14 * 3600:06.3f}'
        assert (dataset.camera_names[one.camera], one.pid, one.name) == ('door', 0, f'cut/{row["folder"]}')
        numbers = [int(frame[-10:-4]) for frame in one.frames]
        assert (numbers[0], numbers[-1]) == (int(row['first_frame']), int(row['last_frame']))
        assert all(number % 2 == 0 for number in numbers[1:])
        height, width = cv2.imread(f'{dataset.root}/{one.frames[0]}').shape[:2]
        assert height == pytest.approx(min(2 * width, 172), abs=2)  # the video is 172 pixels high
    assert command.run(arguments) == 1
    assert 'exists and is not empty; nothing is overwritten' in capsys.readouterr().err
    assert listed(out) == rows


def mot(path, walks, *, ids=True):
    lines = [
        f'{frame},{number + 1 if ids else -1},{",".join(map(str, box))},0.9,-1,-1,-1\n'
        for number, walk in enumerate(walks)
        for frame, box in walk.items()
    ]
    path.write_text(''.join(lines))
    return path


def test_tracks_of_a_better_tracker_are_taken_as_they_are(video, tmp_path):
    made = cut.cut(video[0], tmp_path / 'cut', detections=mot(tmp_path / 'mot.txt', video[1]))
    rows = listed(tmp_path / 'cut')
    wanted = [(min(walk), max(walk)) for walk in video[1]]
    assert [(int(row['first_frame']), int(row['last_frame'])) for row in rows] == wanted
    assert made.crops == sum(map(len, video[1]))
    # The crop is the frame's piece around the box.
    frame = 20
    opened = cv2.VideoCapture(str(video[0]))
    image = [opened.read()[1] for _ in range(frame)][-1]
    piece = cut.crop(image, np.array(video[1][0][frame], float))
    stored = cv2.imread(str(tmp_path / 'cut' / '0001' / f'{frame:06d}.jpg'))
    assert np.abs(stored.astype(int) - piece).mean() < 4
    assert rows[0]['time'] == f'{(wanted[0][0] - 1) / rendered_video.RATE:.2f}'


def test_tracks_of_the_fewest_frames_and_boxes_of_the_least_confidence_stay(video, tmp_path):
    lines = [f'{frame},{number},50,50,30,80,{0.5 if number else 0.49}' for number in (0, 1) for frame in range(1, 9)]
    (tmp_path / 'tracks.txt').write_text('\n'.join(lines))
    boxes, _ = mot_file.read(tmp_path / 'tracks.txt', min_confidence=0.5)
    assert {tuple(in_frame.ids) for in_frame in boxes.values()} == {(1,)}
    made = cut.cut(video[0], tmp_path / 'cut', detections=tmp_path / 'tracks.txt', min_confidence=0.5, min_frames=8)
    assert (made.tracklets, made.crops, made.too_short) == (1, 8, 0)
    with pytest.raises(ValueError, match=r'no track of .*tracks.txt has 9 crops \(the longest of 1: 8\)'):
        cut.cut(video[0], tmp_path / 'more', detections=tmp_path / 'tracks.txt', min_confidence=0.5, min_frames=9)


def test_detections_of_a_better_detector_are_tracked_through_a_meeting(video, tmp_path):
    cut.cut(video[0], tmp_path / 'cut', detections=mot(tmp_path / 'mot.txt', video[1], ids=False))
    tracks = {}
    for frame, found in mot_file.read(tmp_path / 'cut' / cut.TRACKS)[0].items():
        for number, box in zip(*found, strict=True):
            tracks.setdefault(number, []).append((frame, box))
    check_followed(list(tracks.values()), video[1], overlap=0.4)


def test_the_overlap_of_boxes_is_the_share_of_what_they_cover_together():
    a, b = np.array([[0, 0, 10, 20], [50, 50, 4, 4]]), np.array([[0, 0, 10, 20], [5, 10, 10, 20], [10, 0, 5, 5.0]])
    np.testing.assert_allclose(track.overlaps(a, b), [[1, 50 / 350, 0], [0, 0, 0]])


def test_the_speed_of_who_is_seldom_seen_is_that_per_frame():
    tracker = track.Tracker(max_gap=12)
    for frame in range(1, 300, 12):
        ((number, box),) = tracker.update(frame, np.array([[20.0 + frame, 20, 30, 80]]))
    assert number == 1
    np.testing.assert_allclose(box, [20 + frame, 20, 30, 80], atol=0.1)
    np.testing.assert_allclose(tracker._tracks[0].expected(frame + 5), [25 + frame, 20, 30, 80], atol=0.1)


def test_a_box_that_two_people_share_is_nobody_s():
    tracker = track.Tracker(max_gap=6, merging=True)
    numbers = []
    for frame in range(1, 41):
        a, b = np.array([5.0 * frame, 0, 20, 60]), np.array([205 - 5.0 * frame, 0, 20, 60])
        merged = abs(a[0] - b[0]) < 25
        union = np.array([min(a[0], b[0]), 0, abs(a[0] - b[0]) + 20, 60])
        numbers.append([number for number, _ in tracker.update(frame, np.array([union] if merged else [a, b]))])
    assert numbers[0] == numbers[-1] == [1, 2]
    assert [] in numbers
    assert {number for row in numbers for number in row} <= {1, 2}


def test_people_who_pass_each_other_keep_their_numbers():
    """In any order of the boxes, and when one is hidden behind the other."""
    tracker, rng, names = track.Tracker(max_gap=10), np.random.default_rng(0), {}
    for frame in range(1, 61):
        at = np.array([[4.0 * frame, 0, 20, 60], [248 - 4.0 * frame, 2, 22, 62]])
        order = rng.permutation(1 if 28 <= frame < 33 else 2)  # the second is behind the first
        found = dict(tracker.update(frame, at[order]))
        first = order.tolist().index(0)
        names = names or {int(person): number for person, number in zip(order, found, strict=True)}
        assert set(found) == {names[int(person)] for person in order}
        np.testing.assert_array_equal(found[names[0]], at[order[first]])


@pytest.mark.parametrize(
    ('box', 'shape'),
    [
        ((40, 30, 20, 40), (44, 22)),  # 5 % above and below, then 1:2
        ((30, 30, 40, 40), (80, 40)),  # wide: higher
        ((0, 0, 20, 40), (44, 22)),  # moved into the image
        ((0, 0, 120, 90), (100, 120)),  # larger than the image
        ((-30, 30, 20, 40), None),
    ],
)
def test_a_crop_is_twice_as_high_as_wide_where_the_image_allows(box, shape):
    image = np.zeros((100, 120, 3), np.uint8)
    piece = cut.crop(image, np.array(box, float))
    assert (None if piece is None else piece.shape[:2]) == shape


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('1,-1,5,5,20\n', 'line 1 is .* expected frame,id,left,top,width,height'),
        ('1,-1,5,5,20,40\n\n2,x,5,5,20,40\n', 'line 3 is '),
        ('0,-1,5,5,20,40\n', 'line 1: frame 0, id -1; frames count from 1'),
        ('1,-2,5,5,20,40\n', 'line 1: frame 1, id -2; .* ids are -1 or from 0 on'),
        ('1,-1,5,5,0,40\n', 'line 1: a box 0 wide'),
        ('1,-1,5,5,inf,40\n', 'line 1 is '),
        ('1,3,5,5,20,40\n2,-1,5,5,20,40\n', 'line 2 has id -1; lines before have tracks'),
        ('1,3,5,5,20,40\n1,3,9,5,20,40\n', 'line 2: track 3 is in frame 1 twice'),
        ('\n', 'has no boxes'),
        ('1,3,5,5,20,40,0.2\n', 'has no boxes of confidence 0.5 or more'),
    ],
)
def test_a_bad_mot_file_is_refused_with_its_line(tmp_path, text, message):
    (tmp_path / 'det.txt').write_text(text)
    with pytest.raises(ValueError, match=rf'det\.txt .*{message}'):
        mot_file.read(tmp_path / 'det.txt', min_confidence=0.5)


def test_what_a_killed_process_left_goes_and_what_a_running_one_makes_stays(video, tmp_path):
    left = [tmp_path / f'.{name}.partial-abcd_123' for name in ('cut', 'cutter', 'cut.partial-x')]
    running = tmp_path / '.cut.partial-12345678'
    for folder in (*left, running):
        (folder / 'track-1').mkdir(parents=True)
    with atomic.lock(running):
        cut.cut(video[0], tmp_path / 'cut', detections=mot(tmp_path / 'mot.txt', video[1]))
    assert sorted(tmp_path.glob('.*')) == sorted([*left[1:], running])


def test_what_makes_no_tracklets_is_said_and_leaves_nothing(video, tmp_path, capfd):
    path = video[0]
    (tmp_path / 'text.mp4').write_text('hello')
    (tmp_path / 'empty').mkdir()
    still = tmp_path / 'still.avi'
    rendered_video.write(still, [], frames=12)
    grey = cv2.VideoWriter(str(tmp_path / 'grey.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 10, (160, 160))
    for _ in range(3):
        grey.write(np.full((160, 160, 3), 128, np.uint8))
    grey.release()
    far, wide = tmp_path / 'far.txt', tmp_path / 'wide.txt'
    far.write_text(f'{FRAMES + 5},1,5,5,20,40\n')
    wide.write_text(''.join(f'{frame},1,1900,500,20,40\n' for frame in range(1, 20)))
    short = mot(tmp_path / 'short.txt', [{1: (5, 5, 20, 40), 2: (5, 5, 20, 40)}])
    before = sorted(tmp_path.iterdir())
    for arguments, message in [
        ([tmp_path / 'none.mp4'], 'there is no video'),
        ([tmp_path / 'empty'], r'empty holds no images .* name a video, or their folder'),
        ([path, '--detections=nope.txt'], 'there is no file nope.txt; expected boxes in the format of MOTChallenge'),
        ([tmp_path / 'text.mp4'], 'is no video that FFmpeg can read'),
        ([still], 'nothing upright moves in .* that is 48 pixels high or higher'),
        ([tmp_path / 'grey.avi'], 'nothing upright moves in '),
        ([path, '--min-frames=999'], 'no person was followed long enough'),
        ([path, f'--detections={far}'], f'does not belong to .*: it has boxes in frame {FRAMES + 5} of {FRAMES}'),
        ([path, f'--detections={wide}'], '19 of its 19 boxes are outside of the image, which has 448x172 pixels'),
        ([path, f'--detections={short}'], r'no track of .* has 8 crops \(the longest of 1: 2\)'),
        ([path, '--start=noon'], "--start 'noon' is no date and time"),
    ]:
        assert command.run([str(arguments[0]), str(tmp_path / 'out'), *arguments[1:]]) == 1
        said = capfd.readouterr().err
        assert re.search(message, said), said
    assert sorted(tmp_path.iterdir()) == before
