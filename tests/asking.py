"""What several test modules ask a server."""


async def protocol_of(client):
    """The RESP version of the client's connection; CLIENT INFO tells it from Redis 7 on only."""
    said = await client.execute_command("HELLO")
    fields = said if isinstance(said, dict) else dict(zip(said[::2], said[1::2]))
    return fields["proto"] if "proto" in fields else fields[b"proto"]
