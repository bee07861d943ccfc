"""Archives: what is inside comes out, whatever they are packed with, and nothing gets outside of its folder."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import stat
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from sparse_ortho.data import archives
from sparse_ortho.data.archives import members, unpack
from sparse_ortho.errors import UserError

FILES = {"a/one.txt": b"one", "two.bin": bytes(range(256)) * 500, "a/b/empty": b"", "a/ä ö.txt": "ü".encode()}
KINDS = ["tar", "tar.gz", "tar.bz2", "tar.xz", "zip", "stored.zip"]


def tar(entries) -> bytes:
    """Entries are (name, content), or TarInfo."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry)
                continue
            info = tarfile.TarInfo(entry[0])
            info.size = len(entry[1])
            archive.addfile(info, io.BytesIO(entry[1]))
    return out.getvalue()


def zipped(entries, method=zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return out.getvalue()


def pack(kind, entries) -> bytes:
    if kind.endswith("zip"):
        return zipped(entries, zipfile.ZIP_STORED if kind == "stored.zip" else zipfile.ZIP_DEFLATED)
    packer = {"tar": bytes, "tar.gz": gzip.compress, "tar.bz2": bz2.compress, "tar.xz": lzma.compress}[kind]
    return packer(tar(entries))


def special(name, kind, link="") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def write(folder: Path, kind: str, content: bytes) -> Path:
    path = folder / f"a.{kind}"
    path.write_bytes(content)
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("kind", KINDS)
def test_members_are_what_was_packed_in_this_order(tmp_path, kind):
    path = write(tmp_path, kind, pack(kind, FILES.items()))
    assert list(members(path)) == list(FILES.items())


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_without_an_ending_is_enough(tmp_path, kind):
    """The bytes say what an archive is."""
    path = tmp_path / "archive"
    path.write_bytes(pack(kind, FILES.items()))
    assert dict(members(path)) == FILES


@pytest.mark.parametrize("kind", KINDS)
def test_only_wanted_members_are_read(tmp_path, kind):
    path = write(tmp_path, kind, pack(kind, FILES.items()))
    asked = []
    found = dict(members(path, lambda name: bool(asked.append(name)) or name == "two.bin"))
    assert found == {"two.bin": FILES["two.bin"]} and asked == list(FILES)


def test_folders_are_no_members_and_names_lose_their_leading_dot(tmp_path):
    path = write(
        tmp_path, "tar", tar([special("./", tarfile.DIRTYPE), special("./a", tarfile.DIRTYPE), ("./a/b", b"1")])
    )
    assert list(members(path)) == [("a/b", b"1")]
    path = write(tmp_path, "zip", zipped([("a/", b""), ("./a/b", b"1")]))
    assert list(members(path)) == [("a/b", b"1")]


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_in_an_archive(tmp_path, kind):
    path = write(tmp_path, "tar", tar([("inner", pack(kind, FILES.items()))]))
    ((name, content),) = members(path)
    assert dict(members(f"{path}: {name}", content=io.BytesIO(content))) == FILES
    with pytest.raises(UserError, match=r"a\.tar: inner: is not a complete"):
        list(members(f"{path}: {name}", content=io.BytesIO(content[: len(content) // 2])))


@pytest.mark.parametrize("kind", KINDS)
def test_unpacked_is_what_was_packed(tmp_path, kind):
    path = write(tmp_path, kind, pack(kind, FILES.items()))
    assert unpack(path, tmp_path / "out" / "here") == tmp_path / "out" / "here"
    assert tree(tmp_path / "out" / "here") == FILES
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [".here.lock", "here"]


def test_an_unpacked_folder_is_not_unpacked_again(tmp_path):
    path = write(tmp_path, "tar", tar(FILES.items()))
    unpack(path, tmp_path / "out")
    path.unlink()
    assert tree(unpack(path, tmp_path / "out")) == FILES


def test_what_a_killed_process_left_behind_is_cleared(tmp_path):
    (tmp_path / "out.part" / "a").mkdir(parents=True)
    (tmp_path / "out.part" / "a" / "one.txt").write_bytes(b"half")
    assert tree(unpack(write(tmp_path, "tar", tar(FILES.items())), tmp_path / "out")) == FILES
    assert not (tmp_path / "out.part").exists()


def test_several_unpack_at_once_and_all_get_everything(tmp_path):
    path = write(tmp_path, "tar.gz", pack("tar.gz", [(f"f{i}", bytes(1000)) for i in range(200)]))
    found = []

    def work():
        found.append(len(tree(unpack(path, tmp_path / "out"))))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [200] * 4


# --- what must not come out

OUTSIDE = [
    "/etc/evil",
    "../evil",
    "a/../../evil",
    "..",
    "a/..",
    "..\\evil",
    "a\\..\\..\\evil",
    "\\evil",
    "C:\\evil",
    "c:/evil",
]


def refused(path: Path, member: str, problem: str) -> None:
    """One sentence that names archive and member, and nothing is left, inside or outside."""
    before = {p for p in path.parent.rglob("*") if not p.name.endswith(".lock")}
    for action in (lambda: list(members(path)), lambda: unpack(path, path.parent / "deep" / "er" / "out")):
        with pytest.raises(UserError, match=problem) as error:
            action()
        assert str(path) in str(error.value) and repr(member) in str(error.value) and "\n" not in str(error.value)
    after = {p for p in path.parent.rglob("*") if not p.name.endswith(".lock")}
    assert after - before == {path.parent / "deep", path.parent / "deep" / "er"}


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
def test_a_member_that_leads_outside_is_refused(tmp_path, kind, name):
    refused(write(tmp_path, kind, pack(kind, [("good", b"1"), (name, b"2")])), name, "leads out of the folder")


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE],
    ids=["symlink", "hardlink", "character", "block", "fifo"],
)
@pytest.mark.parametrize("link", ["/etc/passwd", "../../etc/passwd", "good"])
def test_links_and_devices_are_refused(tmp_path, kind, link):
    path = write(tmp_path, "tar", tar([("good", b"1"), special("evil", kind, link), ("evil/inside", b"2")]))
    refused(path, "evil", "neither a file nor a folder")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO], ids=["symlink", "character", "fifo"])
def test_links_and_devices_in_a_zip_are_refused(tmp_path, kind):
    info = zipfile.ZipInfo("evil")
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    refused(
        write(tmp_path, "zip", zipped([("good", b"1"), (info, b"/etc/passwd")])), "evil", "neither a file nor a folder"
    )


def test_a_folder_that_leads_outside_is_refused(tmp_path):
    refused(write(tmp_path, "tar", tar([special("../evil", tarfile.DIRTYPE)])), "../evil", "leads out of the folder")


@pytest.mark.parametrize("second", ["a", "a/b", "A/../a"])
def test_two_members_of_one_name_do_not_overwrite_each_other(tmp_path, second):
    path = write(tmp_path, "tar", tar([("a", b"1"), (second, b"2")]))
    with pytest.raises(UserError, match="has the member"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.part").exists()


def test_unpacking_does_not_take_over_modes(tmp_path):
    info = tarfile.TarInfo("run")
    info.mode = 0o4777
    unpack(write(tmp_path, "tar", tar([info])), tmp_path / "out")
    assert os.stat(tmp_path / "out" / "run").st_mode & 0o7111 == 0


# --- what is no archive, or only a part of one


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.02, 0.4, 0.7, 0.999])
def test_a_cut_archive_is_refused(tmp_path, kind, share):
    content = pack(kind, [(f"f{i}", os.urandom(3000)) for i in range(20)])
    if kind == "tar":
        content = content.rstrip(b"\0")  # the end of a tar is padding, which may be missing
    path = write(tmp_path, kind, content[: int(share * len(content))])
    with pytest.raises(UserError, match=r"is not a complete tar or zip archive") as error:
        unpack(path, tmp_path / "out")
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.part").exists()


