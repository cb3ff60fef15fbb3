"""What of a folder is sent to the daemon: its entries in order, without what the patterns leave out."""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import fsutil_pb2 as fsutil

# Type and permission bits of Go's os.FileMode, which the protocol uses.
GO_TYPES = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
    stat.S_IFREG: 0,
}
GO_BITS = {stat.S_ISUID: 1 << 23, stat.S_ISGID: 1 << 22, stat.S_ISVTX: 1 << 20}


def go_mode(mode: int) -> int:
    """The mode of stat(2) as Go's os.FileMode."""
    bits = sum(go for unix, go in GO_BITS.items() if mode & unix)
    return GO_TYPES[stat.S_IFMT(mode)] | bits | mode & 0o777


@lru_cache(maxsize=None)
def expression(pattern: str) -> re.Pattern[str]:
    """One pattern of a .dockerignore as an expression that a whole path, or a folder above it, has to match."""
    text, at = "", 0
    while at < len(pattern):
        if pattern.startswith("**/", at):
            text, at = text + "(?:.*/)?", at + 3
        elif pattern.startswith("**", at):
            text, at = text + ".*", at + 2
        elif pattern[at] in "*?":
            text, at = text + ("[^/]*" if pattern[at] == "*" else "[^/]"), at + 1
        elif pattern[at] == "[" and "]" in pattern[at:]:
            end = pattern.index("]", at) + 1
            text, at = text + pattern[at:end], end
        else:
            at += pattern[at] == "\\" and at + 1 < len(pattern)
            text, at = text + re.escape(pattern[at]), at + 1
    return re.compile(text + "(?:/.*)?")


@dataclass
class Filter:
    """Which paths are sent: those that `follow` leads to, without those that `exclude` ends up naming."""

    exclude: list[str]
    follow: list[str]

    def excluded(self, path: str) -> bool:
        out = False
        for pattern in self.exclude:
            kept = pattern.startswith("!")
            if out == kept and expression(pattern.removeprefix("!")).fullmatch(path):
                out = not kept
        return out

    def followed(self, path: str) -> bool:
        """Whether a path stands on the way to, at or below one that was asked for."""
        if not self.follow:
            return True
        names = path.split("/")
        for wanted in self.follow:
            parts = [part for part in wanted.split("/") if part not in ("", ".")]
            if all(expression(part).fullmatch(name) for part, name in zip(parts, names)):
                return True
        return False

    def may_hold_exceptions(self) -> bool:
        return any(pattern.startswith("!") for pattern in self.exclude)


def with_link_targets(root: str, follow: list[str]) -> list[str]:
    """The paths asked for, and where the symbolic links on the way to them lead within the folder."""
    todo, found = list(follow), []
    while todo:
        path = todo.pop()
        if path in found:
            continue
        found.append(path)
        names = [name for name in path.split("/") if name not in ("", ".")]
        for count in range(1, len(names) + 1):
            link = "/".join(names[:count])
            if os.path.islink(os.path.join(root, link)):
                target = os.path.join("/", os.path.dirname(link), os.readlink(os.path.join(root, link)))
                rest = names[count:]
                todo.append("/".join([os.path.normpath(target).lstrip("/"), *rest]))
                break
    return found


def entries(root: str, wanted: Filter) -> Iterator[fsutil.Stat]:
    """Every entry below a folder in the protocol's order: by name, a folder before what it holds."""
    links: dict[tuple[int, int], str] = {}

    def walk(folder: str) -> Iterator[fsutil.Stat]:
        for name in sorted(os.listdir(os.path.join(root, folder)), key=os.fsencode):
            path = f"{folder}/{name}" if folder else name
            if not wanted.followed(path):
                continue
            about = os.lstat(os.path.join(root, path))
            below = stat.S_ISDIR(about.st_mode)
            if wanted.excluded(path):
                # A later `!pattern` may bring back something in it; its folders then come along.
                inside = list(walk(path)) if below and wanted.may_hold_exceptions() else []
                if inside:
                    yield describe(path, about)
                    yield from inside
                continue
            yield describe(path, about)
            if below:
                yield from walk(path)

    def describe(path: str, about: os.stat_result) -> fsutil.Stat:
        # Owners are the client's own matter: what is sent belongs to root.
        entry = fsutil.Stat(path=path, mode=go_mode(about.st_mode), modTime=about.st_mtime_ns)
        if stat.S_ISLNK(about.st_mode):
            entry.linkname = os.readlink(os.path.join(root, path))
        elif stat.S_ISREG(about.st_mode):
            entry.size = about.st_size
            first = links.setdefault((about.st_dev, about.st_ino), path)
            if first != path:
                entry.linkname = first
        elif stat.S_ISCHR(about.st_mode) or stat.S_ISBLK(about.st_mode):
            entry.devmajor, entry.devminor = os.major(about.st_rdev), os.minor(about.st_rdev)
        return entry

    yield from walk("")
