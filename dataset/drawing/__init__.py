"""Images for people: overlays, contact sheets, and crops in their source frames.

Imports dataset.index; source_frames alone imports the pipeline.
"""
