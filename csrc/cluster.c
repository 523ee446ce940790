/* The table of slots, and the way of a command to its node. */
#include "cluster.h"

#include <string.h>

/* Seconds to the next look at a slot that nobody has. */
#define OWNER_DELAY 0.1

/* ---- nodes and shards ---- */

ar_node *
ar_cluster_find_node(const ArCluster *self, PyObject *name)
{
    for (int i = 0; i < self->node_count; i++) {
        if (PyUnicode_Compare(self->nodes[i]->name, name) == 0) {
            return self->nodes[i];
        }
    }
    return NULL;
}

ar_node *
ar_cluster_add_node(ArCluster *self, PyObject *name, ArTransport *transport)
{
    ar_node *node = ar_cluster_find_node(self, name);
    if (node != NULL && node->transport == transport) {
        return node;
    }
    if (node != NULL) {
        /* Another set of settings: what is under way on the old one ends there. */
        ar_transport_oversee(node->transport, NULL, NULL);
        Py_SETREF(node->transport, (ArTransport *)Py_NewRef((PyObject *)transport));
        ar_transport_oversee(transport, &ar_redirect_overseer, node);
        return node;
    }
    if (self->node_count == self->node_capacity) {
        int wanted = self->node_capacity ? self->node_capacity * 2 : 8;
        ar_node **larger = PyMem_Realloc(self->nodes, (size_t)wanted * sizeof(*larger));
        if (larger == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        self->nodes = larger;
        self->node_capacity = wanted;
    }
    node = PyMem_Calloc(1, sizeof(*node));
    if (node == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    node->cluster = self;
    node->transport = (ArTransport *)Py_NewRef((PyObject *)transport);
    node->name = Py_NewRef(name);
    self->nodes[self->node_count++] = node;
    ar_transport_oversee(transport, &ar_redirect_overseer, node);
    return node;
}

ar_shard *
ar_cluster_add_shard(ArCluster *self)
{
    if (self->shard_count == self->shard_capacity) {
        int wanted = self->shard_capacity ? self->shard_capacity * 2 : 8;
        ar_shard *larger = PyMem_Realloc(self->shards, (size_t)wanted * sizeof(*larger));
        if (larger == NULL || wanted > INT16_MAX) {
            self->shards = larger != NULL ? larger : self->shards;
            PyErr_NoMemory();
            return NULL;
        }
        self->shards = larger;
        self->shard_capacity = wanted;
    }
    ar_shard *shard = &self->shards[self->shard_count++];
    memset(shard, 0, sizeof(*shard));
    return shard;
}

int
ar_cluster_move_slot(ArCluster *self, unsigned slot, ar_node *node)
{
    node->primary = 1;
    for (int i = 0; i < self->shard_count; i++) {
        if (self->shards[i].primary == node) {
            self->slots[slot] = (int16_t)i;
            return 0;
        }
    }
    /* It may have been a replica: the next topology says who its replicas are. */
    ar_shard *shard = ar_cluster_add_shard(self);
    if (shard == NULL) {
        return -1;
    }
    shard->primary = node;
    self->slots[slot] = (int16_t)(self->shard_count - 1);
    return 0;
}

/* ---- routing ---- */

static void
note_slot(void *context, const char *data, size_t length)
{
    *(unsigned *)context = ar_keyslot(data, length);
}

int
ar_cluster_slot(ArCluster *self, PyObject *key)
{
    unsigned slot = 0;
    return ar_encode_visit(self->state, &self->codec, key, note_slot, &slot) < 0 ? -1 : (int)slot;
}

int
ar_cluster_command_slot(ArCluster *self, PyObject *const *argv, Py_ssize_t argc, ar_keys *keys)
{
    PyObject *const *rest = argv + 1;
    if (!ar_keyspec_find(self->state, argv[0], rest, argc - 1, keys)) {
        PyErr_Format(self->state->ClusterError,
                     "No way to dispatch this command to Redis Cluster. Missing key: %R", argv[0]);
        return -1;
    }
    Py_ssize_t position = ar_keys_first(keys);
    int slot = ar_cluster_slot(self, rest[position]);
    while (slot >= 0 && (position = ar_keys_next(keys, position)) >= 0) {
        int other = ar_cluster_slot(self, rest[position]);
        if (other != slot) {
            return other < 0 ? -1 : AR_SLOTS;
        }
    }
    return slot;
}

void
ar_cluster_set_slots_differ(const ArCluster *self, PyObject *name)
{
    PyErr_Format(self->state->ClusterError, "%S - all keys must map to the same key slot", name);
}

static ar_node *
nearest(const ar_shard *shard)
{
    ar_node *best = shard->primary;
    for (int i = 0; i < shard->replica_count; i++) {
        ar_node *other = shard->replicas[i];
        if (other->latency > 0.0 && (best->latency <= 0.0 || other->latency < best->latency)) {
            best = other;
        }
    }
    return best;
}

static ar_node *
in_turn(ar_shard *shard, int with_primary, int preferred_only, double now)
{
    int first = with_primary ? -1 : 0, total = shard->replica_count - first;
    for (int tried = 0; tried < total; tried++) {
        int index = first + (int)(shard->turn++ % (unsigned)total);
        ar_node *node = index < 0 ? shard->primary : shard->replicas[index];
        if (node->down_until <= now && (!preferred_only || node->preferred)) {
            return node;
        }
    }
    return NULL;
}

/* Where to read; the primary when nobody else can be reached. */
static ar_node *
reader_of(const ArCluster *self, ar_shard *shard)
{
    double now = ar_monotonic();
    ar_node *node = NULL;
    switch (self->read_from) {
    case AR_READ_PRIMARY:
        break;
    case AR_READ_ROUND_ROBIN:
        node = in_turn(shard, 1, 0, now);
        break;
    case AR_READ_RANDOM_REPLICA:
        shard->turn = shard->turn * 1103515245u + 12345u;
        shard->turn ^= shard->turn >> 16;
        /* fall through */
    case AR_READ_ROUND_ROBIN_REPLICAS:
        node = in_turn(shard, 0, 0, now);
        break;
    case AR_READ_NEAREST:
        node = nearest(shard);
        node = node->down_until > now ? in_turn(shard, 1, 0, now) : node;
        break;
    case AR_READ_ZONE:
        node = in_turn(shard, 1, 1, now);
        node = node == NULL ? in_turn(shard, 1, 0, now) : node;
        break;
    }
    return node != NULL ? node : shard->primary;
}

ar_node *
ar_cluster_route(ArCluster *self, unsigned slot, int reading)
{
    int16_t index = self->slots[slot];
    if (index < 0) {
        return NULL;
    }
    ar_shard *shard = &self->shards[index];
    if (!reading || self->read_from == AR_READ_PRIMARY || shard->replica_count == 0) {
        return shard->primary;
    }
    return reader_of(self, shard);
}

int
ar_cluster_send_to(ar_node *node, ArCommand *command)
{
    ArTransport *transport = (ArTransport *)Py_NewRef((PyObject *)node->transport);
    int result = ar_transport_submit(transport, command);
    Py_DECREF(transport);
    return result;
}

static int
wait_for_owner(ar_router *router, ArCommand *command)
{
    PyObject *reason =
        ar_error_format(command->state->SlotNotCoveredError,
                        "Slot \"%d\" not covered by the cluster.", (int)command->slot);
    if (reason == NULL) {
        return -1;
    }
    ar_router_want_refresh(router, 0.0);
    int result = ar_router_wait(router, command, reason, OWNER_DELAY);
    Py_DECREF(reason);
    return result;
}

static int
start_routing(ArCluster *self, ArCommand *command)
{
    ar_keys keys;
    command->cluster = self;
    if (ar_command_settle(command, &self->codec) < 0) {
        return -1;
    }
    if (ar_command_finished(command)) { /* by Python code that an argument ran */
        return 0;
    }
    if (command->batch != NULL) {
        return ar_bundle_start(self, command);
    }
    int slot = ar_cluster_command_slot(self, command->argv, command->argc, &keys);
    if (slot < 0 || slot == AR_SLOTS) {
        return slot < 0 ? -1 : ar_scatter_keys(self, command, &keys);
    }
    command->slot = (uint16_t)slot;
    command->routed = 1;
    return ar_cluster_submit(self, command);
}

static int
send_to_owner(ArCluster *self, ArCommand *command)
{
    if (self->shard_count == 0) {
        return ar_router_await_topology(self, command);
    }
    ar_router *router = ar_router_of(self, command);
    if (router == NULL) {
        return -1;
    }
    if (router->look_at == 0.0) { /* before the node is looked for: finalizers may run */
        ar_router_watch(router);
    }
    ar_node *node = ar_cluster_route(self, command->slot, command->properties & AR_READ);
    int result = node != NULL ? ar_cluster_send_to(node, command) : wait_for_owner(router, command);
    ar_router_unref(router);
    return result;
}

int
ar_cluster_submit(ArCluster *self, ArCommand *command)
{
    if (self->closed) {
        PyErr_SetString(self->state->ConnectionError, "The client has been closed.");
        return -1;
    }
    Py_INCREF(self); /* a command that is given up meanwhile lets go of it */
    int result = command->routed ? send_to_owner(self, command) : start_routing(self, command);
    Py_DECREF(self);
    return result;
}
