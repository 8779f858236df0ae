"""Training frames per second and core from the folder and from records, beside a PyTorch DataLoader with Pillow.

    python -m benchmarks.input_pipeline

Needs no data set: it draws JPEGs of 256 x 128 pixels, about as large as those of MARS. Each pipeline makes batches of
8 x 4 clips of 4 frames of the same tracklets (the frames drawn differ) with one decoding thread; the time is CPU time
of the process, all threads together, so that it says what a core does. Runs take turns. jaxreid hands uint8 to the
device, which flips, erases and normalises in the training step; the DataLoader does so on the host, as public code for
video re-identification does, and about half of its time is the collating of floats. Without PyTorch that row is left
out. A second table is the memory that the index of all of MARS' frames takes.
"""

import argparse
import functools
import itertools
import multiprocessing
import pathlib
import statistics
import sys
import tempfile
import time

import cv2
import numpy as np
import psutil
import scipy.io
import tqdm
from PIL import Image

from benchmarks import mars_size
from data_pipelines import build
from jaxreid import config
from jaxreid.data import source
from jaxreid.data.batches import train_pipeline
from jaxreid.data.stores import record_index
from jaxreid.data.tracklets import tracklet as tracklet_lib

IDS, TRACKLETS, FRAMES = 16, 4, 20  # of the drawn data set
HEIGHT, WIDTH = 256, 128
CLIPS, CLIP_FRAMES = 32, 4
TRAIN, TEST = (8298, 509_914), (12_180, 681_089)  # tracklets and frames of MARS
LIMIT_MB = 300


