"""Frames from ArrayRecord files that data_pipelines wrote: the images' own bytes, a record per frame."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from array_record.python import array_record_module

from jaxreid.data.stores import folder_store, record_files, record_index
from jaxreid.data.tracklets import tracklet as tracklet_lib
from jaxreid.process import array_file


class Records:
    """Random access to the records of a set. Used from several threads; a pickled copy opens its files anew."""

    def __init__(self, files: record_files.RecordFiles, shards: Sequence[record_index.Shard]):
        """Opens nothing: a shard is opened, and fetched where it is remote, when a record of it is asked for."""
        self._files = files
        self._shards = shards
        self._starts = np.asarray([shard.start for shard in shards])
        self.__setstate__({})

    def __getstate__(self):
        return {k: v for k, v in self.__dict__.items() if k not in ('_readers', '_lock')}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._readers: dict[int, Any] = {}
        self._lock = threading.Lock()

    def where(self, record: int) -> str:
        """Names a record in messages."""
        shard = self._shards[self._shard(record)]
        return f'{self._files.folder}/{shard.name}, record {record - shard.start}'

    def read(self, record: int) -> Mapping[str, Any]:
        """The features of a record.

        Raises:
          ValueError: the record is damaged.
          folder_store.StoreError: its file is not what it should be.
        """
        # TFDS registers its data sets when it is imported, most of a second that other stores need not wait for.
        from tensorflow_datasets.proto import tf_example_pb2

        number = self._shard(record)
        reader = self._readers.get(number) or self._open(number)
        try:
            (data,) = reader.read([record - self._shards[number].start])
            return tf_example_pb2.Example.FromString(data).features.feature
        except Exception as e:  # protobuf's own kind, which ArrayRecord's is not
            raise ValueError(f'damaged record: {array_file.said_by(e)}') from e

    def _shard(self, record: int) -> int:
        return int(np.searchsorted(self._starts, record, side='right')) - 1

    def _open(self, number: int) -> Any:
        shard = self._shards[number]
        with self._lock:
            if number not in self._readers:
                try:
                    path = self._files.path(shard.name)
                except OSError as e:
                    raise folder_store.StoreError(str(e)) from e
                # Records are read singly and at random: nothing ahead of them is worth reading.
                reader = array_record_module.ArrayRecordReader(str(path), options='readahead_buffer_size:0')
                if not reader.ok() or reader.num_records() != shard.stop - shard.start:
                    raise folder_store.StoreError(
                        f'{path} holds {reader.num_records()} readable records, expected {shard.stop - shard.start}. '
                        'Remove the file and run python -m jaxreid.data_pipelines.build again.'
                    )
                self._readers[number] = reader
        return self._readers[number]


def image_file(files: record_files.RecordFiles, index: record_index.Index, path: str) -> bytes:
    """The file that was at a path of the data set.

    Raises:
      FileNotFoundError: it is not in the record set.
      ValueError: its record is damaged.
    """
    for tracklet, first in zip(index.tracklets, index.first.tolist(), strict=False):
        if path in tracklet.frames:
            records = Records(files, index.shards(index.dataset))
            return records.read(first + tracklet.frames.index(path))['image'].bytes_list.value[0]
    raise FileNotFoundError(f'{path} is not among the records in {files.folder}')


class RecordStore(folder_store.FolderStore):
    """As the folder's store, from records; reads only the records of the frames that are asked for."""

    def __init__(
        self,
        files: record_files.RecordFiles,
        index: record_index.Index,
        tracklets: Sequence[tracklet_lib.Tracklet],
        how: folder_store.Reading,
        *,
        stored_flow: record_files.RecordFiles | None = None,
    ):
        """Opens nothing.

        `tracklets` are those of the index or pieces of them. `stored_flow`: the record set of this engine's flow in
        this height and width; None computes it from the frames.

        Raises:
          ValueError: a tracklet is not in the index.
        """
        super().__init__(files.folder, tracklets, how)
        self._first = index.first_records(tracklets)
        self._sizes = index.sizes  # and not the whole index: stores are pickled into processes
        self._images = Records(files, index.shards(index.dataset))
        self._flows = None
        if stored_flow is not None:
            self._flows = Records(stored_flow, index.shards(f'{index.dataset}_flow'))

    def _where(self, row: int, frame: int) -> str:
        return f'{self._path(row, frame)} ({self._images.where(int(self._first[row]) + frame)})'

    def _bytes(self, row: int, frame: int) -> bytes:
        record = int(self._first[row]) + frame  # what follows a piece of a tracklet follows it here too
        features = self._images.read(record)
        data, name = (b''.join(features[key].bytes_list.value) for key in ('image', 'name'))
        if name.decode() != self._path(row, frame) or len(data) != self._sizes[record]:
            raise folder_store.StoreError(
                f'{self._images.where(record)} is {name.decode()} with {len(data)} bytes; the index says '
                f'{self._path(row, frame)} with {self._sizes[record]}: they are not of one build. Build them again.'
            )
        return data

    def _stored_flow(self, row: int, first: int) -> np.ndarray | None:
        if self._flows is None:
            return super()._stored_flow(row, first)
        record = int(self._first[row]) + first
        data = b''.join(self._flows.read(record)['flow'].bytes_list.value)
        height, width, _ = self.frame_shape
        if len(data) != height * width * 4:
            raise folder_store.StoreError(
                f'{self._flows.where(record)} holds {len(data)} bytes; flow of {height} x {width} has '
                f'{height * width * 4}. Build the records of the flow again.'
            )
        return np.frombuffer(data, np.float16).reshape(height, width, 2).copy()
