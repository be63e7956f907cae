"""The whole program on real pictures: the CPU engine, no network."""

import json
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
