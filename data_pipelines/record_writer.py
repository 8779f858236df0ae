"""Writes the shards of a record set so that a kill at any moment costs only the shards that were being written.

TFDS' own writer keeps everything in one temporary folder and begins anew when it is stopped; it also orders records by
a hash of their keys, which tears tracklets apart. Here each shard is written under a temporary name, checked to be on
the disk and renamed; a second run writes what is missing. Where OUT is a URL the shard is written on this machine and
then sent. Not every system behind a URL shows a file only when all of it has come, so that shards are looked into there
too.
"""

import contextlib
import os
import pathlib
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from typing import Any

import tqdm
from array_record.python import array_record_module

from jaxreid.data.stores import record_files, record_index
from jaxreid.process import atomic

Job = Callable[[record_index.Shard, Callable[[int], None]], None]  # writes a shard, reporting records as they are done


def publish(folder: str, name: str, write: Callable[[pathlib.Path], object]) -> None:
    """Makes a file of a record set, whole or not at all: `write` fills it at the path that it is given.

    Raises:
      OSError: names the file; what was there before is untouched.
    """
    files, path = record_files.file_system(folder)
    advice = 'make space or choose another OUT, and run this again'
    if '://' not in folder:
        with atomic.file(pathlib.Path(path, name), advice=advice, durable=True) as file:
            write(pathlib.Path(file.name))
        return
    try:
        with tempfile.NamedTemporaryFile() as file:
            write(pathlib.Path(file.name))
            files.makedirs(os.path.dirname(f'{path}/{name}'), exist_ok=True)
            files.put_file(file.name, f'{path}/{name}')
    except OSError as e:
        raise OSError(f'cannot write {folder}/{name}: {e}; {advice}') from e


def publish_bytes(folder: str, name: str, data: bytes) -> None:
    """As `publish`, of a small file."""
    publish(folder, name, lambda path: path.write_bytes(data))


def write_records(folder: str, name: str, records: Iterable[bytes], *, compressed: bool) -> None:
    """Makes an ArrayRecord file whose records are read one by one."""

    def write(path: pathlib.Path) -> None:
        options = 'group_size:1' if compressed else 'group_size:1,uncompressed'
        writer = array_record_module.ArrayRecordWriter(str(path), options)
        try:
            for record in records:
                writer.write(record)
        finally:
            try:
                writer.close()
            except RuntimeError as e:
                raise OSError(str(e).splitlines()[0]) from e

    publish(folder, name, write)


def missing(folder: str, shards: Sequence[record_index.Shard]) -> list[record_index.Shard]:
    """The shards that are not there, or not whole."""
    present = record_files.listing(folder)
    return [shard for shard in shards if shard.name not in present or not _is_whole(folder, shard)]


def _is_whole(folder: str, shard: record_index.Shard) -> bool:
    if '://' in folder:
        with tempfile.TemporaryDirectory() as here:
            end = os.path.join(here, shard.name)
            _fetch_end(folder, shard, end)
            return _has_records(end, shard.stop - shard.start)
    return _has_records(os.path.join(folder, shard.name), shard.stop - shard.start)


def _fetch_end(folder: str, shard: record_index.Shard, path: str) -> None:
    """A file with the end of a remote shard and a hole for the rest: how many records there are stands at the end."""
    files, remote = record_files.file_system(folder)
    name = f'{remote}/{shard.name}'
    size = files.size(name)
    start = max(0, size - 2**18 - 32 * (shard.stop - shard.start))  # ArrayRecord takes some 12 bytes per record
    with open(path, 'wb') as file:
        file.seek(start)
        file.write(files.cat_file(name, start=start, end=size))


def _has_records(path: str, count: int) -> bool:
    reader = array_record_module.ArrayRecordReader(path)
    try:
        return reader.ok() and reader.num_records() == count
    finally:
        with contextlib.suppress(RuntimeError):
            reader.close()


def run(job: Job, folder: str, shards: Sequence[record_index.Shard], *, workers: int, label: str) -> None:
    """Writes the missing shards in threads: most of the time goes into reading files, which threads do side by side.

    Raises:
      BaseException: of a job, or a signal's; the other jobs are told to end, and leave nothing half-written.
    """
    todo = missing(folder, shards)
    total, left = (sum(shard.stop - shard.start for shard in some) for some in (shards, todo))
    # A signal amid the start of a thread makes the pool forget that thread: work begins when all have started.
    begin, stop = threading.Event(), threading.Event()

    def held(shard: record_index.Shard) -> None:
        begin.wait()
        report(0)
        job(shard, report)

    def report(records: int) -> None:
        if stop.is_set():
            raise futures.CancelledError
        bar.update(records)

    with (
        tqdm.tqdm(total=total, initial=total - left, desc=label, unit='frame', mininterval=0.5) as bar,
        futures.ThreadPoolExecutor(workers) as pool,
    ):
        try:
            jobs = [pool.submit(held, shard) for shard in todo]
            begin.set()
            for done in futures.as_completed(jobs):
                done.result()
        except BaseException:
            stop.set()
            begin.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def run_with_beam(job: Job, folder: str, shards: Sequence[record_index.Shard], *, options: Sequence[str]) -> None:
    """Writes the missing shards on an Apache Beam engine; its workers must see the data set and OUT by the same names.

    `options` are of the pipeline, e.g. ['--runner=FlinkRunner', '--flink_master=host:8081'].

    Raises:
      ImportError: Beam is not installed.
    """
    try:
        import apache_beam as beam
        from apache_beam.options import pipeline_options
    except ImportError as e:
        raise ImportError(
            'Distributed builds need Apache Beam: pip install apache-beam, in an environment of its own, since it '
            'holds protobuf and Pillow at older versions. Without --beam the build runs here, in threads.'
        ) from e
    with beam.Pipeline(options=pipeline_options.PipelineOptions(list(options))) as pipeline:
        pipeline | beam.Create(missing(folder, shards)) | beam.Reshuffle() | beam.Map(job, _no_report)


def _no_report(_: Any) -> None: ...


@contextlib.contextmanager
def alone(folder: str) -> Iterator[None]:
    """Keeps a second build on this machine out of the folder, and removes what killed ones were writing.

    Raises:
      OSError: another build is at work there, or the folder cannot be made.
    """
    if '://' in folder:
        yield
        return
    os.makedirs(folder, exist_ok=True)

    def refuse() -> None:
        raise OSError(f'another build is writing into {folder}; wait for it, or stop it')

    with atomic.lock(pathlib.Path(folder), busy=refuse):
        atomic.remove_stale(pathlib.Path(folder))
        yield
