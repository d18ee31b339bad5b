"""Visualizations: contact sheets, animations, and crops in their source frames.

Imports dataset.index; only source_frames imports the pipeline.
"""
