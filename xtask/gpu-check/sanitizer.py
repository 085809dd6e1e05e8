"""compute-sanitizer over the kernels of all sizes and losses, where it is installed."""

import shutil
import subprocess
import sys

from report import row

TOOLS = ("memcheck", "racecheck", "synccheck")


def run(options):
    program = shutil.which("compute-sanitizer")
    if program is None or options.rehearse:
        row("compute-sanitizer", "not installed" if program is None else "needs a GPU")
        return
    for tool in TOOLS:
        command = [program, "--tool", tool, "--error-exitcode", "9", sys.executable]
        target = [__file__.replace("sanitizer.py", "all_kernels.py"), str(options.programs)]
        result = subprocess.run(command + target, capture_output=True, text=True)
        last = (result.stdout.strip().splitlines() or ["no output"])[-1].strip("= ")
        row(tool, last[:60], bar="0 errors", passed=result.returncode == 0)
