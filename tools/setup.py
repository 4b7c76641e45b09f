"""Set up what `make` needs: `setup.py python` makes .venv, `setup.py system` adds the tests' Debian packages.

Runs on the machine's own python3 before anything is installed: the standard library only, and no syntax or
annotation that an old python3 could not even read, because it has to be able to say that it is too old.
A stamp, written last, says that a set-up is complete; without it .venv is made again from nothing.
"""

import ctypes
import fcntl
import glob
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
VENV_PYTHON = os.path.join(VENV, "bin", "python")
PIP_LOG = os.path.join(ROOT, "_build", "pip.log")
APT_INSTALL = "apt-get install -y --no-install-recommends"
LARGE_DOWNLOAD_MB = 20


class SetupError(Exception):
    """What stands in the way, and the line to type."""


def say(text):
    print("==> " + text, flush=True)


def main():
    os.chdir(ROOT)
    check_python()
    with open("requirements.txt") as lock:  # one set-up at a time, and none while an orphaned pip still writes
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("another set-up is at work here; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        {"python": set_up_python, "system": set_up_system}[sys.argv[1]](lock)


def check_python():
    if sys.version_info >= (3, 11):
        return
    newer = [name for name in ("python3.{}".format(minor) for minor in range(14, 10, -1)) if works(name)]
    name = newer[0] if newer else "python3.11"
    line = "" if newer else "sudo apt-get update && sudo apt-get install -y python3.11 python3.11-venv && "
    raise SetupError(
        "Python 3.11 or newer is needed, and {} is {}.{}; type:\n    {}make PYTHON={} book".format(
            sys.executable, sys.version_info[0], sys.version_info[1], line, name
        )
    )


# ---- the virtual environment ----


def set_up_python(lock):
    # what an editable install copies, and so has to be installed anew
    installed = ["pyproject.toml", *sorted(filter(os.path.isfile, glob.glob("lab/**", recursive=True)))]
    packages = digest("requirements.txt", "constraints.txt") + " " + sys.version.split()[0] + " " + ROOT
    if not (stamped("packages", packages) and works(VENV_PYTHON)):
        unstamp("packages", "cnnlib")
        make_venv()
        install_packages(lock)
        stamp("packages", packages)
        stamp("cnnlib", digest(*installed))
    metadata = digest(*installed)
    if not stamped("cnnlib", metadata):
        unstamp("cnnlib")
        say("installing cnnlib itself, from this folder")
        run_pip(lock, ["install", "--no-deps", "--no-build-isolation", "-e", "."])
        stamp("cnnlib", metadata)


def make_venv():
    try:
        import ensurepip  # noqa: F401 - Debian ships venv without it
    except ImportError:
        apt_install(["python{}.{}-venv".format(*sys.version_info[:2])])
    say("making the virtual environment .venv (Python {})".format(sys.version.split()[0]))
    run([sys.executable, "-m", "venv", "--clear", VENV])


def install_packages(lock):
    total = 0
    for path in ("requirements.txt", "constraints.txt"):
        with open(path) as file:
            total += sum(1 for line in file if "==" in line)
    say("installing {} pinned packages with pip; two to five minutes, log in _build/pip.log".format(total))
    run_pip(lock, ["install", "-r", "requirements.txt"], total)


def run_pip(lock, arguments, total=0):
    """Run pip, its full output in PIP_LOG and its progress here; the child keeps the lock should we be killed."""
    os.makedirs(os.path.dirname(PIP_LOG), exist_ok=True)
    command = [VENV_PYTHON, "-m", "pip", *arguments, "--disable-pip-version-check", "--no-input"]
    with open(PIP_LOG, "w") as log:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
            errors="replace",
            pass_fds=[lock.fileno()],
        )
        progress = Progress(total)
        for line in process.stdout:
            log.write(line)
            progress.show(line)
        progress.end()
    if process.wait() != 0:
        with open(PIP_LOG) as log:
            tail = "".join(log.readlines()[-15:])
        raise SetupError("pip failed (the whole log: _build/pip.log):\n" + tail)


