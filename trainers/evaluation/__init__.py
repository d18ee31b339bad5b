"""Scores of reconstructed clips, the same for all models: what is measured, over which frames, and beside which baseline.

Imports no model. What a model reconstructs of a clip is in the `evaluate` module of its own folder.
"""
