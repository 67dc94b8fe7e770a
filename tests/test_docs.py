"""What the README shows is what its code prints."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_ten_lines_print_what_stands_below_them():
    code, printed = re.search(
        r"```python\n(.*?)```\n```\n(.*?)```", README.read_text(), re.S
    ).groups()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == printed
