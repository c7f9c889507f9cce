"""Measure what serving a model file costs on this CPU: parameters, multiply-adds, time, energy."""

import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from models.model_file.torchscript import load_module
from models.predictor import Predictor

PHOTO_PX = (864, 1152)
"""Height and width of a decoded photo: one megapixel."""
BATCH_SIZE = 16
ROUNDS, CALLS = 5, 10
"""Turns of each model, and calls with one photo per turn."""
POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Size:
    """Hold the costs that do not depend on the machine.

    Attributes:
        parameters: The network's.
        macs: Multiply-adds of the network for one photo at the side it is served at, without the
            resize before it, activations and pooling.
        file_bytes: Size of the model file.
    """

    parameters: int
    macs: int
    file_bytes: int


@dataclass(frozen=True)
class Speed:
    """Hold how long a model file takes for decoded photos.

    Attributes:
        latency_ms: Median over calls with one photo of PHOTO_PX, its resize included.
        latency_p95_ms: 95th percentile of the same calls.
        photos_per_second: From the median batch of BATCH_SIZE photos. They have the side that the
            network sees, since larger photos rarely share one size.
        joules_per_photo: Energy of the CPU packages, one photo at a time; None where unreadable.
    """

    latency_ms: float
    latency_p95_ms: float
    photos_per_second: float
    joules_per_photo: float | None


@dataclass(frozen=True)
class EnergyMeter:
    """Read the energy counters of the CPU packages; they count everything the machine does.

    Attributes:
        packages: Folders of Linux's powercap that can be read; empty on most machines, since
            kernels from 5.10 on let only root read the counters.
    """

    packages: tuple[Path, ...]

    @classmethod
    def find(cls, root: Path = POWERCAP) -> "EnergyMeter":
        """Find the counters that this process may read (AMD's are called intel-rapl, too)."""
        packages = []
        for folder in sorted(root.glob("intel-rapl:*")):
            try:
                # Others count a part of a package (core, uncore, dram), which would count twice.
                is_package = (folder / "name").read_text().startswith("package")
                int((folder / "energy_uj").read_text())
            except (OSError, ValueError):
                continue
            if is_package:
                packages.append(folder)
        return cls(tuple(packages))

    def read(self) -> list[int]:
        """Return the counters in microjoules, from an arbitrary start."""
        return [int((folder / "energy_uj").read_text()) for folder in self.packages]

    def joules_since(self, before: list[int]) -> float:
        """Return the energy spent since read(); a counter may have wrapped around once."""
        spent = 0
        for folder, first, last in zip(self.packages, before, self.read(), strict=True):
            # A counter starts over at max_energy_range_uj.
            spent += (last - first) % int((folder / "max_energy_range_uj").read_text())
        return spent / 1e6


def measure_size(predictor: Predictor) -> Size:
    """Count the network inside a model file."""
    network, side = load_module(predictor.path)[0].network, network_side_px(predictor)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        # It counts a multiply-add as two operations, and sees inside TorchScript.
        network(torch.zeros(1, 3, side, side))
    return Size(
        # Of the module as saved: a loaded Predictor is frozen and has no parameters left.
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        macs=counter.get_total_flops() // 2,
        file_bytes=predictor.path.stat().st_size,
    )


def measure_speed(
    predictors: Sequence[Predictor], meter: EnergyMeter, rounds: int = ROUNDS, calls: int = CALLS
) -> list[Speed]:
    """Time model files on the CPU with this process's threads.

    The models take turns, so that other work on the machine slows all of them alike.

    Args:
        predictors: M model files.
        meter: Read around the calls with one photo.
        rounds: Turns that count, after one for warming up; each ends with one batch.
        calls: Calls with one photo per turn.

    Returns:
        M results, in order.
    """
    generator = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return generator.integers(0, 256, shape, dtype=np.uint8)

    # Random pixels: what a photo shows does not change how long it takes.
    photo, sides = draw(3, *PHOTO_PX), [network_side_px(each) for each in predictors]
    squares = {side: draw(BATCH_SIZE, 3, side, side) for side in sides}
    singles = np.zeros((len(predictors), rounds, calls))
    batches = np.zeros((len(predictors), rounds))
    joules = np.zeros((len(predictors), rounds))
    turns = [(turn, model) for turn in range(-1, rounds) for model in range(len(predictors))]
    for turn, model in tqdm(turns, "timing", unit="turn", leave=False):
        before = meter.read()
        seconds = [time_call(predictors[model], photo) for _ in range(calls)]
        spent = meter.joules_since(before)
        batch_seconds = time_call(predictors[model], squares[sides[model]])
        if turn >= 0:
            singles[model, turn], batches[model, turn] = seconds, batch_seconds
            joules[model, turn] = spent
    return [
        Speed(
            latency_ms=1e3 * float(np.median(singles[model])),
            latency_p95_ms=1e3 * float(np.percentile(singles[model], 95)),
            photos_per_second=BATCH_SIZE / float(np.median(batches[model])),
            joules_per_photo=float(joules[model].mean() / calls) if meter.packages else None,
        )
        for model in range(len(predictors))
    ]


def network_side_px(predictor: Predictor) -> int:
    """Return the side of the square that the network sees."""
    return predictor.manifest["preprocess"]["crop_px"]


def time_call(predictor: Predictor, images: np.ndarray) -> float:
    """Return the seconds that one call takes."""
    started = time.perf_counter()
    predictor.probabilities(images)
    return time.perf_counter() - started


def name_cpu() -> str:
    """Return the CPU's name and how many threads torch uses."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model nam"))
    except (OSError, StopIteration):
        pass  # not Linux, or a CPU that does not say
    threads = torch.get_num_threads()
    return f"{name}, {threads} thread{'s' if threads > 1 else ''}"
