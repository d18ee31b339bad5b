"""Runners: the Beam graph, supervised local processes, a Dask cluster, other Beam runners; and progress display.

May import pipeline.shards and lower layers. The only package that imports Beam.
"""
