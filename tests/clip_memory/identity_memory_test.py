"""The CLIP memory against means taken one by one, where it is kept, and that a stopped run goes on."""

import jax
import numpy as np
import PIL.Image
import pytest

from jaxreid import config, sharding
from jaxreid.clip_memory import identity_memory
from jaxreid.data import source
from jaxreid.data.tracklets import tracklet
from jaxreid.models import build, vit
from jaxreid.training import augment, step

H, W, P, T = 16, 8, 5, 2


@pytest.fixture
def people(tmp_path, monkeypatch):
    """Five tracklets of three people in files, of 1 to 5 frames."""
    monkeypatch.setenv('JAXREID_CACHE', str(tmp_path / 'cache'))
    rng = np.random.default_rng(0)
    rows = []
    for i, (pid, frames) in enumerate([(7, 5), (3, 1), (7, 2), (9, 4), (7, 3)]):
        names = tuple(f'{i}_{n}.png' for n in range(frames))
        for name in names:
            PIL.Image.fromarray(rng.integers(0, 256, (H, W, 3), np.uint8)).save(tmp_path / name)
        rows.append(tracklet.Tracklet(f't{i}', pid, 1 + i % 2, names))
    return tracklet.Dataset(str(tmp_path), tuple(rows), (), np.zeros(0, bool), np.zeros(0, bool))


def settings():
    e = config.Experiment(system='tfclip', vit=config.Vit(width=12, depth=1, heads=3, patch=4, projection=P))
    e.data.height, e.data.width, e.backbone.block, e.backbone.init, e.strf.stages = H, W, 'c2d', 'random', ()
    e.sampler.frames, e.test.clips, e.test.batch_clips, e.head.kind = T, 'rrs', 4, 'b'
    e.train.compute_dtype = 'float32'
    return config.validate(e)


def untrained(e):
    model = build.build(e, num_ids=3, dtype='float32')
    return step.init_variables(model, e, jax.random.key(2))


def slow(variables, e, people):
    """Frame by frame, clip by clip, tracklet by tracklet, in the order of the ids 3, 7, 9."""
    tower = jax.jit(vit.Vit(e.vit, (H, W)).apply)
    by_pid = {3: [], 7: [], 9: []}
    for one in people.train:
        frames = [np.asarray(PIL.Image.open(f'{people.root}/{name}')) for name in one.frames]
        clips = [frames[i : i + T] for i in range(0, len(frames), T)]
        clips = [clip if len(clip) == T else clip * T for clip in clips]  # the remainder repeats
        of_clips = [
            np.mean([tower({'params': variables['params']['visual']}, augment.normalise(f[None], 'float32'))[1][0, 0]
                     for f in clip], axis=0)
            for clip in clips
        ]  # fmt: skip
        by_pid[one.pid].append(np.mean(of_clips, axis=0))
    return np.stack([np.mean(of, axis=0) for of in by_pid.values()])


def test_each_frame_clip_and_tracklet_counts_once_and_cameras_do_not(people):
    e = settings()
    variables = untrained(e)
    variables['params']['cameras'] = variables['params']['cameras'] + 1
    found, said = identity_memory.first_variables(
        lambda: (variables, 'so'), e, people, sharding.make_mesh(jax.devices()[:2])
    )
    np.testing.assert_allclose(found['batch_stats']['memory'], slow(variables, e, people), rtol=1e-4, atol=1e-5)
    assert said == 'so'
    assert not np.asarray(variables['batch_stats']['memory']).any()
    e.tfclip.memory = e.tfclip.ssp = False
    assert identity_memory.first_variables(lambda: (variables, ''), e, people, sharding.make_mesh())[0] is variables


def test_a_stopped_run_goes_on_and_what_is_there_is_not_made_again(people, monkeypatch):
    monkeypatch.setattr(identity_memory, 'PART', 2)
    e, mesh = settings(), sharding.make_mesh(jax.devices()[:1])
    variables = untrained(e)
    read, stop = source.store, [True]

    def stopping(*given, **named):
        store = read(*given, **named)
        inner = store.read

        def read_frames(row, frames):
            if stop[0] and row >= 2:
                raise KeyboardInterrupt
            seen.append(row)
            return inner(row, frames)

        store.read = read_frames
        return store

    seen: list[int] = []
    monkeypatch.setattr(source, 'store', stopping)
    with pytest.raises(KeyboardInterrupt):
        identity_memory.of(variables, e, people, mesh)
    place = identity_memory.folder({'visual': variables['params']['visual']}, identity_memory.plain(e), people)
    assert [file.name for file in place.glob('*.npy')] == ['000000.npy']
    stop[0] = False
    seen.clear()
    first = identity_memory.of(variables, e, people, mesh)
    assert set(seen) == {2, 3, 4}
    np.testing.assert_allclose(first, slow(variables, e, people), rtol=1e-4, atol=1e-5)
    seen.clear()
    np.testing.assert_array_equal(identity_memory.of(variables, e, people, mesh), first)
    assert not seen


def test_the_folder_is_another_for_another_tower_size_or_tracklet(people):
    e = settings()
    own = {'visual': untrained(e)['params']['visual']}
    first = identity_memory.folder(own, e, people)
    assert identity_memory.folder(own, e, people) == first
    moved = jax.tree.map(lambda x: x + 1, own)
    fewer = tracklet.Dataset(people.root, people.train[1:], (), people.query, people.gallery)
    longer = settings()
    longer.test.frames = 3
    assert (
        len(
            {
                first,
                identity_memory.folder(moved, e, people),
                identity_memory.folder(own, e, fewer),
                identity_memory.folder(own, longer, people),
            }
        )
        == 4
    )
