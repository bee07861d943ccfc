"""Downloads against a server that fails in every way a mirror can: only the right bytes get the file's name."""

from __future__ import annotations

import errno
import hashlib
import http.server
import threading

import pytest

from sparse_ortho.data import sources
from sparse_ortho.data.sources import fetch
from sparse_ortho.errors import UserError

CONTENT = bytes(i * 7 % 251 for i in range(100_000))
NAME = "a.bin"


class Server(http.server.ThreadingHTTPServer):
    seen: list[tuple[str, str | None]]


class Handler(http.server.BaseHTTPRequestHandler):
    """The first part of the path says how to misbehave."""

    def do_GET(self):
        how = self.path.split("/")[1]
        asked = self.headers.get("Range")
        self.server.seen.append((how, asked))  # pyright: ignore[reportAttributeAccessIssue]
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and how != "norange" else 0
        body, announced = CONTENT[start:], len(CONTENT) - start
        if how == "missing":
            return self.send_error(404)
        if how == "strict" and start >= len(CONTENT):
            return self.send_error(416)
        if how in ("wrong", "silentlywrong"):
            body = bytes(len(body))
        if how == "short":
            body, announced = body[:500], 500
        if how == "long":
            body, announced = body + b"more", announced + 4
        if how == "cut":
            body = body[:30_000]
        if how == "liar":
            announced -= 10
        if how == "boaster":
            announced += 10
        self.send_response(206 if start else 200)
        if start:
            begin = start + 1 if how == "otherrange" else start
            self.send_header("Content-Range", f"bytes {begin}-{len(CONTENT) - 1}/{len(CONTENT)}")
        if how not in ("endless", "silent", "silentlywrong"):
            self.send_header("Content-Length", str(announced))
        self.end_headers()
        self.wfile.write(body * 3 if how == "endless" else body)

    def log_message(self, format, *args):
        pass


