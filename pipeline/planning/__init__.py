"""Assignment of clips to shards, checks of the corpus, and the versions that determine the bytes.

May import schemas and transforms only.
"""
