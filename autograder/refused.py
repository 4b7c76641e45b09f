"""What no answer ever needs, refused by the kernel: a seccomp filter, compiled by libseccomp.

What a process maps is counted (`autograder.sandbox`), and the box's folders have a size. What could hold memory beside
these is refused: files in memory, shared mappings without a file and System V's shared memory and messages, which live
on unmapped; sockets, pages given to a pipe and io_uring's rings, which the kernel keeps; and namespaces of one's own,
in which further folders in memory can be mounted. So is what reaches into other processes or deep into the kernel:
ptrace and its kin, keyrings, bpf, performance counters, page faults of one's own.
"""

import ctypes
import errno
import os
from functools import cache

LIBRARY = "libseccomp.so.2"
CALLS = (
    *("memfd_create", "memfd_secret", "shmget", "msgget", "semget"),
    *("socket", "socketpair", "vmsplice", "io_uring_setup", "unshare", "setns"),
    *("ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp"),
    *("keyctl", "add_key", "request_key", "bpf", "perf_event_open", "userfaultfd"),
)
SHARED_ANONYMOUS = 0x21  # MAP_SHARED | MAP_ANONYMOUS
NAMESPACES = 0x7E020000  # all of CLONE_NEW*: cgroup, uts, ipc, user, pid, net and mount

# <seccomp.h>
_ALLOW, _ERRNO, _MASKED_EQUAL = 0x7FFF0000, 0x00050000, 7


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operation", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


@cache
def program() -> bytes:
    """Return the filter as the kernel's own instructions, for `bwrap --seccomp`. Raises OSError without libseccomp."""
    library = ctypes.CDLL(LIBRARY)
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(_ALLOW)))

    def refuse(name: str, error: int, *where: _Comparison) -> None:
        number = library.seccomp_syscall_resolve_name(name.encode())
        conditions = (_Comparison * len(where))(*where)
        failed = library.seccomp_rule_add_array(
            context, ctypes.c_uint32(_ERRNO | error), number, len(where), conditions
        )
        if failed:
            raise OSError(-failed, f"{LIBRARY} has no rule for {name}: {os.strerror(-failed)}")

    try:
        for name in CALLS:
            refuse(name, errno.EPERM)
        for bit in range(32):
            flag = NAMESPACES & 1 << bit
            if flag:
                refuse("clone", errno.EPERM, _Comparison(0, _MASKED_EQUAL, flag, flag))
        refuse("mmap", errno.EPERM, _Comparison(3, _MASKED_EQUAL, SHARED_ANONYMOUS, SHARED_ANONYMOUS))
        refuse("clone3", errno.ENOSYS)  # its flags lie in memory, where no filter looks; the C library then calls clone
        with os.fdopen(os.memfd_create("seccomp"), "r+b") as file:
            failed = library.seccomp_export_bpf(context, file.fileno())
            if failed:
                raise OSError(-failed, f"{LIBRARY} compiled no filter")
            file.seek(0)
            return file.read()
    finally:
        library.seccomp_release(context)
