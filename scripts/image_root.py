"""Lays out the root of the image: `image_root.py ROOT ENVIRONMENT [PROGRAM…]`, in the build stage.

Takes a virtual environment, the interpreter it stands on, that one's standard library less what no
server needs, the programs named, and of the system only the shared libraries that these are linked
to, the certificates, and for each package what tells a scanner and a lawyer of it. Everything keeps
its path. Byte code is compiled here, since nobody can write any where the root is read-only.
"""

import compileall
import os
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

USER = 65532
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
UNUSED = re.compile(
    r"__pycache__|test|tests|idlelib|lib2to3|distutils|ensurepip|tkinter|turtledemo|turtle\.py"
    r"|pydoc_data|(site|dist)-packages|config-3.*|EXTERNALLY-MANAGED|sitecustomize\.py"
    r"|(_test|_xx|xx|_ctypes_test|_tkinter|_curses|readline|nis|_dbm|_gdbm).*\.so"
)
"""Names in the standard library. Debian's sitecustomize is a link into /etc; `nis` alone brings
Kerberos, `_dbm` Berkeley DB."""
UNLINKED = ("libgcc_s.so.1",)
"""What glibc opens by itself: a thread that is cancelled needs it."""


class Root:
    """The folder that becomes the image's root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.taken: set[Path] = set()
        root.mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib64"):  # links into /usr, where usr is merged
            if Path("/", name).is_symlink():
                (root / name).symlink_to(os.readlink(f"/{name}"))

    def take(self, path: Path, but: re.Pattern[str] | None = None) -> None:
        """Takes a file, a link and what it points to, or a folder; `but` names what is left out."""
        path = path.parent.resolve() / path.name
        if path in self.taken:
            return
        self.taken.add(path)
        there = self.root / path.relative_to("/")
        there.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            there.symlink_to(os.readlink(path))
            self.take(path.parent / os.readlink(path))
        elif path.is_dir():
            there.mkdir(exist_ok=True)
            for inside in sorted(path.iterdir()):
                if not (but and but.fullmatch(inside.name)):
                    self.take(inside, but)
        else:
            shutil.copy2(path, there)
            for library in linked(path):
                self.take(library)

    def write(self, name: str, text: str) -> None:
        """Writes a file that the base has another of."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def linked(path: Path) -> Iterator[Path]:
    """The shared libraries that a file needs, with the loader; none where it is no such file."""
    with path.open("rb") as file:
        if file.read(4) != b"\x7fELF":
            return
    told = subprocess.run(["ldd", str(path)], capture_output=True, text=True).stdout
    if "not found" in told:
        sys.exit(f"{path}: {told}")
    for found in re.findall(r"(/\S+) \(0x", told):
        yield Path(found)


def packages(taken: set[Path]) -> Iterator[str]:
    """The packages of the base that files were taken of. An older dpkg knows /lib, not /usr/lib."""
    names = {str(path) for path in taken if path.is_file()}
    names |= {name.removeprefix("/usr") for name in names}
    told = subprocess.run(
        ["dpkg-query", "-S", *sorted(names)], capture_output=True, text=True
    ).stdout
    owned = [line.rpartition(": ")[0] for line in told.splitlines()]
    known = {name.split(":")[0] for owners in owned for name in owners.split(", ")}
    yield from sorted(name for name in known if " " not in name)  # "diversion by libc6 from"


def tell_of(root: Root, name: str) -> None:
    """Its licence, and its entry where scanners of images without dpkg look for it."""
    licence = Path(f"/usr/share/doc/{name}/copyright")
    if licence.exists():
        root.take(licence)
    status = subprocess.run(["dpkg-query", "-s", name], capture_output=True, text=True, check=True)
    root.write(f"var/lib/dpkg/status.d/{name}", status.stdout)


def compile_all(root: Root, *folders: Path) -> None:
    """unchecked: neither the start nor an import looks at the source again."""
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    for folder in folders:
        there = root.root / folder.relative_to("/")
        if not compileall.compile_dir(
            there, quiet=1, invalidation_mode=mode, stripdir=str(root.root), workers=0
        ):
            sys.exit(f"{folder}: does not compile")


def main(target: str, environment: str, *programs: str) -> None:
    root = Root(Path(target))
    library = Path(sysconfig.get_path("stdlib"))
    root.take(Path(environment))
    root.take(Path(sys.executable))
    root.take(library, UNUSED)
    for program in programs:
        root.take(Path(shutil.which(program) or sys.exit(f"no {program}")))
    for multiarch in {path.parent for path in root.taken if path.name == "libc.so.6"}:
        for name in UNLINKED:
            root.take(multiarch / name)
    root.take(Path("/etc/ld.so.cache"))
    for name in list(packages(root.taken)):
        tell_of(root, name)
    root.take(CERTIFICATES)
    root.write("etc/passwd", f"holdfast:x:{USER}:{USER}::/var/lib/holdfast:/nonexistent\n")
    root.write("etc/group", f"holdfast:x:{USER}:\n")
    root.write("etc/nsswitch.conf", "hosts: files dns\n")
    compile_all(root, library, Path(environment))


if __name__ == "__main__":
    main(*sys.argv[1:])
