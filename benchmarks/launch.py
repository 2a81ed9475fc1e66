"""Run a command, and write what it took to a descriptor: `python -I -S launch.py DESCRIPTOR COMMAND…`.

A process inherits its peak memory from the one that starts it: Linux notes that of the memory which ``exec`` leaves. So
the peak of a large benchmark would be told as that of each small program which it measures. This one is small.
"""

import os
import sys
import time

report = int(sys.argv[1])
os.set_inheritable(report, False)
start = time.perf_counter()
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(child, 0)
seconds = time.perf_counter() - start
os.write(report, f"{seconds} {usage.ru_utime + usage.ru_stime} {usage.ru_maxrss * 1024}".encode())
sys.exit(os.waitstatus_to_exitcode(status) % 256)
