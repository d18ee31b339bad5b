"""Inference with exported graphs: export.json, the runtimes of ONNX and LiteRT, and the networks of an animation.

Only `networks` imports torch.
"""
