"""LightFusion as ComfyUI's own types: MODEL, CLIP, VAE, CONDITIONING."""
