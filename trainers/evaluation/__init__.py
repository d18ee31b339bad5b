"""Evaluation of reconstructed clips, the same for all models: metrics, choice of frames, and baseline.

Imports no model. How a model reconstructs a clip is in the `evaluate` module of its package.
"""
