"""Programs that try to get out, to stay, or to take more than they were given.

Each writes ESCAPED where it got what it wanted. `{...}` is filled with what lies in
wait on the host: see `Bait`.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PROGRAMS", "Hostile"]


@dataclass(frozen=True)
class Hostile:
    """One program. `killed` names the limits of which one must end it; empty if it may end by itself."""

    name: str
    code: str
    killed: tuple[str, ...] = ()


def _tries(*lines: str) -> str:
    """Try each line by itself; whatever raises has failed."""
    head = "import os, sys, socket, ctypes, signal, struct, glob\nlibc = ctypes.CDLL(None, use_errno=True)\n"
    return head + "".join(
        f"try:\n    {line}\n    print('ESCAPED', {line!r})\nexcept BaseException as e:\n    print(type(e).__name__)\n"
        for line in lines
    )


def _reads(*paths: str) -> str:
    return _tries(*(f"open({path!r}, 'rb').read(1)" for path in paths))


def _calls(*calls: str) -> str:
    """Calls of the C library, of which a result of 0 or more is a success."""
    return _tries(*(f"assert {call} >= 0" for call in calls))


PROGRAMS = (
    # --- more than its share
    Hostile(
        "fork bomb",
        "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass\n",
        ("time", "cpu"),
    ),
    Hostile(
        "thread bomb",
        "import threading, time\nwhile True:\n    threading.Thread(target=time.sleep, args=(60,)).start()\n",
    ),
    Hostile("memory at once", "x = bytearray(8 << 30)\nprint('ESCAPED')\n"),
    Hostile("memory bit by bit", "x = []\nfor _ in range(2000):\n    x.append(bytearray(1 << 20))\nprint('ESCAPED')\n"),
    Hostile(
        "memory in many children",
        "import os, time\nfor _ in range(12):\n    if os.fork() == 0:\n        x = bytearray(100 << 20)\n        for i in range(0, len(x), 4096):\n            x[i] = 1\n        time.sleep(60)\ntime.sleep(60)\n",
        ("memory", "cpu", "time"),
    ),
    Hostile(
        "memory in unnamed files",
        "import os\nfds = [os.memfd_create(str(i)) for i in range(30)]\nfor fd in fds:\n    os.write(fd, bytes(8 << 20))\nprint('ESCAPED')\n",
    ),
    Hostile("memory in shared segments", _calls("libc.shmget(0, 1 << 28, 0o1600)")),
    Hostile("a number without end", "x = 3\nwhile True:\n    x = x * x\n", ("time", "cpu")),
    Hostile("sleep", "import time\ntime.sleep(1e6)\n", ("time",)),
    Hostile("busy loop", "while True:\n    pass\n", ("cpu", "time")),
    Hostile("busy children", "import os\nfor _ in range(3):\n    os.fork()\nwhile True:\n    pass\n", ("cpu", "time")),
    Hostile(
        "signals it will not hear",
        "import signal\nfor n in range(1, 65):\n    try:\n        signal.signal(n, signal.SIG_IGN)\n    except (OSError, ValueError):\n        pass\nwhile True:\n    pass\n",
        ("cpu", "time"),
    ),
    Hostile("endless output", "while True:\n    print('x' * 1000)\n", ("output",)),
    Hostile("endless errors", "import os\nwhile True:\n    os.write(2, b'y' * 65536)\n", ("output",)),
    Hostile(
        "output of a thousand colours", "import sys\nsys.stdout.buffer.write(bytes(range(256)) * 4000)\n", ("output",)
    ),
    Hostile("huge return value", "found = 'x' * 50_000_000\n"),
    Hostile("return value nested deeply", "found = []\nfor _ in range(100_000):\n    found = [found]\n"),
    Hostile(
        "return value that is code",
        "class Evil:\n    def __reduce__(self):\n        return print, ('ESCAPED',)\nfound = Evil()\n",
    ),
    Hostile(
        "pickle on the result channel",
        "import os, pickle\nclass Evil:\n    def __reduce__(self):\n        return os.system, ('touch {folder}/escaped',)\nfor fd in range(3, 64):\n    try:\n        os.write(fd, pickle.dumps(Evil()))\n    except OSError:\n        pass\n",
    ),
    Hostile(
        "forged answer frames",
        "import os, struct, json\nbody = json.dumps({'exit': 0, 'finished': True, 'stdout': 'ESCAPED'}).encode()\nfor fd in range(3, 256):\n    try:\n        os.write(fd, struct.pack('>I', len(body)) + body)\n    except OSError:\n        pass\nos._exit(0)\n",
    ),
    Hostile(
        "filling the folder",
        "with open('big', 'wb') as f:\n    for _ in range(4000):\n        f.write(bytes(1 << 20))\nprint('ESCAPED')\n",
    ),
    Hostile(
        "filling with many files",
        "import os\nfor i in range(100_000):\n    open(f'f{i}', 'w').close()\nprint('ESCAPED')\n",
    ),
    Hostile(
        "filling /dev/shm and /tmp",
        "n = 0\nfor place in ('/dev/shm', '/tmp', '/var/tmp', '/run'):\n    for i in range(20):\n        try:\n            with open(place + '/' + place.replace('/', '') + str(i), 'wb') as f:\n                for _ in range(12):\n                    n += f.write(bytes(1 << 20))\n        except OSError:\n            pass\nif n > 20 << 20:\n    print('ESCAPED', n)\n",
    ),
    Hostile(
        "open files without end",
        "fds = []\ntry:\n    while len(fds) < 5000:\n        fds.append(open('/dev/null'))\nexcept OSError:\n    pass\nif len(fds) > 100:\n    print('ESCAPED')\n",
    ),
    Hostile("crash of the interpreter", "import ctypes\nctypes.string_at(0)\n"),
    Hostile("stack overflow", "import sys\nsys.setrecursionlimit(10**9)\ndef f(n): return f(n + 1) + 1\nf(0)\n"),
    # --- what it must not see
    Hostile("secret file of the host", _reads("{secret}")),
    Hostile(
        "files of the system",
        _reads(
            "/etc/passwd",
            "/etc/shadow",
            "/etc/hostname",
            "/root/.bashrc",
            "/home",
            "/var/log/dpkg.log",
            "/boot",
            "/sys/kernel/notes",
        ),
    ),
    Hostile(
        "environment",
        "import os\nif 'STILLROOM_BAIT' in os.environ or any('{bait}' in v for v in os.environ.values()):\n    print('ESCAPED')\n",
    ),
    Hostile(
        "environment of other processes",
        "import glob\nfor p in glob.glob('/proc/*/environ'):\n    try:\n        if b'{bait}' in open(p, 'rb').read():\n            print('ESCAPED')\n    except OSError:\n        pass\n",
    ),
    Hostile(
        "own memory and maps by /proc",
        _reads(
            "/proc/self/mem",
            "/proc/self/maps",
            "/proc/1/root/etc/passwd",
            "/proc/self/root/etc/passwd",
            "/proc/1/cwd/x",
            "/proc/kcore",
            "/proc/keys",
            "/proc/net/tcp",
            "/proc/mounts",
        ),
    ),
    Hostile(
        "writing to /proc",
        _tries(
            "open('/proc/sys/kernel/core_pattern', 'w').write('|/bin/sh')",
            "open('/proc/sysrq-trigger', 'w').write('b')",
            "open('/proc/self/oom_score_adj', 'w').write('-1000')",
            "open('/proc/1/oom_score_adj', 'w').write('-1000')",
        ),
    ),
    Hostile(
        "symlinks out of the folder",
        "import os\nos.symlink('/etc/passwd', 'a')\nos.symlink('{secret}', 'b')\nos.symlink('/../../../..{secret}', 'c')\nfor n in 'abc':\n    try:\n        open(n).read()\n        print('ESCAPED')\n    except OSError as e:\n        print(e.errno)\n",
    ),
    Hostile(
        "hard links and paths upwards",
        _tries(
            "os.link('{secret}', 'x')",
            "open('../' * 30 + '{secret}'.lstrip('/')).read()",
            "os.open('{secret}', os.O_PATH)",
        ),
    ),
    Hostile(
        "inherited file descriptors",
        "import os\nfor fd in range(3, 1024):\n    try:\n        if os.fstat(fd):\n            os.lseek(fd, 0, 0)\n            if b'{bait}' in os.read(fd, 1000):\n                print('ESCAPED')\n    except OSError:\n        pass\n",
    ),
    Hostile(
        "open folders as a way out",
        "import os\nfor fd in range(3, 1024):\n    try:\n        os.open('..', os.O_RDONLY, dir_fd=fd)\n        print('ESCAPED')\n    except OSError:\n        pass\n",
    ),
    Hostile(
        "packages installed beside Python",
        "import importlib\nfor n in ('numpy', 'torch', 'dspy', 'stillroom', 'pip'):\n    try:\n        importlib.import_module(n)\n        print('ESCAPED', n)\n    except ImportError:\n        pass\n",
    ),
    Hostile(
        "memory of the warm interpreter",
        "import gc\nfor o in gc.get_objects():\n    if isinstance(o, dict) and '{bait}' in repr(list(o))[:100000]:\n        print('ESCAPED')\n",
    ),
    Hostile(
        "the program before it",
        "import os\nopen('left', 'w').write('x')\nopen('/tmp/left', 'w').write('x')\nopen('/dev/shm/left2', 'w').write('x')\nimport builtins\nbuiltins.left = 1\n",
    ),
    Hostile(
        "what the program before it left",
        "import os, builtins\nif os.listdir('/box') or os.listdir('/tmp') or os.listdir('/dev/shm') or hasattr(builtins, 'left'):\n    print('ESCAPED')\n",
    ),
    # --- what it must not reach
    Hostile(
        "TCP to the host",
        _tries(
            "socket.create_connection(('127.0.0.1', {port}), 1)",
            "socket.create_connection(('::1', {port}), 1)",
            "socket.create_connection(('192.0.2.1', 80), 1)",
        ),
    ),
    Hostile(
        "UDP and raw packets",
        _tries(
            "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {port}))",
            "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
            "socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)",
        ),
    ),
    Hostile("names of hosts", _tries("socket.getaddrinfo('example.com', 80)", "socket.gethostbyname('example.com')")),
    Hostile(
        "unix sockets by path and by name",
        _tries(
            "socket.socket(socket.AF_UNIX).connect('{unix}')",
            "socket.socket(socket.AF_UNIX).connect('\\0{bait}')",
            "socket.socket(socket.AF_UNIX).connect('/var/run/docker.sock')",
        ),
    ),
    Hostile(
        "netlink, vsock and other families",
        _tries(*(f"socket.socket({family}, 3 if {family} == 16 else 1)" for family in (16, 40, 38, 31, 29))),
    ),
    Hostile(
        "listening",
        _tries("socket.create_server(('0.0.0.0', 0))", "socket.create_server(('::', 0), family=socket.AF_INET6)"),
    ),
    Hostile(
        "the web",
        "import urllib.request\ntry:\n    urllib.request.urlopen('http://127.0.0.1:{port}/', timeout=1)\n    print('ESCAPED')\nexcept OSError as e:\n    print(e)\n",
    ),
    Hostile(
        "sockets by bare system calls",
        _calls(
            "libc.syscall(41, 2, 1, 0)",
            "libc.syscall(41, 1, 1, 0)",
            "libc.syscall(425, 8, ctypes.create_string_buffer(120))",
        ),
    ),
    # --- what it must not change
    Hostile(
        "writing outside the folder",
        _tries(
            *(
                f"open({path!r}, 'w')"
                for path in (
                    "/escaped",
                    "/usr/lib/escaped",
                    "/etc/escaped",
                    "/dev/escaped",
                    "/inside/escaped",
                    "/inside/warm.py",
                    "{folder}/escaped",
                    "/root/escaped",
                    "/proc/escaped",
                )
            )
        ),
    ),
    Hostile(
        "changing the Python it runs on",
        _tries(
            "open(os.__file__, 'a')",
            "os.chmod(os.__file__, 0o777)",
            "os.unlink(os.__file__)",
            "os.rename(os.path.dirname(os.__file__), '/box/x')",
            "os.utime(os.__file__)",
            "os.truncate(sys.executable, 0)",
            "open(sys.executable, 'r+b')",
        ),
    ),
    Hostile(
        "import hooks and cached bytecode",
        "import sys, os\nclass Finder:\n    def find_spec(self, *a):\n        return None\nsys.meta_path.insert(0, Finder())\nsys.dont_write_bytecode = False\nopen('json.py', 'w').write('x = 1')\nopen('sitecustomize.py', 'w').write('x = 1')\nimport py_compile, colorsys\ntry:\n    py_compile.compile(colorsys.__file__, cfile=os.path.dirname(os.__file__) + '/escaped.pyc', doraise=True)\n    print('ESCAPED')\nexcept OSError:\n    pass\n",
    ),
    Hostile(
        "mounting",
        _calls(
            "libc.mount(b'none', b'/box', b'tmpfs', 0, b'')",
            "libc.mount(b'proc', b'/proc', b'proc', 0, b'')",
            "libc.mount(b'', b'/', b'', 0x20 | 0x1000, b'')",
            "libc.umount2(b'/proc', 2)",
            "libc.umount2(b'/box', 2)",
        ),
    ),
    Hostile("chroot and pivot_root", _tries("os.chroot('/box')", "assert libc.syscall(155, b'/box', b'/box') >= 0")),
    Hostile(
        "new namespaces",
        _calls(
            "libc.unshare(0x10000000)",
            "libc.unshare(0x00020000)",
            "libc.setns(0, 0)",
            "libc.syscall(435, ctypes.create_string_buffer(88), 88)",
            "libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0)",
        ),
    ),
    Hostile(
        "becoming root",
        _tries(
            "os.setuid(0) if os.getuid() else 1 / 0",
            "os.setresuid(0, 0, 0) if os.getuid() else 1 / 0",
            "os.setgroups([0])",
            "os.chown('/box', 0, 0) if os.getuid() else 1 / 0",
        )
        + "if libc.prctl(23, 21, 0, 0, 0) == 1:\n    print('ESCAPED')\n",
    ),
    Hostile(
        "device nodes",
        _tries(
            "os.mknod('/box/sda', 0o60600, os.makedev(8, 0))",
            "os.mknod('/box/mem', 0o20600, os.makedev(1, 1))",
            "open('/dev/mem')",
            "open('/dev/kmsg')",
            "open('/dev/vda')",
            "open('/dev/fuse')",
            "open('/dev/kvm')",
            "open('/dev/tty')",
        ),
    ),
    Hostile(
        "programs with the set-user bit",
        "import os, shutil, sys\nshutil.copy(sys.executable, 'p')\nos.chmod('p', 0o6755)\ntry:\n    os.execv('./p', ['p', '-c', 'print(\"ESCAPED\")'])\nexcept OSError as e:\n    print(e)\n",
    ),
    Hostile(
        "a shell",
        _tries(
            "os.execv('/bin/sh', ['sh', '-c', 'echo ESCAPED'])",
            "assert os.system('id') == 0",
            "__import__('subprocess').run(['ls', '/'], check=True)",
        ),
    ),
    Hostile(
        "machine code of its own",
        "import ctypes, mmap\nm = mmap.mmap(-1, 4096, prot=7)\nm.write(b'\\xb8\\x27\\x00\\x00\\x00\\x0f\\x05\\xc3')\nf = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(m)))\nprint(f())\nm.seek(0)\nm.write(b'\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3')\nprint(f())\nprint('ESCAPED')\n",
    ),
    Hostile(
        "kernel interfaces",
        _calls(
            "libc.syscall(321, 0, ctypes.create_string_buffer(120), 120)",
            "libc.syscall(298, ctypes.create_string_buffer(120), 0, -1, -1, 0)",
            "libc.syscall(323, 0)",
            "libc.syscall(250, 0, 0)",
            "libc.syscall(246, 0, 0, 0, 0)",
            "libc.syscall(304, 0, 0, 0)",
            "libc.personality(0x0040000)",
            "libc.syscall(169, 0xfee1dead, 672274793, 0, 0)",
        ),
    ),
    # --- other processes
    Hostile(
        "signals to the parent and to all",
        "import os, signal\nfor pid in (os.getppid(), 1, {victim}, {parent}):\n    for number in range(1, 65):\n        try:\n            if pid not in (0, os.getpid()):\n                os.kill(pid, number)\n        except OSError:\n            pass\nimport time\ntime.sleep(0.1)\nif os.getppid() != 1:\n    print('ESCAPED')\nos.kill(-1, signal.SIGKILL)\n",
    ),
    Hostile(
        "signals to a group and a session",
        "import os, signal\nfor pgid in (0, {parent}, {victim}):\n    try:\n        signal.signal(signal.SIGTERM, signal.SIG_IGN)\n        os.killpg(pgid, signal.SIGTERM)\n    except OSError:\n        pass\n",
    ),
    Hostile(
        "ptrace",
        _calls(
            "libc.ptrace(16, os.getppid(), 0, 0)",
            "libc.ptrace(16, 1, 0, 0)",
            "libc.ptrace(16, {victim}, 0, 0)",
            "libc.ptrace(0, 0, 0, 0)",
        ),
    ),
    Hostile(
        "memory of other processes",
        _calls(
            "libc.process_vm_readv(1, ctypes.create_string_buffer(16), 1, ctypes.create_string_buffer(16), 1, 0)",
            "libc.syscall(438, libc.syscall(434, 1, 0), 0, 0)",
        ),
    ),
    Hostile(
        "limits of its own raised",
        _tries(
            "__import__('resource').setrlimit(9, (-1, -1))",
            "__import__('resource').setrlimit(6, (9999, 9999))",
            "__import__('resource').prlimit(1, 0, (1, 1))",
            "os.setpriority(0, 0, -20)",
            "os.sched_setscheduler(0, 1, os.sched_param(1))",
        ),
    ),
    Hostile(
        "a child that stays",
        "import os, time\nif os.fork() == 0:\n    while True:\n        time.sleep(1)\nprint('parent ends')\n",
    ),
    Hostile(
        "a daemon: two forks and a session",
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        for fd in range(64):\n            try:\n                os.close(fd)\n            except OSError:\n                pass\n        while True:\n            time.sleep(0.01)\n    os._exit(0)\ntime.sleep(0.1)\n",
    ),
    Hostile(
        "a child that holds the output open", "import os, time\nif os.fork() == 0:\n    time.sleep(1000)\nos._exit(0)\n"
    ),
    Hostile("stopping itself", "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\n", ("time",)),
    Hostile(
        "children faster than the killer",
        "import os\nwhile True:\n    try:\n        if os.fork():\n            os._exit(0)\n    except OSError:\n        pass\n",
    ),
)
