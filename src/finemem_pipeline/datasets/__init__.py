"""Kedro datasets of this project. All save beside and rename, so a run that is killed leaves no half-written file."""

from finemem_pipeline.datasets.files import EpisodesDataset, JsonDataset, JsonLinesDataset, StreamSetsDataset

__all__ = ["EpisodesDataset", "JsonDataset", "JsonLinesDataset", "StreamSetsDataset"]
