"""The system calls that no program needs, as a compiled filter (seccomp BPF).

The filter is the second wall: namespaces, the missing capabilities and the user
already refuse most of these. It also closes what they leave open: new user
namespaces (the way to most kernel faults), sockets of every family, and memory that
no resource limit counts.
"""

from __future__ import annotations

import errno
import tempfile
from functools import cache

from stillroom.errors import EngineRefused

__all__ = ["compiled"]

_REFUSED = (
    *(
        "mount",
        "umount2",
        "pivot_root",
        "chroot",
        "move_mount",
        "open_tree",
        "fsopen",
        "fsmount",
        "fsconfig",
        "fspick",
        "mount_setattr",
    ),
    *("unshare", "setns", "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd"),
    *("socket", "connect", "bind", "listen", "accept", "accept4", "sendmmsg", "recvmmsg"),
    *("bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register"),
    *(
        "keyctl",
        "add_key",
        "request_key",
        "init_module",
        "finit_module",
        "delete_module",
        "kexec_load",
        "kexec_file_load",
    ),
    *(
        "reboot",
        "swapon",
        "swapoff",
        "quotactl",
        "quotactl_fd",
        "acct",
        "sethostname",
        "setdomainname",
        "settimeofday",
        "clock_settime",
        "adjtimex",
    ),
    *(
        "clock_adjtime",
        "open_by_handle_at",
        "name_to_handle_at",
        "fanotify_init",
        "lookup_dcookie",
        "syslog",
        "vhangup",
        "iopl",
        "ioperm",
    ),
    *("memfd_create", "memfd_secret", "shmget", "shmat", "shmctl", "semget", "msgget", "mq_open", "vmsplice", "tee"),
    *(
        "setpriority",
        "sched_setscheduler",
        "sched_setattr",
        "ioprio_set",
        "mbind",
        "set_mempolicy",
        "migrate_pages",
        "move_pages",
    ),
    *("personality", "nfsservctl", "uselib", "ustat", "sysfs", "_sysctl", "modify_ldt", "mknod", "mknodat"),
)

_NEW_NAMESPACES = 0x7E020000  # CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID and NET
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C  # type into somebody's terminal


@cache
def compiled() -> bytes:
    """Compile the filter for this machine: everything is allowed but what is listed here.

    Raises:
        EngineRefused: If libseccomp is not installed.
    """
    try:
        import pyseccomp  # type: ignore[import-untyped]
    except (ImportError, RuntimeError, OSError) as error:
        raise EngineRefused(
            f"the system-call filter cannot be made: {error}",
            mend="Install libseccomp (Debian: apt-get install libseccomp2) and pyseccomp.",
        ) from error
    refuse = pyseccomp.ERRNO(errno.EPERM)
    made = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    for name in _REFUSED:
        if _known(pyseccomp, name):
            made.add_rule(refuse, name)
    for bit in (1 << place for place in range(32) if _NEW_NAMESPACES >> place & 1):
        made.add_rule(refuse, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, bit, bit))
    made.add_rule(refuse, "prlimit64", pyseccomp.Arg(0, pyseccomp.GT, 0))  # the limits of another process
    # its flags lie in memory, where a filter cannot look; the C library falls back to clone
    made.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "clone3")
    for request in (_TIOCSTI, _TIOCLINUX):
        made.add_rule(refuse, "ioctl", pyseccomp.Arg(1, pyseccomp.MASKED_EQ, 0xFFFFFFFF, request))
    with tempfile.TemporaryFile() as file:
        made.export_bpf(file)
        file.seek(0)
        return file.read()


def _known(pyseccomp: object, name: str) -> bool:
    """Whether this version of libseccomp has heard of the call."""
    try:
        number: int = pyseccomp.resolve_syscall(pyseccomp.system_arch(), name)  # type: ignore[attr-defined]
    except (ValueError, OSError):
        return False
    return number >= 0
