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

from jaxreid.data.datasets import catalogue
from jaxreid.data.datasets import facts as facts_lib

from . import build


class TrackletBuilder(dataset_builder.FileReaderBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Frames of tracklets, a record each; `data_pipelines.build` writes them, and why it does is told there."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = "The data set's folder; see docs/data.md."

    def __init__(self, *, file_format: Any = None, **kwargs: Any):
        """As TFDS has it; records are ArrayRecord files."""
        super().__init__(file_format=file_format or 'array_record', **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self, description=catalogue.find(self.name).layout, features=build.features()
        )

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


def _builder(facts: facts_lib.Facts) -> type[TrackletBuilder]:
    sizes = (
        {'BUILDER_CONFIGS': [tfds.core.BuilderConfig(name=preset) for preset in facts.presets]} if facts.presets else {}
    )
    about = {'__doc__': facts.about, '__module__': __name__, 'VERSION': tfds.core.Version(facts.version)}
    return type(facts.name.capitalize(), (TrackletBuilder,), about | sizes)


# Named after the data set: Mars, Dukev and so on. TFDS knows a builder from when its class is made.
globals().update({one.name.capitalize(): _builder(one) for one in catalogue.by_name().values()})
