"""Runnable jobs around the data set: training, export, cluster templates."""
