"""The pipeline as a live board: what each Stage runs and what waits, with a button for each verb."""

from labkit.pipeline.board import PipelineBoard, pipeline_board
from labkit.pipeline.state import Pipeline, StageView, pipeline_of, read_pipeline

__all__ = ["Pipeline", "PipelineBoard", "StageView", "pipeline_board", "pipeline_of", "read_pipeline"]
