"""Networks of PyTorch in .safetensors and .pth files, by spandrel, which knows their architectures by their weights."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from fluxvision.core.errors import InternalError, Unavailable
from fluxvision.engine.resample import Array

RGB = 3
MISSING = "Networks of PyTorch need an extra: pip install 'fluxvision[models]'."
UNFIT = "Networks of PyTorch need torch and torchvision of one build; those that are installed do not fit."


class TorchNetwork:
    """One network: (3, rows, columns) in 0..1 to (3, rows, columns)."""

    inputs = 1

    def __init__(self, path: Path, device: str = "cpu") -> None:
        """Load a file; of a .pth only tensors are read, no code.

        Raises `Unavailable` with a sentence where the extra is missing or the file is no network that can be used.
        """
        if find_spec("spandrel") is None:
            raise Unavailable(MISSING, param="engine")
        try:
            self._torch: Any = import_module("torch")
            spandrel: Any = import_module("spandrel")
        except (ImportError, RuntimeError) as cause:  # torchvision made for another torch is a RuntimeError
            raise Unavailable(UNFIT, param="engine") from cause
        try:
            if path.suffix == ".safetensors":
                weights = import_module("safetensors.torch").load_file(path)
            else:
                weights = self._torch.load(path, map_location="cpu", weights_only=True)
            model = spandrel.ModelLoader().load_from_state_dict(weights)
        except Exception as cause:  # a file may be damaged in every way
            raise Unavailable("The file is no network that spandrel knows.", param="engine") from cause
        if (getattr(model, "input_channels", 0), getattr(model, "output_channels", 0)) != (RGB, RGB):
            raise Unavailable("The network makes no picture of three colours of one.", param="engine")
        cuda = device != "cpu" and self._torch.cuda.is_available()
        self._place = self._torch.device("cuda" if cuda else "cpu")
        self.device = str(self._place)
        self._model = model.to(self._place).eval()

    def run(self, tile: Array) -> Array:
        """Run the network once; raises MemoryError when there is none, InternalError where it fails."""
        try:
            with self._torch.inference_mode():
                made = self._model(self._torch.from_numpy(np.ascontiguousarray(tile))[None].to(self._place))
        except RuntimeError as cause:
            if "out of memory" in str(cause).lower():
                raise MemoryError from cause
            raise InternalError("The engine's network failed.") from cause
        result: Array = np.ascontiguousarray(made[0].float().cpu().numpy())
        if not np.isfinite(result).all():
            raise InternalError("The engine's network failed.")
        return result
