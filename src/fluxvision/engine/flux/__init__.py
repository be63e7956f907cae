"""The FLUX engine: generative detail, tile by tile, on networks of diffusers and transformers."""
