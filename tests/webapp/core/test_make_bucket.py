"""The object store's bucket is made once."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.storage import storages
from django.core.management import CommandError, call_command

botocore = pytest.importorskip("botocore.stub")


@pytest.fixture
def store(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The answers of an object store, in the order they are expected."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "something")
    settings.STORAGES = settings.STORAGES | {
        "default": {
            "BACKEND": "storages.backends.s3.S3Storage",
            "OPTIONS": {"bucket_name": "b", "endpoint_url": "http://127.0.0.1:9"},
        }
    }
    client = storages["default"].connection.meta.client
    with botocore.Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def test_a_missing_bucket_is_made(store: Any) -> None:
    store.add_client_error("head_bucket", "404", http_status_code=404)
    store.add_response("create_bucket", {}, {"Bucket": "b"})
    call_command("make-bucket")


def test_one_that_is_there_is_left_alone(store: Any) -> None:
    store.add_response("head_bucket", {}, {"Bucket": "b"})
    call_command("make-bucket")


def test_one_that_may_not_be_used_is_a_sentence(store: Any) -> None:
    store.add_client_error("head_bucket", "403", http_status_code=403)
    with pytest.raises(CommandError, match="bucket b cannot be used"):
        call_command("make-bucket")


def test_a_folder_needs_none(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("make-bucket")
    assert "no bucket is needed" in capsys.readouterr().out
