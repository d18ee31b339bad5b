"""Batches from reading processes through shared memory to the device, ahead of the training step.

Imports dataset.stream and what lies below.
"""
