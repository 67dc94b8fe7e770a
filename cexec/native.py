"""The C compilers of this machine, and what they are told."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec

from lego.task import SettingError, choose, require

COMPILERS = ("auto", "clang", "gcc", "tcc", "zig")  # auto takes the first that is there
TIMEOUT = 600  # seconds for a compiler
STRICT = ("-std=c11", "-Wall", "-Wextra", "-pedantic")
LOOSE = ("-std=c11", "-w")
TRAPS = "signed-integer-overflow,integer-divide-by-zero,shift,bounds"
SANITIZE = {
    "clang": (f"-fsanitize={TRAPS}", "-fsanitize-trap=all"),
    "gcc": (f"-fsanitize={TRAPS}", "-fsanitize-undefined-trap-on-error"),
    "zig": (f"-fsanitize={TRAPS}", "-fsanitize-trap=all"),
}
# What it takes to make a library: zig would build a C library to link with, and clang would stop
# at the twentieth error.
LIBRARY = ("-O0", "-fPIC", "-shared")
OWN = {
    "clang": ("-ferror-limit=0",),
    "zig": ("-ferror-limit=0", "-nostdlib", "-fno-sanitize=undefined"),
}


@dataclass(frozen=True)
class Compiler:
    """A C compiler: its name among COMPILERS, the command that calls it, and its version."""

    name: str
    command: tuple[str, ...]
    version: str


def find_compiler(name: str = "auto", sanitize: bool = False) -> Compiler:
    """The compiler of that name; ``auto``: clang, gcc or tcc where there is one, else zig's clang.

    ``sanitize``: only those that can trap undefined behaviour. Raises SettingError for an unknown
    name, a compiler that is not installed, or one that cannot do what is asked.
    """
    choose("compiler", name, COMPILERS)
    able = tuple(SANITIZE) if sanitize else COMPILERS[1:]
    require(name in ("auto", *able), "compiler", name, f"{', '.join(able)} for a sanitized check")
    for known in able if name == "auto" else (name,):
        if known == "zig" and find_spec("ziglang"):
            command = (sys.executable, "-m", "ziglang")
            version = f"zig cc {_version([*command, 'version'])}"
            return Compiler(known, (*command, "cc"), version)
        if known != "zig" and shutil.which(known):
            version = _version([known, "-v" if known == "tcc" else "--version"])
            return Compiler(known, (known,), version)
    raise SettingError(
        f"compiler={name!r}: allowed what is installed; "
        f"pip install 'lego-reasoning[zig]' brings one that needs no root"
    )


def _version(command: list[str]) -> str:
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT)
    return (run.stdout or run.stderr).splitlines()[0]
