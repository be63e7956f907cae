"""The FLUX engine: generative detail, tile by tile, on networks that diffusers and transformers define."""
