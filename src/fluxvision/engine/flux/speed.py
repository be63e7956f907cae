"""Which levers of speed are wished for. Each is pulled once, after loading, and only where the device has it.

Importable without torch; `levers` pulls them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Speed:
    """The levers that are wished for.

    Attributes:
        attention: the best attention kernel present. CUDA only.
        channels_last: the autoencoder's memory in the order its convolutions read. CUDA only.
        compile: the transformer's repeated blocks, compiled for each shape they meet: the first tile of a shape waits
            for that. CUDA with Triton and a C compiler only.
        graphs: a whole forward pass recorded and replayed as one launch, for each shape. Memory for each is kept.
            Only where blocks are compiled.
        fp8: the blocks' matrices in 8 bits. Half the memory; faster from compute capability 8.9 on. Changes results.
    """

    attention: bool = True
    channels_last: bool = True
    compile: bool = True
    graphs: bool = False
    fp8: bool = False


PLAIN = Speed(attention=False, channels_last=False, compile=False)
"""No lever at all."""
