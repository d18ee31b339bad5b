"""The life of one clip, without Beam: read, track faces, measure, encode; in a process of its own if it kills others.

Imports pipeline.sources and what lies below.
"""
