"""How the example workflows are made: each is described once and written in both of ComfyUI's formats."""
