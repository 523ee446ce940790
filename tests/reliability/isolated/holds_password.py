"""Connects with a password and stands still while the test looks for it in this process's memory.

    holds_password.py PORT HOW [CERTIFICATES]

HOW: hello, auth (RESP2), codec (a text encoding that makes copies), late (the AUTH of a user),
token (AUTH anew on an open connection). The password comes by standard input, as a number. It
prints "before" with the password made and no client yet, "connected" once commands have been
answered, and "closed", each time waiting for a line.
"""

import asyncio
import gc
import sys

import aiecs_redis

port, how = int(sys.argv[1]), sys.argv[2]
options = {"host": "127.0.0.1", "port": port}
if len(sys.argv) > 3:
    options.update(ssl=True, ssl_ca_certs=sys.argv[3])


def stand_still(where):
    gc.collect()
    print(where, flush=True)
    sys.stdin.readline()


class Provider(aiecs_redis._options.CredentialProvider):
    def __init__(self, password):
        self.password = password

    def get_credentials(self):
        return "ann", self.password

    async def get_credentials_async(self):
        return self.get_credentials()


async def main(password):
    stand_still("before")
    if how == "late":
        client = aiecs_redis.Redis(**options, username="bob", password="bob")
        await client.execute_command("AUTH", "ann", password)
    else:
        if how == "auth":
            options["protocol"] = 2
        elif how == "codec":
            options["encoding"] = "latin-1"
        client = aiecs_redis.Redis(**options, credential_provider=Provider(password))
    assert await client.ping()
    await asyncio.gather(*(client.get("key") for _ in range(100)))
    if how == "token":
        transport = client._native_transport
        futures = transport.reauthenticate(("ann", password))
        await asyncio.gather(*futures)
    waiting = asyncio.ensure_future(client.blpop("nothing", 0.01))  # a second connection
    await waiting
    stand_still("connected")
    await client.aclose()
    del client
    stand_still("closed")


# A number has other digits in memory than its hexadecimal text.
asyncio.run(main(format(int(sys.stdin.readline()), "064x")))