@pytest.mark.parametrize("kind", ["tar.gz", "tar.bz2", "tar.xz", "zip", "stored.zip"])
def test_a_changed_byte_is_seen(tmp_path, kind):
    content = bytearray(pack(kind, [("f", os.urandom(3000))]))
    content[len(content) // 2] ^= 1
    with pytest.raises(UserError, match="is not a complete tar or zip archive"):
        list(members(write(tmp_path, kind, bytes(content))))


def test_a_damaged_checksum_after_the_last_member_is_seen(tmp_path):
    content = bytearray(pack("tar.gz", FILES.items()))
    content[-6] ^= 1  # of the CRC-32 at the very end
    with pytest.raises(UserError, match="is not a complete"):
        list(members(write(tmp_path, "tar.gz", bytes(content))))


@pytest.mark.parametrize(
    "content", [b"", b"x", b"<html>not here</html>" * 100, gzip.compress(b"no tar" * 500, mtime=0), b"PK\3\4"]
)
def test_what_is_no_archive_is_refused(tmp_path, content):
    with pytest.raises(UserError, match="is not a complete tar or zip archive"):
        list(members(write(tmp_path, "tar", content)))


def test_an_archive_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.tar: cannot be read"):
        list(members(tmp_path / "nothing.tar"))


def test_an_encrypted_zip_is_refused(tmp_path):
    content = bytearray(zipped([("f", b"1" * 100)]))
    content[6] |= 1  # the flag in the local header, and in the directory at the end
    content[content.index(b"PK\1\2") + 8] |= 1
    with pytest.raises(UserError, match="encrypted"):
        list(members(write(tmp_path, "zip", bytes(content))))


def test_a_full_disk_is_not_blamed_on_the_archive(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(archives, "_write", full)
    with pytest.raises(UserError, match="no space left on the device"):
        unpack(write(tmp_path, "tar", tar(FILES.items())), tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.part").exists()


def test_a_fault_of_the_reader_is_not_blamed_on_the_archive(tmp_path):
    with pytest.raises(ValueError, match="mine"):
        for _ in members(write(tmp_path, "tar", tar(FILES.items()))):
            raise ValueError("mine")
