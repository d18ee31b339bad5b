"""Time, disk space and yield of a build, estimated from a stratified sample that is really built.

Imports pipeline.build and what lies below.
"""
