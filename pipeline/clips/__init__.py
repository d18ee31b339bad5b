"""Build single clips, independent of Beam: read, track faces, measure, encode; suspects in an isolated process.

May import pipeline.sources and lower layers.
"""
