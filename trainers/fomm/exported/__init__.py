"""Exported graphs in place of the networks: export.json, the runtimes of ONNX and LiteRT, and what animations call.

Only `networks` imports torch.
"""
