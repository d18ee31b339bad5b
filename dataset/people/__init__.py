"""Who is in a dataset, by its face descriptors: `python -m dataset.people OUT`.

Imports dataset.reading, dataset.query, dataset.storage and schemas.
"""
