# ruff: noqa: INP001 - a script run by make before anything is installed
"""Brings `.venv` up to date with `requirements.lock`: needs Python 3.11, and nothing else.

Finds uv or installs it with pip into a private folder, installs the locked packages by their hashes, then the members
of the workspace as editable. Does nothing when nothing has changed since the last time.
"""

import hashlib
import os
import shutil
import ssl
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
TOOLS = ROOT / ".multidb-tools"
STAMP = ENVIRONMENT / "multidb-installed"
UV = "uv>=0.9,<1"
OLDEST = (3, 11)


class CannotInstall(RuntimeError):
    """What is missing and what to do about it."""


def main() -> int:
    """Install what is needed; the exit code."""
    try:
        install()
    except CannotInstall as error:
        say(error)
        return 1
    return 0


def install() -> None:
    """Raises CannotInstall."""
    if sys.version_info < OLDEST:
        raise CannotInstall(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}: set PYTHON=python3.12")
    wanted = fingerprint()
    if PYTHON.exists() and STAMP.exists() and STAMP.read_text() == wanted:
        return
    uv = find_uv()
    if not _fits():
        say("making .venv")
        run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(ENVIRONMENT))
    STAMP.unlink(missing_ok=True)
    say("installing the locked packages")
    target = ["--quiet", "--python", str(PYTHON)]
    # sync, not install: what the lock no longer names would still be imported by accident
    run(uv, "pip", "sync", *target, "--compile-bytecode", "--require-hashes", str(ROOT / "requirements.lock"))
    run(
        uv,
        "pip",
        "install",
        *target,
        "--no-deps",
        *(word for member in members() for word in ("-e", str(ROOT / member))),
    )
    STAMP.write_text(wanted)


def fingerprint() -> str:
    """Changes with everything that decides what is installed."""
    files = [
        ROOT / "requirements.lock",
        ROOT / "pyproject.toml",
        *(ROOT / name / "pyproject.toml" for name in members()),
    ]
    digest = hashlib.sha256(f"{ROOT} {sys.version_info[:2]}".encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def members() -> list[str]:
    """The folders of the workspace."""
    workspace = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["workspace"]
    return list(workspace["members"])


def find_uv() -> str:
    """The uv on PATH, else one of our own. Raises CannotInstall."""
    own = TOOLS / "bin" / "uv"
    found = shutil.which("uv") or (str(own) if own.exists() else None)
    if found:
        return found
    say("installing uv into .multidb-tools")
    try:
        venv.create(TOOLS, with_pip=True, clear=True)
    except (subprocess.CalledProcessError, OSError) as error:
        shutil.rmtree(TOOLS, ignore_errors=True)
        raise CannotInstall(
            "This Python cannot make environments: install python3-venv, or uv, and run it again"
        ) from error
    run(str(TOOLS / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", UV)
    return str(own)


def run(*words: str) -> None:
    """Run a command; its own messages say what went wrong. Raises CannotInstall."""
    # the environment is ours, whatever is activated in this shell; no interpreter is fetched from elsewhere
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    environment["UV_PYTHON_DOWNLOADS"] = "never"
    trusted = ssl.get_default_verify_paths()
    if trusted.cafile or trusted.capath:
        environment.setdefault("UV_SYSTEM_CERTS", "1")  # as pip does; a company's proxy is not in uv's list
    if subprocess.run(words, check=False, cwd=ROOT, env=environment).returncode:  # noqa: S603 - our own commands
        raise CannotInstall(f"{Path(words[0]).name} failed: is the package registry reachable?")


def say(text: object) -> None:
    """A line for the person waiting."""
    sys.stderr.write(f"{text}\n")


def _fits() -> bool:
    """Whether `.venv` has the Python this runs on."""
    if not PYTHON.exists():
        return False
    code = "import sys; print(sys.version_info[:2])"
    ran = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603 - our own
    return ran.stdout.strip() == str(sys.version_info[:2])


if __name__ == "__main__":
    sys.exit(main())
