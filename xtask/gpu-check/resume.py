"""A training run that is killed and resumed ends with the same bits as one that is not."""

import hashlib
import pathlib
import signal
import subprocess
import tempfile
import time

import programs
from report import row


def digest(folder):
    """Of the checkpoints."""
    files = sorted(pathlib.Path(folder).glob("best*.safetensors"))
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def run(options):
    with tempfile.TemporaryDirectory() as folder:

        def arguments(out):
            return (
                "--data",
                options.cifar,
                "--model",
                "basic-4" if options.rehearse else "basic-16",
                "--train-size",
                6400 if options.rehearse else 20000,
                "--epochs",
                6,
                "--device",
                options.device,
                "--recovery-interval",
                5,
                "--out",
                f"{folder}/{out}",
                *([] if options.rehearse else ["--deterministic"]),
            )

        start = time.monotonic()
        programs.run(options, "topk-train", *arguments("whole"))
        whole = time.monotonic() - start
        kills = 0
        for share in (0.4, 0.6):
            process = subprocess.Popen(
                programs.command(options, "topk-train", *arguments("killed")),
                env=programs.environment(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                process.wait(share * whole)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
        programs.run(options, "topk-train", *arguments("killed"))
        row("kills", kills, bar=">= 1", passed=kills >= 1)
        same = digest(f"{folder}/whole") == digest(f"{folder}/killed") != []
        row("the checkpoints are the same to the bit", str(same), passed=same)
