"""Where units are built: the Beam graph, supervised local processes, a Dask cluster, other Beam runners; and progress.

Imports pipeline.shards and what lies below. The only room that imports Beam.
"""
