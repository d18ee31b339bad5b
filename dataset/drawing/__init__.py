"""Images for people: contact sheets, animations, and crops in their source frames.

Imports dataset.index; source_frames alone imports the pipeline.
"""
