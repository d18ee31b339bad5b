"""Build, rewrite and extend shards and their markers, on disk or in a bucket, and list the committed ones.

May import pipeline.clips and lower layers.
"""
