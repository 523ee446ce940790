"""The keys and values every workload reads.

Each key has a value of its own, so that a misdelivered reply shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import redis

    from benchmarks.address import Address

VALUES = 10_000
VALUE_BYTES = 100
LARGE_VALUES = 8
LARGE_BYTES = 64 * 1024
HASHES = 50
HASH_FIELDS = 20
WRITES = 50
MESSAGES = 2_000  # in a batch
CHANNEL = "bench:channel"
QUEUE = "bench:queue"
SEED_BATCH = 1_000
CLUSTER_VALUES = 100


def value_key(number: int) -> str:
    return f"bench:value:{number}"


def value(number: int) -> bytes:
    return (b"value %d " % number).ljust(VALUE_BYTES, b"x")


def large_key(number: int) -> str:
    return f"bench:large:{number}"


def large(number: int) -> bytes:
    return (b"large %d " % number).ljust(LARGE_BYTES, b"x")


def hash_key(number: int) -> str:
    return f"bench:hash:{number}"


def hash_value(number: int) -> dict[bytes, bytes]:
    return {
        b"field:%d" % field: value(number * HASH_FIELDS + field) for field in range(HASH_FIELDS)
    }


def written_key(number: int) -> str:
    return f"bench:written:{number}"


def messages() -> list[bytes]:
    """One batch of what is published, again and again."""
    return [(b"message %d " % number).ljust(VALUE_BYTES, b"x") for number in range(MESSAGES)]


def item() -> bytes:
    """What is pushed to the queue."""
    return b"item ".ljust(VALUE_BYTES, b"x")


def connect(address: Address) -> redis.Redis:
    """Return a synchronous client, for what is not measured."""
    import redis  # not in a process that measures another client without it

    return redis.Redis(host=address.host, port=address.port)


def seed(address: Address) -> None:
    """Write everything the workloads read."""
    with connect(address) as client:
        pipeline = client.pipeline(transaction=False)
        for start in range(0, VALUES, SEED_BATCH):
            numbers = range(start, min(start + SEED_BATCH, VALUES))
            pipeline.mset({value_key(number): value(number) for number in numbers})
        for number in range(LARGE_VALUES):
            pipeline.set(large_key(number), large(number))
        for number in range(HASHES):
            pipeline.hset(hash_key(number), mapping=dict(hash_value(number)))
        pipeline.execute()


def seed_cluster(address: Address) -> None:
    """Write what the workloads of a cluster read."""
    import redis

    with redis.RedisCluster(host=address.host, port=address.port) as client:
        for number in range(CLUSTER_VALUES):
            client.set(value_key(number), value(number))


def clear(address: Address) -> None:
    """Remove what `seed` and the workloads wrote, for a server that is not ours to throw away."""
    keys = [value_key(number) for number in range(VALUES)]
    keys += [large_key(number) for number in range(LARGE_VALUES)]
    keys += [hash_key(number) for number in range(HASHES)]
    keys += [written_key(number) for number in range(WRITES)]
    keys.append(QUEUE)
    with connect(address) as client:
        for start in range(0, len(keys), SEED_BATCH):
            client.unlink(*keys[start : start + SEED_BATCH])
