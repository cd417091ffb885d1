"""The side of the sandbox that lies inside. Imports the standard library alone; started by the back-ends.

Three kinds of process, the first two ours:

    warm     reads jobs from the parent and forks
    minder   process 1 of a new PID namespace, with new mount, IPC and UTS namespaces and a fresh folder
    program  no capabilities, a user of its own where we are root, resource limits, a system-call
             filter, no open files but its pipes, no /proc

When a minder ends, the kernel kills whatever is left in its namespace, and its mounts go with it.
"""
