"""The generation side: the diffusion transformer with its fusion layers, its context, the VAE."""
