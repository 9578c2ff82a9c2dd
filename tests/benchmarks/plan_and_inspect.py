"""What `plan` and `inspect` cost on a checkpoint of about 300 MB, beyond the imports: seconds and memory.

    python tests/benchmarks/plan_and_inspect.py

It writes a checkpoint of a wide DCGAN into a temporary folder, runs both commands in this process three times, and
prints the median time and the greatest growth of resident memory (mapped pages of the file included).
"""

import contextlib
import io
import statistics
import tempfile
import threading
import time
from pathlib import Path

import torch

from lit_gen.__main__ import main
from lit_gen.models.gan import GAN
from lit_gen.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from lit_gen.sampling import add_average

WIDTH = 190
CONFIG = """
model:
  class_path: GAN
  init_args:
    generator: {{class_path: DCGANGenerator, init_args: {{image_size: 64, channels: 3, width: {width}}}}}
    discriminator:
      class_path: DCGANDiscriminator
      init_args: {{image_size: 64, channels: 3, width: {width}, normalization: spectral}}
    max_images: 1000
data: {{class_path: ImageFolder, init_args: {{root: photographs, image_size: 64}}}}
trainer:
  callbacks:
    - {{class_path: LoadWeights, init_args: {{source: {source}}}}}
"""


def resident(key: str) -> float:
    """A line of /proc/self/status in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024


def measure(args: list[str]) -> tuple[float, float, float]:
    """Seconds, and growth in MB of all resident memory and of the part that is no file."""
    peaks, done = [0.0, 0.0], threading.Event()
    before = resident("VmRSS"), resident("RssAnon")

    def watch() -> None:
        while not done.is_set():
            for index, key in enumerate(("VmRSS", "RssAnon")):
                peaks[index] = max(peaks[index], resident(key) - before[index])
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        main(args)
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    return seconds, *peaks


def write(path: Path) -> None:
    model = GAN(DCGANGenerator(64, 3, width=WIDTH), DCGANDiscriminator(64, 3, width=WIDTH, normalization="spectral"))
    add_average(model, "generator")
    checkpoint = {"state_dict": model.state_dict()}
    model.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, path)


if __name__ == "__main__":
    import lit_gen.cli
    import lit_gen.rooms

    lit_gen.rooms.import_rooms()
    with tempfile.TemporaryDirectory() as folder:
        source, config = Path(folder) / "source.ckpt", Path(folder) / "config.yaml"
        write(source)
        config.write_text(CONFIG.format(width=WIDTH, source=source))
        small = Path(folder) / "nothing.safetensors"
        from safetensors.torch import save_file

        save_file({"a": torch.zeros(1)}, small)
        main(["inspect", "--ckpt_path", str(small)])  # the first call of any command imports what all of them need
        print(f"checkpoint: {source.stat().st_size / 1e6:.0f} MB")
        for name, args in (
            ("plan", ["plan", "--config", str(config)]),
            ("inspect", ["inspect", "--ckpt_path", str(source)]),
        ):
            runs = [measure(args) for _ in range(3)]
            seconds = statistics.median(run[0] for run in runs)
            print(f"{name}: {seconds:.2f} s, {max(r[1] for r in runs):.0f} MB more in all, "
                  f"{max(r[2] for r in runs):.0f} MB of it no file")  # fmt: skip
