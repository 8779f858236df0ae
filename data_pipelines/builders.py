"""TFDS builders of the data sets: what `python -m data_pipelines.build` makes, opened and made from Python.

    import tensorflow_datasets as tfds
    from data_pipelines import builders

    builder = builders.Mars(data_dir=OUT)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=ROOT))
    frames = builder.as_data_source('train')

Nothing is downloaded. TensorFlow is needed for nothing here. (TFDS' own command line, `tfds build`, imports it.)
"""

from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.core import dataset_builder

from data_pipelines import build
from jaxreid.data import source
from jaxreid.data.stores import record_index
from jaxreid.data.synthetic import render


class TrackletBuilder(dataset_builder.FileReaderBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Frames of tracklets, a record each; `data_pipelines.build` writes them, and why it does is told there."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = "The data set's folder; see docs/data.md."

    def __init__(self, *, file_format: Any = None, **kwargs: Any):
        """As TFDS has it; records are ArrayRecord files."""
        super().__init__(file_format=file_format or 'array_record', **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(builder=self, description=source.layout(self.name), features=build.features())

    def download_and_prepare(
        self, *, download_config: tfds.download.DownloadConfig | None = None, **kwargs: Any
    ) -> None:
        """Writes the records, or what is missing of them.

        Args:
          download_config: `manual_dir` is the data set's folder; beam_options are not used, see `build.build`.
          **kwargs: what TFDS passes besides; a file_format other than array_record is refused.

        Raises:
          ValueError, OSError: as `build.build`.
        """
        if kwargs.get('file_format') not in (None, 'array_record', tfds.core.FileFormat.ARRAY_RECORD):
            raise ValueError(f'file_format is {kwargs["file_format"]}; tracklets are written as array_record only.')
        root = str((download_config and download_config.manual_dir) or '')
        preset = {'preset': self.builder_config.name} if self.builder_config else {}
        build.build(self.name, root, str(self.data_dir_root), **preset)
        self.info.read_from_directory(self.data_dir)

    def _download_and_prepare(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError('download_and_prepare does it all')


class Mars(TrackletBuilder):
    """MARS (Zheng et al., ECCV 2016)."""

    VERSION = tfds.core.Version(record_index.version('mars'))


class Dukev(TrackletBuilder):
    """DukeMTMC-VideoReID (Wu et al., CVPR 2018), which its authors withdrew."""

    VERSION = tfds.core.Version(record_index.version('dukev'))


class Ilids(TrackletBuilder):
    """iLIDS-VID (Wang et al., ECCV 2014)."""

    VERSION = tfds.core.Version(record_index.version('ilids'))


class Prid(TrackletBuilder):
    """PRID-2011 (Hirzer et al., SCIA 2011)."""

    VERSION = tfds.core.Version(record_index.version('prid'))


class Lsvid(TrackletBuilder):
    """LS-VID (Li et al., ICCV 2019)."""

    VERSION = tfds.core.Version(record_index.version('lsvid'))


class Synthetic(TrackletBuilder):
    """The rendered benchmark."""

    VERSION = tfds.core.Version(record_index.version('synthetic'))
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=preset) for preset in render.PRESETS]


class Manifest(TrackletBuilder):
    """Tracklets of one's own, by a table; `manual_dir` is the table."""

    VERSION = tfds.core.Version(record_index.version('manifest'))
