"""What an http engine can be made from, and where its key comes from."""

from __future__ import annotations

import traceback
from typing import Any

import pytest

from stillroom.engines.http import HttpEngine, key_from_environment
from stillroom.errors import BadConfig

SECRET = "sk-very-secret-0123456789"


@pytest.mark.parametrize(
    ("url", "settings", "match"),
    [
        ("ftp://host/v1", {}, "must be http"),
        ("http:///v1", {}, "must be http"),
        ("http://host:port/v1", {}, "must be http"),
        ("http://[::1/v1", {}, "must be http"),
        ("http://host/v1#m", {}, "must be http"),
        (f"http://user:{SECRET}@host/v1", {}, "must not carry a password"),
        ("http://host/v1", {"timeout": 0}, "timeout"),
        ("http://host/v1", {"retries": -1}, "retries"),
        ("http://host/v1", {"max_concurrency": 0}, "max_concurrency"),
        ("http://host/v1", {"guided": "magic"}, "guided"),
        ("http://host/v1", {"dialect": "klingon"}, "dialect"),
        ("http://host/v1", {"api_key": f"{SECRET}\n"}, "printable"),
    ],
)
def test_bad_settings_fail_before_anything_is_sent(url: str, settings: dict[str, Any], match: str) -> None:
    """At construction, and without a secret in the message."""
    with pytest.raises(BadConfig, match=match) as caught:
        HttpEngine(url, "tiny", **settings)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert match in str(caught.value)


def test_keys_come_from_the_environment_and_stay_at_home() -> None:
    """OPENAI_API_KEY goes only over https or to this machine."""
    both = {"STILLROOM_HTTP_KEY": "ours", "OPENAI_API_KEY": "theirs"}
    theirs = {"OPENAI_API_KEY": "theirs"}
    assert key_from_environment("http://far.example/v1", both) == "ours"
    assert key_from_environment("https://far.example/v1", theirs) == "theirs"
    assert key_from_environment("http://localhost:1/v1", theirs) == "theirs"
    assert key_from_environment("http://far.example/v1", theirs) is None
