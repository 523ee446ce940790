"""Documentation 7.1 and 7.3: configuration in code.

The documentation's lines stand here as they are written there.
"""
# fmt: off
# ruff: noqa: E501

from aiecs_redis import RedisClient, get_redis_client, settings

# Custom configuration
redis_config = {
    'host': 'redis.example.com',
    'port': 6379,
    'db': 0,
    'password': 'secure_password',
    'max_connections': 50,
    'retry_on_timeout': True,
    'decode_responses': True
}

# Create custom client
custom_client = RedisClient()
# Note: Current implementation uses environment variables, need to modify code to support custom configuration

# Production environment Redis configuration
production_config = {
    'host': 'redis-cluster.internal',
    'port': 6379,
    'db': 0,
    'password': 'production_password',
    'max_connections': 100,
    'retry_on_timeout': True,
    'decode_responses': True,
    'socket_keepalive': True,
    'socket_keepalive_options': {},
    'health_check_interval': 30
}


async def main() -> str:
    # Custom configuration needs no changed code any more; a mistake in it is named.
    for config in (redis_config, production_config):
        print(f"{RedisClient(config)} for {settings.location(settings.load(config))}")
    try:
        RedisClient({**redis_config, "max_conections": 10})
    except ValueError as e:
        print(f"ValueError: {e}")

    # The same dictionary, with the address of the server at hand.
    here = (await (await get_redis_client()).get_client()).get_connection_kwargs()
    address = {k: here[k] for k in ("host", "port", "db", "username", "password") if k in here}
    if "path" in here:
        address["unix_socket_path"] = here["path"]
    custom_client = RedisClient({**production_config, **address})
    await custom_client.initialize()
    print(custom_client)
    answered = await custom_client.ping()
    await custom_client.close()
    return f"production configuration accepted, connection {'alive' if answered else 'DEAD'}"


if __name__ == "__main__":
    import demo

    demo.alone(main)
