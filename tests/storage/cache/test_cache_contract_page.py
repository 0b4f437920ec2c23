"""docs/cache-contract.md says what the code does; its Python reader is run."""

import contextlib
import io
import json
import re
from pathlib import Path

import pytest
import redis

from storage.cache.codec import encode
from storage.cache.entries import BODY_FIELDS, HEAD_FIELDS
from storage.cache.keys import Keys, dataset_of
from storage.cache.publisher import CachePublisher
from storage.settings import Settings
from tests.storage.cache.conftest import Server, body, frame, publication

PAGE = (Path(__file__).parents[3] / "docs" / "cache-contract.md").read_text(encoding="utf-8")


def block(language: str, beginning: str = "") -> str:
    (found,) = re.findall(rf"```{language}\n({re.escape(beginning)}.*?)```", PAGE, re.DOTALL)
    return str(found)


@pytest.mark.redis
def test_the_python_reader_works(server: Server, publisher: CachePublisher) -> None:
    publisher.send([publication(1, {"bars:5m": body(185.64, 3)})])
    script = block("python").replace("redis://127.0.0.1:6379", server.url)
    assert len(script.strip().splitlines()) == 5
    printed, names = io.StringIO(), dict[str, object]()
    with contextlib.redirect_stdout(printed):
        exec(script, names)
    names["cache"].close()  # type: ignore[attr-defined]
    assert printed.getvalue() == "1704153600000 185.64\n"


@pytest.mark.redis
def test_the_consistent_read_works(client: redis.Redis, publisher: CachePublisher) -> None:
    publisher.send([publication(1, {"bars:5m": body(1), "quote": body(2)})])
    lines = [line.split() for line in block("text", "MULTI").strip().splitlines()]
    with client.pipeline(transaction=True) as pipe:  # sends the MULTI and EXEC of the page
        for words in lines[1:-1]:
            pipe.execute_command(*words)
        (epoch, version, _, *listed), *bodies = pipe.execute()
    assert (lines[0], lines[-1], epoch, version) == (["MULTI"], ["EXEC"], b"1", b"1")
    assert [b" ".join(fields[:2]) for fields in bodies] == listed


@pytest.mark.redis
def test_the_event_has_the_documented_fields(client: redis.Redis, publisher: CachePublisher) -> None:
    with client.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe(Keys("main").events())
        pubsub.get_message(timeout=1)
        publisher.send([publication(17, {"bars:5m": body(1)})])
        message = pubsub.get_message(timeout=1)
    assert json.loads(message["data"]) == json.loads(block("json", '{"symbol"'))


def test_every_field_is_documented() -> None:
    for field in (*BODY_FIELDS, *HEAD_FIELDS):
        assert re.search(rf"^\| [^|]*`{field}`[^|]*\|", PAGE, re.MULTILINE), field


def test_every_key_is_documented_with_its_dataset_and_time() -> None:
    keys, soft_ttl = Keys("<namespace>".strip("<>")), Settings().soft_ttl_seconds
    names = {"quote", "bars:5m", "indicators:5m", "sentiment:current", "sentiment:1h", "correlation", "forecast"}
    for name in names | {"quotes", "catalogue", "correlation:rolling", "correlations", "matrix"}:
        shown = re.sub(r":5m$", ":<interval>", name)
        (row,) = re.findall(rf"^\| [^|]*}}:{re.escape(shown)}`.*$", PAGE, re.MULTILINE)
        dataset = dataset_of(name)
        assert f"| {dataset} | {soft_ttl[dataset]} s |" in row
    for key in (keys.checked(), keys.owner(), keys.events()):
        assert f"`{key.replace(':namespace:', ':<namespace>:')}`" in PAGE


def test_the_body_shown_is_one() -> None:
    shown = json.loads(block("json", '{"schema"'))
    assert list(shown) == ["schema", "columns"]
    assert list(json.loads(encode(frame(1)).content)) == ["schema", "columns"]
    for kind in ("ms", "date", "f64", "f64[]", "i64", "u32", "bool", "str"):
        assert f"`{kind}`" in PAGE
