"""What an input may be, and one clear line for what it may not."""

import pathlib

import pytest

from jaxreid.global_ids import inputs


def test_an_input_names_a_camera_tracks_and_a_video(tmp_path):
    assert inputs.named('door=a.txt@b.mp4') == ('door', pathlib.Path('a.txt'), pathlib.Path('b.mp4'))
    assert inputs.named('door=a.csv') == ('door', pathlib.Path('a.csv'), None)
    (tmp_path / 'a@home').mkdir()
    assert inputs.named(f'door={tmp_path / "a@home"}') == ('door', tmp_path / 'a@home', None)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('door.txt', 'expected CAMERA=TRACKS'),
        ('=door.txt', 'expected CAMERA=TRACKS'),
        ('a/b=door.txt', 'the name of a camera is that of a folder'),
    ],
)
def test_what_is_no_input_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        inputs.named(text)


def test_a_camera_that_is_given_twice_is_refused():
    with pytest.raises(ValueError, match='camera door is given twice'):
        inputs.check_cameras([inputs.named(text) for text in ('door=a.csv', 'yard=b.csv', 'door=c.csv')])


def write(folder, name, text):
    (folder / name).write_text(text)
    return folder / name


def opened(folder, given):
    return inputs.open_source(inputs.named(given), None, crops=folder / 'crops', start=None, rate=10.0)


def test_inputs_that_do_not_fit_are_refused_in_one_line(tmp_path):
    boxes = write(tmp_path, 'a.txt', '1,1,0,0,10,20\n')
    for given, message in (
        (f'door={tmp_path}/none.txt@v.mp4', 'door: .*none.txt does not exist; expected CAMERA=TRACKS'),
        (f'door={boxes}', 'has boxes and no pixels; add the video, door=.*a.txt@VIDEO'),
        (f'door={boxes}@{tmp_path}/v.mp4', 'door: there is no video .*v.mp4, which .*a.txt is of'),
        (f'door={tmp_path}', 'is a folder without tracklets.csv'),
    ):
        with pytest.raises((ValueError, OSError), match=message):
            opened(tmp_path, given)
