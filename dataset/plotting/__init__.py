"""Draws frames with landmarks, boxes, pose and action units, waveforms, and matplotlib figures of clips.

Imports nothing of dataset/.
"""
