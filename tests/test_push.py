"""A corpus pushed by the real client of the hub, to a stand-in of the hub on this machine.

This shows what our client sends, that the corpus can be rebuilt from that alone, and what a user
is told when it fails. It does not show that the real hub accepts it: the stand-in answers as the
client's source expects, takes any card for valid, and speaks no xet, by which the client sends
large files to the real hub.
"""

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import datasets
import pytest

import lego.push
from lego.cli import main
from lego.task import SettingError

PUSH = """
import sys
from lego.command import exit_code
from lego.push import push
private = "--private" in sys.argv
sys.exit(exit_code("lego", lambda: print(push(*sys.argv[1:3], private=private)) or 0))
"""
TOKEN = "hf_of_the_stand_in"


class Hub(ThreadingHTTPServer):
    """The dataset repository someone/chains, as far as the client asks for it.

    ``mode``: how the hub wants parquet files: "regular", within the commit, or "lfs", before it.
    ``failures``: the end of a path -> the status with which it is answered.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.requests, self.created = [], []
        self.files, self.blobs = {}, {}
        self.mode, self.private, self.failures = "regular", False, {}

    def create(self, body):
        self.created.append(json.loads(body))
        return {"url": f"{self.url}/datasets/someone/chains"}

    def tree(self):
        return [
            {"type": "file", "path": path, "size": len(content), "oid": "0" * 40}
            for path, content in self.files.items()
        ]

    def preupload(self, body):
        paths = [file["path"] for file in json.loads(body)["files"]]
        modes = [self.mode if path.endswith(".parquet") else "regular" for path in paths]
        return {
            "files": [
                {"path": path, "uploadMode": mode, "shouldIgnore": False}
                for path, mode in zip(paths, modes, strict=True)
            ]
        }

    def batch(self, body):
        objects = json.loads(body)["objects"]
        for blob in objects:
            blob["actions"] = {"upload": {"href": f"{self.url}/blobs/{blob['oid']}"}}
        return {"objects": objects}

    def commit(self, body):
        header, *operations = map(json.loads, body.splitlines())
        assert header["key"] == "header" and header["value"]["summary"].startswith("chains, made")
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"], validate=True)
            elif operation["key"] == "lfsFile":
                self.files[value["path"]] = self.blobs[value["oid"]]
            else:
                assert operation["key"] == "deletedFile"
                del self.files[value["path"]]
        oid = "c" * 40
        return {"commitUrl": f"{self.url}/datasets/someone/chains/commit/{oid}", "commitOid": oid}


class Answer(BaseHTTPRequestHandler):
    def answer(self):
        hub, path = self.server, self.path.partition("?")[0]
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        hub.requests.append(f"{self.command} {path}")
        status, reply = 200, {}
        failing = [status for end, status in hub.failures.items() if path.endswith(end)]
        repo = "/api/datasets/someone/chains"
        match f"{self.command} {path}":
            case _ if failing:
                status, reply = failing[0], {"error": "as the test\nwants it"}
            case request if request.startswith("PUT /blobs/"):
                assert path == f"/blobs/{hashlib.sha256(body).hexdigest()}"
                hub.blobs[path.removeprefix("/blobs/")] = body
            case _ if self.headers["Authorization"] != f"Bearer {TOKEN}":
                status, reply = 401, {"error": "Invalid username or password."}
            case "POST /api/repos/create":
                reply = hub.create(body)
            case "POST /api/validate-yaml":
                reply = {"errors": [], "warnings": []}
            case request if request == f"GET {repo}":
                reply = {"id": "someone/chains", "private": hub.private}
            case request if request == f"GET {repo}/tree/main":
                reply = hub.tree()
            case request if request == f"POST {repo}/preupload/main":
                reply = hub.preupload(body)
            case "POST /datasets/someone/chains.git/info/lfs/objects/batch":
                reply = hub.batch(body)
            case request if request == f"POST {repo}/commit/main":
                reply = hub.commit(body)
            case _:
                status, reply = 404, {"error": f"the stand-in has no {path}"}
        content = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = answer

    def log_message(self, *args):
        pass


@pytest.fixture
def hub():
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def out(tmp_path):
    out = tmp_path / "corpus"
    arguments = ["--preset", "z2-n6", "--rows", "train=50,test=20", "--shard-rows", "30"]
    assert main(["make", "chains", str(out), *arguments, "--workers", "1"]) == 0
    return out


@pytest.fixture
def push(hub, tmp_path):
    """Run the command in a process of its own: the client reads its environment at import."""

    def run(*arguments, **environment):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
        settings = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "home")}
        settings |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "127.0.0.1"}
        return subprocess.run(
            [sys.executable, "-c", PUSH, *map(str, arguments)],
            env=kept | settings | environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def files(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def assert_refused(run, code, message):
    assert (run.returncode, run.stdout) == (code, ""), run.stderr
    assert run.stderr.startswith("lego: ") and run.stderr.count("\n") == 1, run.stderr
    assert message in run.stderr


@pytest.mark.parametrize("mode", ["regular", "lfs"])
def test_what_arrives_is_the_corpus_and_loads(hub, out, push, tmp_path, mode):
    made = files(out)
    for stray in (".journal.jsonl", "notes.txt", "z2-n6/.x.parquet", "z2-n6/train-x.parquet"):
        (out / stray).write_text("not of the corpus")
    hub.mode = mode
    run = push(out, "someone/chains", HF_HUB_DISABLE_XET="1" if mode == "lfs" else "0")
    assert run.returncode == 0, run.stderr
    assert run.stdout == f"{hub.url}/datasets/someone/chains/commit/{'c' * 40}\n"
    assert hub.created == [{"name": "chains", "organization": "someone", "type": "dataset"}]
    assert len(hub.blobs) == (3 if mode == "lfs" else 0)
    rebuilt = tmp_path / "rebuilt"
    for path, content in hub.files.items():
        (rebuilt / path).parent.mkdir(parents=True, exist_ok=True)
        (rebuilt / path).write_bytes(content)
    assert files(rebuilt) == made
    task = lego.load_task("chains", preset="z2-n6", seed=0)
    for split, count in (("train", 50), ("test", 20)):
        rows = datasets.load_dataset(
            str(rebuilt), "z2-n6", split=split, cache_dir=str(tmp_path / "cache")
        )
        assert rows[:] == task.table(task.sample(split, 0, count)).to_pydict()


def test_shards_of_an_earlier_push_do_not_become_rows_of_this_one(hub, out, push):
    kept = {".gitattributes": b"*.parquet filter=lfs", "z2-n12/test-00000-of-00001.parquet": b"2"}
    hub.files = {"z2-n6/train-00000-of-00009.parquet": b"1", "README.md": b"old", **kept}
    run = push(out, "chains")  # the owner is the token's
    assert run.returncode == 0, run.stderr
    assert hub.files == files(out) | kept


def test_private_means_private(hub, out, push):
    run = push(out, "someone/chains", "--private")
    assert_refused(run, 2, "REPO='someone/chains': allowed a new or private dataset")
    assert hub.created[0]["visibility"] == "private" and hub.files == {}
    hub.private = True
    run = push(out, "someone/chains", "--private")
    assert run.returncode == 0, run.stderr
    assert hub.files == files(out)


@pytest.mark.parametrize("damage", ["flipped", "missing", "no card", "no manifest"])
def test_of_a_damaged_corpus_nothing_is_sent(hub, out, push, damage):
    shard = out / "z2-n6" / "train-00001-of-00002.parquet"
    if damage == "flipped":
        content = bytearray(shard.read_bytes())
        content[len(content) // 2] ^= 1
        shard.write_bytes(content)
    lost = {"missing": shard, "no card": out / "README.md", "no manifest": out / "manifest.json"}
    if damage in lost:
        lost[damage].unlink()
    named = out if damage == "no manifest" else lost.get(damage, shard)
    run = push(out, "someone/chains")
    assert_refused(run, 2, f"{str(named)!r}: allowed a f")
    assert "'lego make'" in run.stderr
    assert hub.requests == []


@pytest.mark.parametrize("repo", ["a/b/c", "a b", "-a", "a--b", "", "a.git", "datasets/a/b"])
def test_a_name_of_another_form_is_refused(out, repo):
    with pytest.raises(SettingError, match=r"^REPO='.*': allowed name or owner/name, .*$"):
        lego.push.push(out, repo)


@pytest.mark.parametrize(
    ("failures", "environment", "code", "message"),
    [
        ({}, {"HF_TOKEN": "hf_wrong"}, 2, "the hub says 401 Invalid username or password."),
        ({"/commit/main": 403}, {}, 2, "the hub says 403 as the test wants it"),
        ({"/create": 500}, {}, 1, "push failed: the hub says 500 as the test wants it"),
        ({}, {"HF_HUB_OFFLINE": "1"}, 1, "offline mode is enabled"),
    ],
)
def test_a_failure_is_told_in_one_line(hub, out, push, failures, environment, code, message):
    hub.failures = failures
    assert_refused(push(out, "someone/chains", **environment), code, message)
    assert hub.files == {}


def test_a_hub_out_of_reach_is_told_in_one_line(hub, out, push):
    with Hub() as closed:
        pass
    run = push(out, "someone/chains", HF_ENDPOINT=closed.url)
    assert_refused(run, 1, "someone/chains: push failed: ")
    assert "Connection refused" in run.stderr


def test_without_a_token_nothing_is_sent(hub, out, push):
    run = push(out, "someone/chains", HF_TOKEN="")
    assert_refused(run, 2, "token=None: allowed the token from HF_TOKEN or 'hf auth login'")
    assert hub.requests == []
