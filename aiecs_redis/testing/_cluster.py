"""A Redis Cluster of our own, and what tests of its faults need."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from redis.crc import key_slot

from aiecs_redis.testing._certificates import Certificates, ServerError
from aiecs_redis.testing._member import Group, Member, together, wait_for
from aiecs_redis.testing._server import ConfigValue, free_local_port, quoted, redis_version

__all__ = ["SLOTS", "ClusterNode", "ClusterServers", "NodeView", "SlotMove"]

SLOTS = 16384


class NodeView(NamedTuple):
    """A line of CLUSTER NODES: what one node knows of another, or of itself."""

    id: str
    host: str
    port: int
    flags: frozenset[str]
    master: str | None
    epoch: int
    linked: bool
    slots: tuple[str, ...]

    @classmethod
    def of(cls, line: str) -> NodeView:
        """Read a line."""
        name, address, flags, master, _, _, epoch, link, *slots = line.split()
        host, _, ports = address.split(",")[0].rpartition(":")
        return cls(
            name,
            host,
            int(ports.split("@")[0]),
            frozenset(flags.split(",")),
            None if master == "-" else master,
            int(epoch),
            link == "connected",
            tuple(slot for slot in slots if not slot.startswith("[")),
        )

    def holds(self, slot: int) -> bool:
        """Whether the slot is one of its slots."""
        for text in self.slots:
            first, _, last = text.partition("-")
            if int(first) <= slot <= int(last or first):
                return True
        return False


class ClusterNode(Member):
    """One redis-server of a `ClusterServers`; everything a `RedisServer` can, and its cluster side.

    Its identity is in the folder: it stays the same node over `kill()`, `restart()` and
    `move_to_port()`.
    """

    port: int

    def __init__(self, *, node_timeout: float, hostname: str | None, **options: Any) -> None:
        super().__init__(**options)
        self.node_timeout = node_timeout
        self.hostname = hostname
        self._id: str | None = None

    @property
    def id(self) -> str:
        """Its name in the cluster, 40 hexadecimal digits."""
        if self._id is None:
            self._id = str(self.call("CLUSTER", "MYID"))
        return self._id

    def view(self) -> dict[str, NodeView]:
        """Return what it knows of every node, by id (CLUSTER NODES)."""
        lines = str(self.call("CLUSTER", "NODES")).splitlines()
        return {seen.id: seen for seen in map(NodeView.of, lines)}

    def announce(self, hostname: str) -> None:
        """Announce a host name from now on, and let clients be sent to it (Redis 7).

        Args:
            hostname: one that leads to 127.0.0.1, such as "localhost".
        """
        self.hostname = hostname
        self.call("CONFIG", "SET", "cluster-announce-hostname", hostname)
        self.call("CONFIG", "SET", "cluster-preferred-endpoint-type", "hostname")

    def move_to_port(self, port: int | None = None) -> ClusterNode:
        """Stop it, and start it as the same node on another port.

        Args:
            port: the new one; a free one when it is None.
        """
        self.interrupt()
        self.port = self._choose_port() if port is None else port
        self.start()
        return self

    def _choose_port(self) -> int:
        return free_local_port(and_above=10000)  # the cluster bus

    def _configuration(self) -> Iterator[tuple[str, ConfigValue]]:
        yield "cluster-enabled", "yes"
        yield "cluster-config-file", "nodes.conf"
        yield "cluster-node-timeout", int(self.node_timeout * 1000)
        # Replicas stay with the master they were given, and a master without slots one of its own.
        yield "cluster-migration-barrier", 1000
        version = redis_version(self._executable)
        if version >= (7,):
            yield "cluster-allow-replica-migration", "no"
            if self.hostname is not None:
                yield "cluster-announce-hostname", self.hostname
                yield "cluster-preferred-endpoint-type", "hostname"
        yield "cluster-replica-validity-factor", 0
        yield "repl-diskless-sync-delay", 0
        yield "repl-ping-replica-period", 1
        if self.tls:
            yield "tls-cluster", "yes"
            yield "tls-replication", "yes"
        if self.requirepass is not None:
            yield "masterauth", quoted(self.requirepass)
        yield from super()._configuration()


class SlotMove:
    """A slot on its way from its owner to another master; made by `ClusterServers.move()`.

    In a `with` block the slot is being moved (IMPORTING and MIGRATING are set): keys which the
    source does not have are answered with ASK. The end of the block moves what is left and gives
    the slot to the target; an exception in it leaves the slot where it was.

    Raises:
        ValueError: the slot is there already.
        ServerError: nobody holds it.
    """

    def __init__(self, cluster: ClusterServers, slot: int, target: ClusterNode) -> None:
        self.cluster = cluster
        self.slot = slot
        self.target = target
        self.source: ClusterNode = cluster.owner(slot)
        if self.source is target:
            raise ValueError(f"slot {slot} is on {target!r} already")

    def __enter__(self) -> SlotMove:
        self.target.call("CLUSTER", "SETSLOT", self.slot, "IMPORTING", self.source.id)
        self.source.call("CLUSTER", "SETSLOT", self.slot, "MIGRATING", self.target.id)
        return self

    def __exit__(self, exc_type: object, *exc_info: object) -> None:
        if exc_type is None:
            self.move_keys()
            self._finish()
        else:
            self.source.call("CLUSTER", "SETSLOT", self.slot, "STABLE")
            self.target.call("CLUSTER", "SETSLOT", self.slot, "STABLE")

    def move_keys(self, limit: int | None = None) -> int:
        """Move keys of the slot (MIGRATE), and return how many.

        Args:
            limit: this many at most; all that are there when it is None.
        """
        moved = 0
        while limit is None or moved < limit:
            count = 100 if limit is None else min(100, limit - moved)
            keys = self.source.call("CLUSTER", "GETKEYSINSLOT", self.slot, count)
            if not keys:
                break
            password = self.source.requirepass
            auth = [] if password is None else ["AUTH", password]
            where = self.target.host, self.target.port
            self.source.call("MIGRATE", *where, "", 0, 5000, "REPLACE", *auth, "KEYS", *keys)
            moved += len(keys)
        return moved

    def _finish(self) -> None:
        # The target first: from then on nobody owns the slot twice.
        self.target.call("CLUSTER", "SETSLOT", self.slot, "NODE", self.target.id)
        self.source.call("CLUSTER", "SETSLOT", self.slot, "NODE", self.target.id)
        masters = self.cluster.masters()
        for node in masters:
            if node is not self.target and node is not self.source:
                node.call("CLUSTER", "SETSLOT", self.slot, "NODE", self.target.id)
        # A node that has not heard of the new epoch may take the next move for an older one,
        # and would tell another owner for ever.
        epoch = self.target.view()[self.target.id].epoch
        wait_for(
            lambda: all(node.view()[self.target.id].epoch >= epoch for node in masters),
            5,
            lambda: f"not every node has heard of epoch {epoch} of {self.target!r}",
        )


class ClusterServers(Group):
    """A Redis Cluster of our own on 127.0.0.1: it starts with `start()` or `with`, in about 3 s.

    The slots are spread evenly over the masters; nothing is written to disk but who is who.

    Args:
        masters: how many, 3 at least if nodes are to fail.
        replicas: for each master.
        requirepass: password of the default user, on every node.
        tls: speak TLS only, between the nodes too.
        tls_auth_clients: with `tls`, demand a client certificate.
        hostname: host name which the nodes announce, one that leads to 127.0.0.1 (Redis 7).
        node_timeout: seconds of silence after which a node counts as failed
            (cluster-node-timeout).
        config: further lines of every node's redis.conf, as of `RedisServer`.
        executable: path of the program; what `find_server()` finds when it is None.

    Attributes:
        nodes: the `ClusterNode`s, first those which began as masters.

    Raises:
        ValueError: no master, or a negative number of replicas.
    """

    def __init__(
        self,
        masters: int = 3,
        replicas: int = 0,
        *,
        requirepass: str | None = None,
        tls: bool = False,
        tls_auth_clients: bool = False,
        hostname: str | None = None,
        node_timeout: float = 2.0,
        config: Mapping[str, ConfigValue] | None = None,
        executable: str | None = None,
    ) -> None:
        if masters < 1 or replicas < 0:
            raise ValueError(f"masters={masters}, replicas={replicas}: at least 1 and 0")
        super().__init__()
        self.nodes: list[ClusterNode] = []
        self._masters = masters
        self._replicas = replicas
        self._tls = tls
        self._executable = executable
        self._options: dict[str, Any] = {
            "requirepass": requirepass,
            "tls": tls,
            "tls_auth_clients": tls_auth_clients,
            "config": config,
            "executable": executable,
            "node_timeout": node_timeout,
            "hostname": hostname,
        }

    def __enter__(self) -> ClusterServers:
        return self.start()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self.nodes)} nodes>"

    # ------------------------------------------------------------- how to get in

    @property
    def kwargs(self) -> dict[str, Any]:
        """Keyword arguments for a RedisCluster of redis-py or aiecs_redis: host, port, and
        password and the ssl_ options where it takes them. The first node that runs is named."""
        found = dict(self._living()[0].kwargs)
        del found["db"]
        return found

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of every node, as startup nodes."""
        return [(node.host, int(node.port or 0)) for node in self.nodes]

    @property
    def url(self) -> str:
        """The redis:// or rediss:// URL of the first node that runs."""
        return self._living()[0].url

    # ---------------------------------------------------------------- life cycle

    def start(self) -> ClusterServers:
        """Start the nodes and make them a cluster; return when all of them agree that it is one.

        Raises:
            ProgramMissingError: a program is not installed.
            ServerError: it comes to nothing; with the last words.
        """
        if self.nodes:
            return self
        self._folder = Path(tempfile.mkdtemp(prefix="aiecs-redis-cluster-"))
        try:
            certificates = Certificates(self._folder) if self._tls else None
            for number in range(self._masters * (1 + self._replicas)):
                node = ClusterNode(certificates=certificates, **self._options)
                self._take_in(node, f"node-{number}")
                self.nodes.append(node)
            together(ClusterNode.start, self.nodes)
            self._form()
        except BaseException:
            self.stop()
            raise
        return self

    def _everybody(self) -> list[ClusterNode]:
        return self.nodes

    def _dismiss(self) -> list[ClusterNode]:
        nodes, self.nodes = self.nodes, []
        return nodes

    def _form(self) -> None:
        masters = self.nodes[: self._masters]
        bounds = [SLOTS * number // len(masters) for number in range(len(masters) + 1)]
        for number, node in enumerate(masters):
            node.call("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            slots = range(bounds[number], bounds[number + 1])
            if redis_version(self._executable) >= (7,):
                node.call("CLUSTER", "ADDSLOTSRANGE", slots[0], slots[-1])
            else:
                node.call("CLUSTER", "ADDSLOTS", *slots)
        # Everybody meets everybody: gossip would need seconds.
        for node in self.nodes:
            for other in self.nodes:
                if other is not node:
                    node.call("CLUSTER", "MEET", other.host, other.port)
        self._wait_until_none(self._strangers, 20)
        for number, node in enumerate(self.nodes[self._masters :]):
            node.call("CLUSTER", "REPLICATE", masters[number % len(masters)].id)
        self.wait_until_agreed()

    def _strangers(self) -> str | None:
        everybody = {node.id for node in self.nodes}
        for node in self.nodes:
            if set(node.view()) != everybody:
                return f"{node!r} does not know everybody yet"
        return None

    # ------------------------------------------------------------------- who is who

    def node(self, name: str) -> ClusterNode:
        """Return the node whose id is `name`.

        Raises:
            ServerError: there is none.
        """
        for found in self.nodes:
            if found.id == name:
                return found
        raise ServerError(f"no node {name!r}")

    def masters(self) -> list[ClusterNode]:
        """Return the nodes that run and are masters by their own word."""
        return [node for node in self._living() if node.is_master()]

    def replicas(self, master: ClusterNode | None = None) -> list[ClusterNode]:
        """Return the nodes that run and are replicas by their own word, all or those of one."""
        found = []
        for node in self._living():
            own = node.view()[node.id]
            if own.master is not None and (master is None or own.master == master.id):
                found.append(node)
        return found

    def owner(self, slot: int) -> ClusterNode:
        """Return the master that holds the slot, by its own word.

        Raises:
            ServerError: nobody that runs holds it.
        """
        for node in self._living():
            own = node.view()[node.id]
            if own.master is None and own.holds(slot):
                return node
        raise ServerError(f"nobody holds slot {slot}")

    def owner_of(self, key: str | bytes) -> ClusterNode:
        """Return the master that holds the slot of a key."""
        return self.owner(key_slot(key.encode() if isinstance(key, str) else key))

    def key_in(self, slot: int, suffix: str = "") -> str:
        """Return a key of that slot: a hash tag, and the suffix."""
        return f"{{{_tags()[slot]}}}{suffix}"

    def _living(self) -> list[ClusterNode]:
        found = [node for node in self.nodes if node.pid is not None and not node.paused]
        if not found:
            raise ServerError("no node of the cluster runs")
        return found

    # ---------------------------------------------------------------------- faults

    def move(self, slot: int, target: ClusterNode) -> SlotMove:
        """Return a `SlotMove`: for the time of its `with` block the slot is being moved.

        Args:
            slot: 0 to 16383.
            target: the master that it goes to.

        Raises:
            ValueError: it is there already.
            ServerError: nobody holds it.
        """
        return SlotMove(self, slot, target)

    def move_slots(self, slots: Iterable[int], target: ClusterNode) -> int:
        """Move slots with their keys to a master, one by one, and return how many keys moved.

        It is done as redis-cli --cluster reshard does it: clients see MOVED, ASK and TRYAGAIN.
        Raises as `move()`.
        """
        keys = 0
        for slot in slots:
            with self.move(slot, target) as move:
                keys += move.move_keys()
        return keys

    def failover(self, master: ClusterNode, how: str = "", timeout: float = 20) -> ClusterNode:
        """Make a replica the master in place of one (CLUSTER FAILOVER), and return the new master.

        It returns when the new one says that it is the master; `wait_until_agreed()` waits until
        everybody else has heard of it.

        Args:
            master: the one to be replaced; it need not run unless `how` is "".
            how: "" (together with the master), "FORCE" (without it) or "TAKEOVER" (nobody is
                asked).
            timeout: seconds to wait.

        Raises:
            ValueError: there is no such way.
            ServerError: the master has no replica, or none was promoted in time.
        """
        if how not in ("", "FORCE", "TAKEOVER"):
            raise ValueError(f"how={how!r}: one of '', 'FORCE' and 'TAKEOVER'")
        replicas = self.replicas(master)
        if not replicas:
            raise ServerError(f"{master!r} has no replica")
        chosen, asked = replicas[0], 0.0

        def promoted() -> bool:
            nonlocal asked
            if chosen.is_master():
                return True
            if time.monotonic() - asked > 5:  # as long as the server tries
                asked = time.monotonic()
                chosen.call("CLUSTER", "FAILOVER", *([how] if how else []))
            return False

        wait_for(promoted, timeout, lambda: f"{chosen!r} did not become master", 0.005)
        return chosen

    def wait_for_promotion(
        self, replicas: Iterable[ClusterNode], timeout: float = 30
    ) -> ClusterNode:
        """Return the first of these nodes to say that it is a master, as soon as it does."""
        watched = list(replicas)

        def promoted() -> ClusterNode | None:
            return next((node for node in watched if node.is_master()), None)

        return wait_for(promoted, timeout, lambda: f"none of {watched} became master", 0.005)

    # ------------------------------------------------------------------- agreement

    def wait_until_agreed(self, timeout: float = 30) -> None:
        """Return when all nodes that run tell the same of one another, the state is ok, and the
        replicas are in step.

        Raises:
            ServerError: it does not come to that in `timeout` seconds; with the last difference.
        """
        super().wait_until_agreed(timeout)

    def _disagreement(self) -> str | None:
        living = self._living()
        seen: set[frozenset[tuple[object, ...]]] = set()
        for node in living:
            if "cluster_state:ok" not in node.call("CLUSTER", "INFO"):
                return f"{node!r}: the state is not ok"
            view = node.view()
            for other in living:
                found = view.get(other.id)
                if found is None or found.flags & {"fail", "fail?", "handshake", "noaddr"}:
                    return f"{node!r} sees {other!r} as {found}"
                if found.port != other.port or not (found.linked or other is node):
                    return f"{node!r} is not linked with {other!r}"
                if found.master is not None and not self._in_step(other):
                    return f"{other!r} is not in step with its master"
            ids = {other.id for other in living}
            seen.add(frozenset((v.id, v.master, v.slots) for v in view.values() if v.id in ids))
        return "the nodes tell different things" if len(seen) > 1 else None

    def _in_step(self, replica: ClusterNode) -> bool:
        info = replica.replication()
        return info["role"] == "slave" and info["master_link_status"] == "up"


_known_tags: list[str] = []


def _tags() -> list[str]:
    """A short text for every slot, at its index."""
    if not _known_tags:
        found: dict[int, str] = {}
        number = 0
        while len(found) < SLOTS:
            found.setdefault(key_slot(str(number).encode()), str(number))
            number += 1
        _known_tags.extend(found[slot] for slot in range(SLOTS))
    return _known_tags
