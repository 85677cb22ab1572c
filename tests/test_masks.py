"""Run lengths, boxes, suppression, regions and outlines against brute force and pycocotools."""

import sys
import types

import mlx.core as mx
import numpy as np
import pytest
import torch

from sam_mlx import masks as M
from tests.references import segment_anything

amg = segment_anything.utils.amg
