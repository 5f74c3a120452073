"""The nano world: pictures of shapes drawn by code, what is said about them, and a judge that measures pixels.

`lightfusion bench shapes` asks a model for such pictures. It needs scipy, which ComfyUI brings.
"""