@pytest.fixture
def server():
    server = Server(("127.0.0.1", 0), Handler)
    server.seen = []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def source(server, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    def make(*ways):
        mirrors = tuple(f"http://127.0.0.1:{server.server_port}/{way}/" for way in ways)
        return {"sha256": hashlib.sha256(CONTENT).hexdigest(), "bytes": len(CONTENT), "mirrors": mirrors}

    return make


def left(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_a_good_mirror_gives_the_file_once(server, source, tmp_path):
    for _ in range(2):
        assert fetch(NAME, source("good"), [], tmp_path / "cache").read_bytes() == CONTENT
    assert server.seen == [("good", None)] and left(tmp_path / "cache") == [NAME]


def test_a_mirror_that_announces_no_length_is_fine(source, tmp_path):
    assert fetch(NAME, source("silent"), [], tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("bad", ["missing", "wrong", "short", "long", "liar", "endless"])
def test_the_next_mirror_is_asked(server, source, tmp_path, bad):
    assert fetch(NAME, source(bad, "good"), [], tmp_path).read_bytes() == CONTENT
    assert server.seen == [(bad, None), ("good", None)] and left(tmp_path) == [NAME]


def test_a_mirror_that_is_down_is_passed_over(source, tmp_path):
    good = source("good")
    down = good | {"mirrors": ("http://127.0.0.1:9/", *good["mirrors"])}
    assert fetch(NAME, down, [], tmp_path).read_bytes() == CONTENT


def test_a_cut_download_is_continued_by_the_next_mirror(server, source, tmp_path):
    assert fetch(NAME, source("cut", "good"), [], tmp_path).read_bytes() == CONTENT
    assert server.seen == [("cut", None), ("good", "bytes=30000-")]


def test_a_cut_download_is_continued_by_the_next_process(server, source, tmp_path):
    with pytest.raises(UserError, match=r"30,000 of 100,000 bytes"):
        fetch(NAME, source("cut"), [], tmp_path)
    assert left(tmp_path) == [NAME + ".part"]
    assert fetch(NAME, source("good"), [], tmp_path).read_bytes() == CONTENT
    assert server.seen[-1] == ("good", "bytes=30000-")


@pytest.mark.parametrize("way", ["norange", "good"])
@pytest.mark.parametrize("kept", [CONTENT[:40_000], b"x" * 40_000, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 1)])
def test_whatever_was_left_behind_the_file_is_right(source, tmp_path, way, kept):
    (tmp_path / (NAME + ".part")).write_bytes(kept)
    assert fetch(NAME, source(way), [], tmp_path).read_bytes() == CONTENT


def test_a_complete_part_needs_no_request(server, source, tmp_path):
    (tmp_path / (NAME + ".part")).write_bytes(CONTENT)
    assert fetch(NAME, source("good"), [], tmp_path).read_bytes() == CONTENT
    assert server.seen == []


def test_another_range_than_asked_for_is_not_appended(source, tmp_path):
    (tmp_path / (NAME + ".part")).write_bytes(CONTENT[:40_000])
    assert fetch(NAME, source("otherrange", "good"), [], tmp_path).read_bytes() == CONTENT


def test_a_damaged_cache_is_replaced(source, tmp_path):
    (tmp_path / NAME).write_bytes(CONTENT[:-1] + b"!")
    assert fetch(NAME, source("good"), [], tmp_path).read_bytes() == CONTENT


def test_when_all_fail_one_sentence_lists_what_was_tried(source, tmp_path):
    bad = source("missing", "wrong", "short")
    with pytest.raises(UserError) as error:
        fetch(NAME, bad, [], tmp_path)
    text = str(error.value)
    assert all(mirror + NAME in text for mirror in bad["mirrors"])
    assert "404" in text and "SHA-256" in text and "announced 500 bytes" in text
    assert "SPARSE_ORTHO_DATA" in text and "\n" not in text
    assert left(tmp_path) == []


def test_a_full_disk_is_not_blamed_on_the_mirrors(server, source, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sources, "copy", full)
    with pytest.raises(UserError, match="no space left on the device"):
        fetch(NAME, source("good", "good"), [], tmp_path)
    assert len(server.seen) == 1


# --- files of which only an MD5 is published, and no size


@pytest.fixture
def md5(source):
    def make(*ways):
        return {"md5": hashlib.md5(CONTENT).hexdigest(), "mirrors": source(*ways)["mirrors"]}

    return make


@pytest.mark.parametrize("good", ["good", "silent", "norange"])
def test_without_a_size_the_digest_decides(md5, tmp_path, good):
    assert fetch(NAME, md5(good), [], tmp_path).read_bytes() == CONTENT and left(tmp_path) == [NAME]


@pytest.mark.parametrize("bad", ["missing", "wrong", "short", "long", "liar", "silentlywrong"])
def test_without_a_size_the_next_mirror_is_asked(server, md5, tmp_path, bad):
    assert fetch(NAME, md5(bad, "good"), [], tmp_path).read_bytes() == CONTENT
    assert server.seen == [(bad, None), ("good", None)] and left(tmp_path) == [NAME]


def test_without_a_size_a_cut_download_is_continued(server, md5, tmp_path):
    with pytest.raises(UserError, match=r"30,000 of 100,000 bytes"):
        fetch(NAME, md5("cut"), [], tmp_path)
    assert left(tmp_path) == [NAME + ".part"]
    assert fetch(NAME, md5("good"), [], tmp_path).read_bytes() == CONTENT
    assert server.seen == [("cut", None), ("good", "bytes=30000-")]


def test_without_a_size_more_announced_than_there_is_does_no_harm(server, md5, tmp_path):
    assert fetch(NAME, md5("boaster"), [], tmp_path).read_bytes() == CONTENT
    assert server.seen == [("boaster", None)]


@pytest.mark.parametrize("way", ["norange", "good", "strict"])
@pytest.mark.parametrize("kept", [CONTENT[:40_000], b"x" * 40_000, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 1)])
def test_without_a_size_whatever_was_left_behind_the_file_is_right(md5, tmp_path, way, kept):
    (tmp_path / (NAME + ".part")).write_bytes(kept)
    assert fetch(NAME, md5(way), [], tmp_path).read_bytes() == CONTENT and left(tmp_path) == [NAME]


def test_without_a_size_a_complete_part_needs_no_request(server, md5, tmp_path):
    (tmp_path / (NAME + ".part")).write_bytes(CONTENT)
    assert fetch(NAME, md5("good"), [], tmp_path).read_bytes() == CONTENT
    assert server.seen == []


def test_without_a_size_a_damaged_cache_is_replaced_and_a_right_one_kept(server, md5, tmp_path):
    (tmp_path / NAME).write_bytes(CONTENT[:-1])
    for _ in range(2):
        assert fetch(NAME, md5("good"), [], tmp_path).read_bytes() == CONTENT
    assert len(server.seen) == 1


def test_when_all_fail_the_md5_is_named(md5, tmp_path):
    with pytest.raises(UserError) as error:
        fetch(NAME, md5("missing", "wrong"), [], tmp_path)
    text = str(error.value)
    assert "404" in text and f"gave MD5 {hashlib.md5(bytes(len(CONTENT))).hexdigest()}" in text
    assert left(tmp_path) == []
