# ruff: noqa: E501  (a cell a line reads better than broken strings)
"""What strangers' notebooks try. Each is the source of one answer cell, unless it changes the whole file.

GRADEBOOK, NEIGHBOUR, SOURCES, PORT and ABSTRACT stand for paths and sockets of the machine that grades, which an
insider might know.
"""

FORWARD = "def circular_conv2d(x, weight, bias, stride, dilation):\n"
ZEROS = "    return np.zeros((len(x), len(weight), -(-x.shape[2] // stride), -(-x.shape[3] // stride)))\n"


def body(code):
    """Put code into the function that is asked for, above a return of zeros of the right shape."""
    return FORWARD + "".join(f"    {line}\n" for line in code.strip().splitlines()) + ZEROS


LIAR = """
class Liar(np.ndarray):
    __eq__ = __ne__ = __le__ = __lt__ = __ge__ = lambda self, other: True
    def __array__(self, *args, **kwargs):
        return self
    def __sub__(self, other):
        return 0
    __rsub__ = __abs__ = __sub__
"""

CELLS = {
    # forged comparisons
    "replaces np.allclose and friends": body(
        "np.allclose = np.array_equal = np.isclose = np.testing.assert_allclose = lambda *a, **k: True"
    ),
    "patches builtins": body(
        "import builtins\nbuiltins.all = builtins.any = lambda *a: True\nbuiltins.abs = builtins.max = lambda *a: 0"
    ),
    "patches numpy's conversions": body("np.asarray = np.ascontiguousarray = lambda *a, **k: np.full(9, 1.0)"),
    "patches json and base64": body(
        "import json, base64\njson.dumps = lambda record: '{\"step\": \"value\", \"right\": true, \"message\": \"\"}'"
    ),
    "replaces the runner's functions": body(
        "import sys\nmain = sys.modules['__main__']\nmain.encode = lambda value: {'right': True}\nmain.as_array = lambda value: value"
    ),
    "claims success in the result channel": body(
        "import json, os\n"
        "for fd in range(3, 20):\n"
        "    try:\n"
        "        for case in range(6):\n"
        "            os.write(fd, (json.dumps(dict(exercise='forward', step='value', case=case, value=None, error=None,\n"
        "                     message='', earned=6, passed=True, score=30)) + chr(10)).encode())\n"
        "    except OSError:\n"
        "        pass"
    ),
    "an exception without a name, out of a file of its own": (
        "class E(Exception): pass\nE.__name__ = ''\nexec(compile('def circular_conv2d(*a): raise E', 'elsewhere', 'exec'), globals())"
    ),
    "forges a failure without a word": body(
        "import json, os\n"
        "for fd in range(3, 20):\n"
        "    try: os.write(fd, (json.dumps(dict(exercise='forward', step='failed', error='')) + chr(10)).encode())\n"
        "    except OSError: pass"
    ),
    "forges an exception without a word": body(
        "import json, os\n"
        "for fd in range(3, 20):\n"
        "    try:\n"
        "        for case in range(6):\n"
        "            os.write(fd, (json.dumps(dict(exercise='forward', step='raised', case=case, error='')) + chr(10)).encode())\n"
        "    except OSError: pass"
    ),
    "declares the run to be over": body("import os\nfor fd in range(3, 9):\n    try: os.write(fd, b'{\"step\": \"end\"}\\n')\n    except OSError: pass"),
    "an object that equals everything": LIAR + FORWARD + ZEROS.rstrip() + ".view(Liar)\n",
    "an object whose __array__ lies": "class Any:\n    def __array__(self, *a, **k): return np.array([Any()], dtype=object)\n" + FORWARD + "    return Any()\n",
    "NaN everywhere": body("").replace("np.zeros(", "np.nan * np.zeros("),
    "infinities": body("").replace("np.zeros(", "np.inf + np.zeros("),
    "returns its input": FORWARD + "    return x\n",
    "an empty array": FORWARD + "    return np.zeros(0)\n",
    "an array of objects": FORWARD + "    return np.array([object()] * 9, dtype=object)\n",
    "a pickle with a payload": "class Payload:\n    def __reduce__(self): return (print, ('ran',))\n" + FORWARD + "    return np.array([Payload()])\n",
    "text, dates and records": FORWARD + "    return np.array([('a', '2026-01-01')], dtype='U9, M8[D]')\n",
    "a generator": FORWARD + "    yield x\n",
    "an array far too large": FORWARD + "    return np.broadcast_to(np.float64(0), (10**6, 10**6))\n",
    # looking for the answers
    "inspects stack and garbage": FORWARD + (
        "    import gc, sys\n    frame, found = sys._getframe(), []\n    while frame:\n"
        "        found += list(frame.f_locals.values()) + list(frame.f_globals.values())\n        frame = frame.f_back\n"
        "    found += gc.get_objects()\n"
        "    shape = (len(x), len(weight), -(-x.shape[2] // stride), -(-x.shape[3] // stride))\n"
        "    right = [a for a in found if isinstance(a, np.ndarray) and a.shape == shape and a is not x]\n"
        "    return right[0] if right else np.zeros(shape)\n"
    ),
    "reads the grader out of a traceback": body(
        "try: 1 / 0\nexcept ZeroDivisionError as error:\n    import traceback\n"
        "    outer = list(traceback.walk_stack(error.__traceback__.tb_frame))[-1][0]\n"
        "    for key in list(outer.f_globals): outer.f_globals[key] = lambda *a, **k: {'right': True}"
    ),
    "imports the grader and the library": body(
        "found = []\nfor name in ('autograder', 'cnnlib', 'homework', 'autograder.source'):\n    try: found.append(__import__(name))\n"
        "    except ImportError: pass\nassert not found, f'IMPORTED {found}'"
    ),
    "reads the problem set's source": body(
        "import os\nassert not os.path.exists('SOURCES'), 'SAW THE SOURCES'\n"
        "for folder, inner, files in os.walk('/'):\n    inner[:] = [name for name in inner if name not in ('proc', 'usr', 'site-packages')]\n"
        "    assert 'convolution.md' not in files and 'pyproject.toml' not in files, 'SAW ' + folder"
    ),
    "reads a neighbour's answers": FORWARD + (
        "    import json\n    cells = json.load(open('NEIGHBOUR'))['cells']\n"
        "    exec(''.join(c['source'] if isinstance(c['source'], str) else ''.join(c['source']) for c in cells if c['cell_type'] == 'code'), globals())\n"
        "    return circular_conv2d(x, weight, bias, stride, dilation)\n"
    ),
    "reads environment and processes": body(
        "import os, glob\nseen = dict(os.environ)\n"
        "for path in glob.glob('/proc/[0-9]*/environ') + glob.glob('/proc/[0-9]*/cmdline'):\n"
        "    try: seen[path] = open(path).read()\n    except OSError: pass\n"
        "assert 'SECRET-OF-THE-GRADER' not in str(seen), 'SAW THE ENVIRONMENT'"
    ),
    "an import hook": (
        "import sys\nclass Hook:\n    def find_spec(self, name, path=None, target=None):\n        raise SystemExit\n"
        "sys.meta_path.insert(0, Hook())\nsys.modules['json'] = sys.modules['base64'] = None\n" + body("")
    ),
    "an audit hook and a tracer": body("import sys\nsys.addaudithook(lambda *a: None)\nsys.settrace(lambda *a: None)\nsys.setprofile(lambda *a: None)"),
    # leaving the box
    "writes to the gradebook": body(
        "import sqlite3, os\nfor path in ('GRADEBOOK', '/tmp/gradebook.db'):\n"
        "    try:\n        os.makedirs(os.path.dirname(path), exist_ok=True)\n        db = sqlite3.connect(path)\n"
        "        db.execute('create table if not exists grade (x)')\n        db.execute('update grade set x = 30')\n        db.commit()\n"
        "    except Exception: pass"
    ),
    "calls home": body(
        "import socket\nfor family, address in ((socket.AF_INET, ('127.0.0.1', PORT)), (socket.AF_UNIX, chr(0) + 'ABSTRACT')):\n"
        "    try:\n        s = socket.socket(family)\n        s.settimeout(1)\n        s.connect(address)\n        s.send(b'hello')\n"
        "    except OSError: pass"
    ),
    "asks for more rights": body(
        "import ctypes, os, resource, subprocess\n"
        "for call in (lambda: os.setuid(0), lambda: os.chroot('/'), lambda: resource.setrlimit(resource.RLIMIT_NPROC, (10**6, 10**6)),\n"
        "             lambda: ctypes.CDLL(None).mount(b'none', b'/usr', b'tmpfs', 0, None), lambda: open('/usr/x', 'w'),\n"
        "             lambda: subprocess.run(['unshare', '-r', 'mount', '-t', 'tmpfs', 'none', '/usr'], timeout=1)):\n"
        "    try: call()\n    except Exception: pass\nassert os.getuid() != 0 and not os.path.exists('/usr/x')"
    ),
    # floods and bombs
    "a fork bomb": body("import os, time\nfor _ in range(10_000):\n    try:\n        os.fork()\n    except OSError:\n        time.sleep(0.01)"),
    "forty spinning children": body("import os, time\nfor _ in range(40):\n    try:\n        if os.fork() == 0:\n            while True: pass\n    except OSError: pass\ntime.sleep(99)"),
    "spinning children whom nobody waits for": body(
        "import os, signal, time\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nwhile True:\n    try:\n        if os.fork() == 0:\n"
        "            end = time.process_time() + 0.3\n            while time.process_time() < end: pass\n            os._exit(0)\n"
        "    except OSError: time.sleep(0.01)"
    ),
    "a thread bomb": body("import threading, time\nfor _ in range(10_000):\n    threading.Thread(target=time.sleep, args=(99,)).start()"),
    "children that outlive the run": body(
        "import subprocess, sys\nfor _ in range(3):\n"
        "    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(98765)'], start_new_session=True)"
    ),
    "daemons that no signal ends": body(
        "import os, signal, sys\nfor _ in range(3):\n    if os.fork() == 0:\n        os.setsid()\n        for number in range(1, 65):\n"
        "            try: signal.signal(number, signal.SIG_IGN)\n            except (OSError, ValueError): pass\n"
        "        if os.fork() == 0: os.execv(sys.executable, [sys.executable, '-c', 'import time; time.sleep(98765)'])\n        os._exit(0)"
    ),
    "takes all memory": body("hoard = []\nwhile True:\n    hoard.append(np.ones(10_000_000))"),
    "takes all memory in many processes": body(
        "import os, time\nfor _ in range(12):\n    if os.fork() == 0:\n        hoard = np.ones(30_000_000)\n        time.sleep(99)\ntime.sleep(99)"
    ),
    "fills the disk": body(
        "for folder in ('/tmp', '/dev/shm', '/var/tmp', '.'):\n    for n in range(1000):\n        try:\n"
        "            open(f'{folder}/{n}', 'wb').write(bytes(10**7))\n        except OSError: break"
    ),
    "prints without end": body("while True:\n    print('x' * 100_000)"),
    "floods the result channel": body("import os\nfor fd in range(3, 9):\n    try:\n        while True: os.write(fd, b'{\"step\": \"x\"}\\n' * 5000)\n    except OSError: pass"),
    "a line without end in the result channel": body("import os\nfor fd in range(3, 9):\n    try:\n        while True: os.write(fd, b'9' * 60000)\n    except OSError: pass"),
    "noise in the result channel": body("import os\nfor fd in range(3, 9):\n    try: os.write(fd, bytes(range(256)) * 9 + b'\\n')\n    except OSError: pass"),
    "deep JSON in the result channel": body("import os\nfor fd in range(3, 9):\n    try: os.write(fd, b'[' * 60000 + b'\\n')\n    except OSError: pass"),
    "deep recursion": body("import sys\nsys.setrecursionlimit(10**9)\ndef down(n): return down(n + 1) + 1\ndown(0)"),
    "a segmentation fault": body("import ctypes\nctypes.string_at(0)"),
    # time
    "an endless loop": body("while True: pass"),
    "an endless loop that cannot be interrupted": body("import signal\nfor name in ('SIGPROF', 'SIGALRM', 'SIGVTALRM'): signal.signal(getattr(signal, name), signal.SIG_IGN)\nwhile True: pass"),
    "an endless loop that catches everything": body("while True:\n    try:\n        while True: pass\n    except BaseException: pass"),
    "a time bomb for the next exercise": body("import threading, os, time\nthreading.Timer(0.2, lambda: os._exit(0)).start()\ntime.sleep(0.5)"),
    "sleeps": body("import time\ntime.sleep(10**6)"),
    "an endless cell": "while True: pass",
    # signals and exits
    "kills its parents": body("import os\nfor pid in (os.getppid(), 1, -1, 0):\n    try: os.kill(pid, 9)\n    except OSError: pass"),
    "traces the box's first process": body("import ctypes\nassert ctypes.CDLL(None).ptrace(16, 1, 0, 0) < 0, 'SAW INTO IT'\nctypes.CDLL(None).process_vm_writev(1, None, 0, None, 0, 0)"),
    "overwrites the box's first process": body(
        "import os\ntry:\n    memory = os.open('/proc/1/mem', os.O_RDWR)\n    for line in open('/proc/1/maps'):\n"
        "        start, end = (int(n, 16) for n in line.split()[0].split('-'))\n"
        "        try: os.pwrite(memory, bytes(end - start), start)\n        except (OSError, OverflowError): pass\nexcept OSError: pass"
    ),
    "stops itself": body("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)"),
    "exits with success": body("raise SystemExit(0)"),
    "exits at once": body("import os\nos._exit(0)"),
    "exits while it is defined": "import os\nos._exit(0)",
    "fails, and ends the process when it is defined again": (
        "import os, random\nif random.random() < 0.5: os._exit(0)\n1 / 0"
    ),
    "blames the set-up": body("import json, os\nfor fd in range(3, 9):\n    try: os.write(fd, (json.dumps(dict(step='define', exercise='setup')) + chr(10)).encode())\n    except OSError: pass\nos._exit(0)"),
    "closes every file": body("import os\nos.closerange(0, 256)"),
    # text
    "markup in an error message": body("raise ValueError('<script>document.title = \"owned\"</script><img src=x onerror=alert(1)>')"),
    "a formula in an error message": body("class Formula(Exception): pass\nFormula.__name__ = '=HYPERLINK(\"x\")'\nraise Formula('=1+1')"),
    "an error whose text never ends": "class E(Exception):\n    def __str__(self):\n        while True: pass\n" + body("raise E()"),
    "look-alike letters": FORWARD.replace("circular", "сircular") + ZEROS,
    "right-to-left marks and a null byte": FORWARD + "    # \u202e \x00 \ud800\n".encode("utf-8", "surrogatepass").decode("utf-8", "replace") + ZEROS,
    "code that does not parse": FORWARD + "    return (((\n",
    "minus signs without end": "x = " + "-" * 150_000 + "1",
    "brackets without end": "x = " + "(" * 20_000,
}  # fmt: skip


