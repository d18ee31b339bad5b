"""Time, disk space and yield of a build, estimated by building a stratified sample of its clips.

May import pipeline.build and lower layers.
"""
