"""Draws frames with landmarks, boxes, pose and action units, waveforms, and matplotlib figures of clips.

Must not import other packages of dataset.
"""
