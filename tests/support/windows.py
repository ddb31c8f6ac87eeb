"""What Windows has not, taken away: the beginning of a program."""

# There is no fcntl, folders cannot be opened, and only what is open for writing can be synchronised with the disk.
# Locks are files there that Windows deletes with their process: that a killed process frees its locks is not pretended.
PRETENDED = """
import errno, fcntl, os, sys

def _open(path, *arguments, plain=os.open, is_folder=os.path.isdir, **more):
    if is_folder(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)
    return plain(path, *arguments, **more)

def _fsync(descriptor, plain=os.fsync, status=fcntl.fcntl, what=fcntl.F_GETFL):
    if status(descriptor, what) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "Bad file descriptor")
    plain(descriptor)

os.open, os.fsync = _open, _fsync
sys.modules |= dict.fromkeys(["fcntl", "resource", "pwd", "grp", "termios"])
"""