class Progress:
    """One line that counts the packages on a terminal, a line now and then elsewhere."""

    def __init__(self, total):
        self.total = total
        self.found = 0
        self.terminal = sys.stdout.isatty()

    def show(self, line):
        words = line.split()
        download = re.match(r"\s*Downloading (\S+) \(([\d.]+) ([MG]B)", line)
        if not self.total or not words:
            return
        if words[0] in ("Collecting", "Processing"):  # the second where the file is already at hand
            self.found += 1
            if self.terminal or self.found % 40 == 0:
                self.put("{} of {} packages found".format(self.found, self.total))
        elif download and (download.group(3) == "GB" or float(download.group(2)) >= LARGE_DOWNLOAD_MB):
            name = download.group(1).rsplit("/", 1)[-1].split("-")[0]
            self.put("downloading {} ({} {})".format(name, download.group(2), download.group(3)))
        elif words[:2] == ["Installing", "collected"]:
            self.put("unpacking them, about a minute")

    def put(self, text):
        if self.terminal:
            sys.stdout.write("\r\033[K    " + text)
        else:
            sys.stdout.write("    " + text + "\n")
        sys.stdout.flush()

    def end(self):
        if self.terminal and self.total:
            print()


# ---- system packages for the tests ----


def set_up_system(lock):
    missing = missing_packages()
    if missing:
        apt_install(missing)
        missing = missing_packages()
    if missing:
        raise SetupError("still missing after the installation: " + " ".join(missing))
    if on_ubuntu() and not debian_browser():
        install_playwright_browser(lock)


def missing_packages():
    present = {
        "bubblewrap": shutil.which("bwrap"),
        "dataset-fashion-mnist": os.path.exists("/usr/share/datasets/fashion-mnist/t10k-labels-idx1-ubyte.gz"),
        "libseccomp2": loads("libseccomp.so.2"),
        "fonts-dejavu-core": glob.glob("/usr/share/fonts/truetype/*/*.ttf"),
    }
    if not on_ubuntu():
        present["chromium"] = debian_browser()
    return sorted(package for package, found in present.items() if not found)


def loads(library):
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def debian_browser():
    path = shutil.which("chromium")
    return path and not os.path.realpath(path).startswith("/snap/")


def on_ubuntu():
    """Whether `chromium` is a snap here, which no test can drive: Playwright's own build takes its place."""
    with open("/etc/os-release") as file:
        return "ID=ubuntu" in file.read().splitlines()


def install_playwright_browser(lock):
    where = "from playwright.sync_api import sync_playwright as s; p = s().start(); print(p.chromium.executable_path)"
    path = subprocess.check_output([VENV_PYTHON, "-c", where + "; p.stop()"], universal_newlines=True).strip()
    if not os.path.exists(path):
        say("installing Playwright's Chromium, since Ubuntu's is a snap")
        run([VENV_PYTHON, "-m", "playwright", "install", "--with-deps", "chromium"])


def apt_install(packages):
    if not shutil.which("apt-get"):
        raise SetupError("install with this system's package manager, then run make again: " + " ".join(packages))
    sudo = [] if os.getuid() == 0 else ["sudo", "-n"]
    if sudo and not (shutil.which("sudo") and subprocess.call(sudo + ["true"], stderr=subprocess.DEVNULL) == 0):
        line = "sudo apt-get update && sudo {} {}".format(APT_INSTALL, " ".join(packages))
        raise SetupError("these Debian packages are missing; type:\n    " + line)
    say("installing Debian packages: " + " ".join(packages))
    settings = ["env", "DEBIAN_FRONTEND=noninteractive"]
    options = ["-o", "DPkg::Lock::Timeout=300", "-q"]
    if subprocess.check_output(["dpkg", "--audit"]):  # an installation was interrupted here
        run(sudo + settings + ["dpkg", "--configure", "-a"])
    run(sudo + settings + ["apt-get", "update"] + options)
    run(sudo + settings + shlex.split(APT_INSTALL) + options + packages)


# ---- small things ----


def run(command):
    if subprocess.call(command) != 0:
        raise SetupError("this failed: " + " ".join(shlex.quote(word) for word in command))


def works(python):
    return bool(shutil.which(python)) and subprocess.call([python, "-c", ""], stderr=subprocess.DEVNULL) == 0


def digest(*paths):
    total = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            total.update(file.read())
    return total.hexdigest()


def stamp_path(name):
    return os.path.join(VENV, name + ".stamp")


def stamped(name, content):
    try:
        with open(stamp_path(name)) as file:
            return file.read() == content
    except FileNotFoundError:
        return False


def unstamp(*names):
    for name in names:
        if os.path.lexists(stamp_path(name)):
            os.unlink(stamp_path(name))


def stamp(name, content):
    with open(stamp_path(name) + ".new", "w") as file:
        file.write(content)
    os.replace(stamp_path(name) + ".new", stamp_path(name))


if __name__ == "__main__":
    try:
        main()
    except (SetupError, OSError) as error:
        sys.exit("set-up stopped: {}".format(error))
    except KeyboardInterrupt:
        sys.exit("set-up interrupted; the next make goes on from here")