def draw(root):
    """Writes people-like crops in MARS layout; the mean size of a file in bytes."""
    rng = np.random.default_rng(0)
    (root / 'info').mkdir(parents=True)
    sizes, names, rows = [], [], []
    for pid, number in itertools.product(range(1, IDS + 1), range(1, TRACKLETS + 1)):
        scene = cv2.resize(rng.integers(0, 256, (20, 10, 3), np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        rows.append((len(names) + 1, len(names) + FRAMES, pid, number))
        for frame in range(1, FRAMES + 1):
            image = np.clip(scene + rng.normal(0, 5, scene.shape), 0, 255).astype(np.uint8)
            _, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 87])
            names.append(f'{pid:04d}C{number}T{number:04d}F{frame:03d}.jpg')
            path = root / 'bbox_train' / f'{pid:04d}' / names[-1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data.tobytes())
            sizes.append(data.size)
    few = names[: 2 * FRAMES]
    (root / 'bbox_test').mkdir()
    (root / 'bbox_test' / '0001').symlink_to(root / 'bbox_train' / '0001')
    for split, listed in (('train', names), ('test', few)):
        (root / 'info' / f'{split}_name.txt').write_text('\n'.join(listed) + '\n')
        table = np.asarray(rows[: len(listed) // FRAMES], np.int32)
        scipy.io.savemat(root / 'info' / f'tracks_{split}_info.mat', {f'track_{split}_info': table})
    scipy.io.savemat(root / 'info' / 'query_IDX.mat', {'query_IDX': np.asarray([[1]], np.uint16)})
    return statistics.mean(sizes)


def ours(data, batches):
    """Makes batches as training does; a checksum of the pixels of the last."""
    dataset = source.read(data)
    store = source.store(data, dataset, split='train')
    experiment = config.Experiment(data=data, sampler=config.Sampler(frames=CLIP_FRAMES))
    labels = tracklet_lib.label_map(dataset.train)
    with train_pipeline.batches(dataset.train, store, labels, experiment, start_step=0) as made:
        for batch in itertools.islice(made, batches):
            last = batch
    assert last['clips'].shape == (CLIPS, CLIP_FRAMES, HEIGHT, WIDTH, 3)
    return int(last['clips'].sum())


def peer(data, batches):
    """Clips of the same tracklets by a DataLoader: Pillow, flip, float tensor, normalisation, random erasing."""
    import torch

    dataset = source.read(data)
    experiment = config.Experiment(data=data, sampler=config.Sampler(frames=CLIP_FRAMES))
    plan = train_pipeline.sampler(dataset.train, experiment)
    rng = np.random.default_rng(0)
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    class Clips(torch.utils.data.Dataset):
        """Item i is clip i of all batches."""

        def __len__(self):
            return batches * CLIPS

        def __getitem__(self, number):
            tracklet = dataset.train[plan.tracklets(number // CLIPS)[number % CLIPS]]
            flip = rng.random() < 0.5
            chosen = rng.integers(len(tracklet.frames), size=CLIP_FRAMES)
            return torch.stack([self.frame(pathlib.Path(data.root, tracklet.frames[i]), flip) for i in chosen])

        def frame(self, path, flip):
            with path.open('rb') as file:
                image = Image.open(file).convert('RGB')
            if image.size != (WIDTH, HEIGHT):
                image = image.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
            if flip:
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().to(torch.float32).div(255)
            pixels.sub_(mean).div_(deviation)
            if rng.random() < 0.5:
                h, w = rng.integers(30, 120), rng.integers(15, 60)
                y, x = rng.integers(HEIGHT - h), rng.integers(WIDTH - w)
                pixels[:, y : y + h, x : x + w] = 0.0
            return pixels

    torch.set_num_threads(1)
    for batch in torch.utils.data.DataLoader(Clips(), batch_size=CLIPS, num_workers=0):
        last = batch
    assert last.shape == (CLIPS, CLIP_FRAMES, 3, HEIGHT, WIDTH)


def throughput(folder, *, batches, repeats):
    """A row per pipeline."""
    root, out = folder / 'mars', folder / 'records'
    file_bytes = draw(root)
    build.build('mars', str(root), str(out))
    common = {'dataset': 'mars', 'threads': 1}
    from_folder = config.Data(root=str(root), **common)
    from_records = config.Data(store='records', records=str(out), **common)
    assert ours(from_folder, 2) == ours(from_records, 2)
    runs = {
        'folder': functools.partial(ours, from_folder),
        'records': functools.partial(ours, from_records),
    }
    try:
        peer(from_folder, 1)
        runs = {'PyTorch DataLoader, Pillow': functools.partial(peer, from_folder), **runs}
    except ImportError:
        print('PyTorch is not installed: no row for its DataLoader', file=sys.stderr)
    seconds = {name: [] for name in runs}
    for _, (name, run) in tqdm.tqdm(list(itertools.product(range(repeats), runs.items())), desc='runs'):
        start = time.process_time()
        run(batches)
        seconds[name].append(time.process_time() - start)
    frames = batches * CLIPS * CLIP_FRAMES
    rows = []
    for name, found in seconds.items():
        rates = sorted(frames / s for s in found)
        rows.append(
            {
                'what': name,
                'frames_per_core_second': statistics.median(rates),
                'slowest': rates[0],
                'fastest': rates[-1],
                'file_bytes': file_bytes,
                'frames': frames,
                'runs': repeats,
            }
        )
    first = rows[0]['frames_per_core_second']
    return [row | {'times_the_first': row['frames_per_core_second'] / first} for row in rows]


def mars_sized():
    """An index with the frame names of all of MARS."""
    parts, tracklets = {}, []
    for part, (count, frames) in (('train', TRAIN), ('test', TEST)):
        parts[part] = count
        lengths = np.full(count, frames // count)
        lengths[: frames % count] += 1
        for number, length in enumerate(lengths.tolist()):
            pid, camera = number // 13 + 1, number % 6 + 1
            name = f'{pid:04d}C{camera}T{number % 13 + 1:04d}'
            where = f'bbox_{part}/{pid:04d}/{name}F'
            paths = tuple([f'{where}{frame:03d}.jpg' for frame in range(1, length + 1)])
            tracklets.append(tracklet_lib.Tracklet(name, pid, camera, paths))
    rows = list(range(sum(parts.values())))
    split = record_index.Split({}, rows[: parts['train']], rows[parts['train'] :], [0], rows[: parts['test']])
    sizes = np.full(TRAIN[1] + TEST[1], 5000, np.int32)
    return record_index.Index('mars', '1.0.0', 16384, parts, tuple(tracklets), sizes, (split,), {}, {})


def opened_mb(path, conn):
    """Sends the memory that a run needs to know all frames of a split: the index, the data set, the stores' rows."""
    process = psutil.Process()
    before = process.memory_info().rss
    index = record_index.from_bytes(pathlib.Path(path).read_bytes(), folder=path)
    dataset = record_index.to_dataset(index, config.Data(dataset='mars'), folder=path, root=path)
    rows = [index.first_records(tracklets) for tracklets in (dataset.train, dataset.test)]
    after = process.memory_info().rss
    frames = sum(len(t.frames) for t in (*dataset.train, *dataset.test))
    conn.send({'what': f'index of {frames:,} frames', 'mb': (after - before) / 2**20, 'rows': sum(map(len, rows))})


def memory(folder):
    """The row of the index, measured in a process of its own."""
    path = folder / record_index.FILE
    path.write_bytes(record_index.to_bytes(mars_sized()))
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context('spawn').Process(target=opened_mb, args=(str(path), sender))
    process.start()
    row = receiver.recv()
    process.join()
    return row | {'limit_mb': LIMIT_MB, 'file_mb': path.stat().st_size / 2**20}


def main():
    """Prints both tables and keeps them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--batches', type=int, default=16, help='of 128 frames, per run')
    parser.add_argument('--repeats', type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        rows = throughput(folder, batches=options.batches, repeats=options.repeats)
        index = memory(folder)
    print(f'\n{rows[0]["file_bytes"]:.0f} bytes a JPEG of {HEIGHT} x {WIDTH}; median of {options.repeats} runs')
    print(f'{"":<28}{"frames/s per core":>18}{"slowest":>10}{"fastest":>10}{"ratio":>8}')
    for row in rows:
        numbers = f'{row["frames_per_core_second"]:>18.0f}{row["slowest"]:>10.0f}{row["fastest"]:>10.0f}'
        print(f'{row["what"]:<28}{numbers}{row["times_the_first"]:>8.2f}')
    print(f'\n{index["what"]}: {index["mb"]:.0f} MB of memory (limit {LIMIT_MB}), {index["file_mb"]:.1f} MB on disk')
    print(f'kept in {mars_size.write("input_pipeline", [*rows, index])}')


if __name__ == '__main__':
    main()