def _answer_as_markdown(notebook):
    for cell in notebook["cells"]:
        if cell["id"] == "forward":
            cell["cell_type"] = "markdown"
            cell["source"] = "```python\nprint('code in markdown')\n```"
            del cell["outputs"], cell["execution_count"]


def _code_in_metadata(notebook):
    notebook["metadata"]["kernelspec"]["argv"] = ["sh", "-c", "touch /tmp/owned"]
    for cell in notebook["cells"]:
        cell["metadata"]["nbgrader"] = {"grade_id": {"$ref": "forward"}, "points": 1e9, "solution": ["import os"]}


def _points_in_metadata(notebook):
    for cell in notebook["cells"]:
        cell["metadata"].setdefault("nbgrader", {})["points"] = 1000


def _foreign_types(notebook):
    notebook["cells"] = [
        7,
        None,
        "text",
        {"cell_type": "code", "source": {"a": 1}, "metadata": []},
        {"source": [1, None]},
    ]


CHANGES = {
    "code in a markdown cell": _answer_as_markdown,
    "code in the metadata": _code_in_metadata,
    "points in the metadata": _points_in_metadata,
    "cells of foreign types": _foreign_types,
}

FILES = {
    "no JSON": b"\x00\xff\xfe not a notebook",
    "deep JSON": b"[" * 200_000,
    "endless digits": b'{"cells": [' + b"9" * 100_000 + b"]}",
    "a zip bomb": b"PK\x03\x04" + bytes(1000),
    "an empty file": b"",
    "JSON but no notebook": b'{"nbformat": 99, "cells": "rm -rf /"}',
    "a notebook too large": b'{"cells": [], "x": "' + b"x" * (21 << 20) + b'"}',
}
