/* _native.Cluster: which node has which slot, and how commands get there. Shared by the loops that use it. */
#ifndef AR_CLUSTER_H
#define AR_CLUSTER_H

#include "keyslot.h"
#include "keyspec.h"
#include "transport.h"

struct ArCluster;

/* One server. It stays where it is in memory, since its pools report to it. */
typedef struct {
    struct ArCluster *cluster; /* borrowed */
    ArTransport *transport;
    PyObject *name;    /* str, "host:port" */
    double down_until; /* monotonic seconds: it could not be reached, others are to be preferred */
    double latency;    /* seconds, as measured for reading from the nearest node */
    int preferred;     /* for reading: in the zone of the client */
    int primary;       /* has slots, as far as is known */
} ar_node;

#define AR_REPLICAS_MAX 8

/* The nodes that have the same slots. */
typedef struct {
    ar_node *primary;
    ar_node *replicas[AR_REPLICAS_MAX];
    int replica_count;
    unsigned turn; /* of reading in turn */
} ar_shard;

/* Where reads go. */
typedef enum {
    AR_READ_PRIMARY,
    AR_READ_ROUND_ROBIN,          /* primary and replicas in turn */
    AR_READ_ROUND_ROBIN_REPLICAS, /* replicas in turn */
    AR_READ_RANDOM_REPLICA,
    AR_READ_NEAREST, /* the least latency */
    AR_READ_ZONE,    /* nodes of the client's zone in turn, others where there are none */
} ar_read_from;

/* A command that waits until some node can take it. */
typedef struct {
    ArCommand *command; /* owned */
    PyObject *reason;   /* what it fails with when its time is over, or NULL */
    double at; /* monotonic seconds of the next attempt; 0.0: with the next topology only */
} ar_lobby_entry;

/* What one loop needs of a cluster. */
typedef struct ar_router {
    struct ar_router *next;
    struct ArCluster *cluster; /* borrowed: it owns the router; NULL: closed */
    unsigned references; /* whoever works with it has one: almost anything may run finalizers */
    ArCore *core;
    ar_lobby_entry *lobby;
    size_t count, capacity;
    ev_timer timer;
    double timer_at;   /* monotonic seconds that the timer stands for, 0: it does not run */
    double refresh_at; /* a new topology is wanted then, 0: it is not */
    double earliest;   /* not before that */
    double look_at; /* for nodes that leave commands without an answer, 0: nothing was sent since */
    int refreshing; /* Python is asking for the topology */
    int working;    /* within the timer's callback */
} ar_router;

typedef struct ArCluster {
    PyObject_HEAD
    ar_state *state;
    PyObject *refresh; /* callable(): has the topology asked for, then calls update() or failed() */
    PyObject *locate;  /* callable(host, port) -> (name, Transport): a node not heard of before */
    PyObject *codec_owner; /* what the codec borrows from */
    ar_text_codec codec;
    double patience; /* seconds a command waits for a node that can take it, 0: not at all */
    ar_read_from read_from;
    ar_node **nodes;
    int node_count, node_capacity;
    ar_shard *shards;
    int shard_count, shard_capacity;
    int16_t slots[AR_SLOTS]; /* index of the shard, -1: nobody's */
    ar_router *routers;
    ar_router *router; /* the one used last, or NULL */
    int protocol;      /* the lowest a node speaks, 0: not connected yet */
    int closed;
    unsigned long long moved, asked, again, down, refreshes;
} ArCluster;

/* Sends the command to where its keys are, or keeps it until that is known. -1 with an exception set. */
int ar_cluster_submit(ArCluster *self, ArCommand *command);
/* Sends it to the node, whatever its keys. -1 with an exception set. */
int ar_cluster_send_to(ar_node *node, ArCommand *command);
/* The slot of an argument; -1 with an exception set. */
int ar_cluster_slot(ArCluster *self, PyObject *key);
/* The slot of all keys of a command, AR_SLOTS: they are in several; `keys` says where they are. -1 with an exception
 * set, a command without keys being an error. */
int ar_cluster_command_slot(ArCluster *self, PyObject *const *argv, Py_ssize_t argc, ar_keys *keys);
/* Sets the error of a command whose keys are in several slots, and that cannot be taken apart. */
void ar_cluster_set_slots_differ(const ArCluster *self, PyObject *name);
/* The node that is to have a command on the slot now; NULL without an exception: nobody has it. */
ar_node *ar_cluster_route(ArCluster *self, unsigned slot, int reading);

/* Between the files of the cluster. */

/* cluster.c: the node with the name, or NULL. */
ar_node *ar_cluster_find_node(const ArCluster *self, PyObject *name);
/* cluster.c: as above, made when there is none. NULL with an exception set. */
ar_node *ar_cluster_add_node(ArCluster *self, PyObject *name, ArTransport *transport);
/* cluster.c: from now on the slot is the node's, as one told. */
int ar_cluster_move_slot(ArCluster *self, unsigned slot, ar_node *node);
/* cluster.c: a new shard, empty; NULL with an exception set. */
ar_shard *ar_cluster_add_shard(ArCluster *self);

/* router.c: of the command's loop, a new reference. NULL with an exception set. */
ar_router *ar_router_of(ArCluster *self, ArCommand *command);
void ar_router_unref(ar_router *router);
/* router.c: the command waits; `reason` (borrowed, or NULL) is what it fails with in the end. `delay`: seconds, or
 * negative: until there is a topology. -1 with an exception set: it does not. */
int ar_router_wait(ar_router *router, ArCommand *command, PyObject *reason, double delay);
/* router.c: asks for the topology, for which the command waits. -1 with an exception set: it does not. */
int ar_router_await_topology(ArCluster *self, ArCommand *command);
/* router.c: asks for the topology, in so many seconds at the earliest. */
void ar_router_want_refresh(ar_router *router, double delay);
/* router.c: something was sent. */
void ar_router_watch(ar_router *router);
/* router.c: the topology has come; what waited is sent, and what waits at nodes that have lost it. */
void ar_router_updated(ar_router *router);
/* router.c: there is none (`reason` borrowed): what waited for the first one fails. */
void ar_router_failed(ar_router *router, PyObject *reason);
/* router.c: the router on the core, a new reference, or NULL. */
ar_router *ar_router_on(const ArCluster *self, const ArCore *core);
/* router.c: all that waits fails, all routers go. `reason` NULL: nobody is told. */
void ar_router_close_all(ArCluster *self, PyObject *reason);
int ar_router_traverse(ar_router *router, visitproc visit, void *arg);

/* redirect.c: how the pools of nodes report; overseer_data is the ar_node. */
extern const ar_pool_overseer ar_redirect_overseer;
/* redirect.c: whether the error reply means that another node, or another moment, is right. */
int ar_redirect_applies(const ArCluster *self, PyObject *error);
/* redirect.c: sends the command on because of such a reply of `from`. 1: done, 0: it is for the caller. */
int ar_redirect_follow(ar_node *from, ArCommand *command, PyObject *error);
/* redirect.c: with a new topology, what waits at the node goes to the one that has its slot now; one that has lost its
 * slots, and has been silent for so many seconds, is not waited for. */
void ar_redirect_waiting(ar_node *node, ArCore *core, double silent_after);

/* scatter.c: starts a command whose keys are in several slots. -1 with an exception set. */
int ar_scatter_keys(ArCluster *self, ArCommand *command, const ar_keys *keys);
/* bundle.c: starts a pipeline. -1 with an exception set. */
int ar_bundle_start(ArCluster *self, ArCommand *command);

int ar_cluster_setup(PyObject *module, ar_state *state);

#endif
