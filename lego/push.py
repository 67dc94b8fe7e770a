"""Publish a finished corpus as a dataset on the Hugging Face hub."""

from __future__ import annotations

import contextlib
import glob
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi

# HTTPError is the base of what its HTTP library raises: httpx or httpx2, as its version has it.
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalTokenNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from lego.corpus import CARD, CERTIFICATE, MANIFEST, digest, read_manifest, shards
from lego.task import SettingError, require

TOKEN = "the token from HF_TOKEN or 'hf auth login'"
REFUSALS = (400, 401, 402, 403, 404)  # that another REPO or token can mend; the rest may pass


def push(folder: str | Path, repo: str, private: bool = False) -> str:
    """Send the card, manifest and shards of a corpus to a dataset repository; returns its commit.

    ``repo``: ``name`` or ``owner/name``, made if it does not exist. Shards of an earlier push that
    the card would read as rows of this one are deleted; other files there stay. The result is the
    commit's URL. A push that was cut off is made whole by another.

    Raises SettingError, with nothing sent, when the folder is no whole corpus, ``repo`` is no such
    name or there is no token; SettingError when the hub refuses the name or the token, or when a
    repository that must be private exists and is public; OSError when the hub is out of reach or
    fails.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    try:
        validate_repo_id(repo)
    except HFValidationError:
        require(False, "REPO", repo, "name or owner/name, of letters, digits and single -, _ or .")
    _require_whole(folder, manifest)
    with _errors_in_one_line(repo):
        return _send(folder, manifest, repo, private)


def _require_whole(folder: Path, manifest: dict[str, Any]) -> None:
    mends = "'lego make' with the settings of this corpus mends it"
    require((folder / CARD).is_file(), "card", str(folder / CARD), f"a file; {mends}")
    for _, _, shard in shards(manifest):
        path = folder / shard["file"]
        whole = path.is_file() and digest(path) == shard["sha256"]
        require(whole, "shard", str(path), f"a file with its digest in {MANIFEST}; {mends}")


def _send(folder: Path, manifest: dict[str, Any], repo: str, private: bool) -> str:
    api = HfApi(token=True)  # True: fail here, not at the hub, when there is no token
    # None leaves it to the owner, whose repositories may be private unless told otherwise.
    made = api.create_repo(repo, repo_type="dataset", private=private or None, exist_ok=True)
    if private:  # which an existing repository does not become
        held = api.dataset_info(made.repo_id).private
        require(held, "REPO", repo, "a new or private dataset with --private; this one is public")
    ours = {shard["file"] for _, _, shard in shards(manifest)}
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet")}
    commit = api.upload_folder(
        repo_id=made.repo_id,
        repo_type="dataset",
        folder_path=folder,
        commit_message=f"{manifest['task']}, made by lego {manifest['version']}",
        allow_patterns=[CARD, MANIFEST, CERTIFICATE, "*.parquet"],
        ignore_patterns=[glob.escape(file) for file in found - ours],
        # What the card's own patterns would read; of these, files that are sent are not deleted.
        delete_patterns=[
            f"{glob.escape(f'{label}/{split}')}-*.parquet"
            for label, entry in manifest["configs"].items()
            for split in entry["splits"]
        ],
    )
    return str(commit.commit_url)


@contextlib.contextmanager
def _errors_in_one_line(repo: str) -> Iterator[None]:
    """Turn what the hub's client raises into SettingError or OSError, each of one line."""
    try:
        yield
    except SettingError:
        raise
    except LocalTokenNotFoundError as error:
        raise SettingError(f"token=None: allowed {TOKEN}") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        said = _line(f"the hub says {status} {error.server_message or ''}")
        if status in REFUSALS:
            allowed = f"a name that the hub takes and that {TOKEN} may write"
            raise SettingError(f"REPO={repo!r}: allowed {allowed}; {said}") from error
        raise OSError(f"{repo}: push failed: {said}") from error
    # ValueError: an answer in another form, or metadata that the hub refuses; RuntimeError: xet.
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        raise OSError(f"{repo}: push failed: {_line(str(error))}") from error


def _line(text: str) -> str:
    return " ".join(text.split())
