"""Which clips are built in which shard, what is suspicious about the corpus, and which versions decide the bytes.

Imports schemas and transforms only.
"""
