/* A pipeline on a cluster: the commands of each node are one part. What a node refuses is sent on by itself. */
#include "scatter.h"

#include "lanes.h"

/* The slot of a pipeline's command; -1 with an exception set. */
static int
queued_slot(ArCluster *self, const ArQueue *queue, Py_ssize_t number)
{
    PyObject **argv = ar_queue_argv(queue, number);
    ar_keys keys;
    int slot = ar_cluster_command_slot(self, argv, ar_queue_argc(queue, number), &keys);
    if (slot == AR_SLOTS) {
        ar_cluster_set_slots_differ(self, argv[0]);
        return -1;
    }
    return slot;
}

/* Sends on alone what a node has refused for now, or for another node. 1: it is under way. */
int
ar_bundle_resend(ArCommand *part, ArCommand *whole, Py_ssize_t number, PyObject *error)
{
    ArCluster *self = whole->cluster;
    Py_ssize_t count;
    const Py_ssize_t *positions = ar_scatter_positions(part, &count);
    if (self == NULL || !ar_redirect_applies(self, error)) {
        return 0;
    }
    PyObject **argv = ar_queue_argv(part->batch, number);
    Py_ssize_t argc = ar_queue_argc(part->batch, number);
    ArCommand *single = ar_scatter_part(whole, argv[0], argv + 1, argc - 1, &positions[number], 1);
    int slot = single != NULL ? queued_slot(self, part->batch, number) : -1;
    if (slot < 0) {
        goto failed;
    }
    single->slot = (uint16_t)slot;
    single->properties = ar_lanes_properties(argv, argc);
    if (ar_queue_never_decodes(part->batch, number)) {
        single->properties |= AR_NEVER_DECODE;
    }
    ar_node *from = ar_cluster_route(self, single->slot, 0);
    whole->missing++;
    if (from == NULL || !ar_redirect_follow(from, single, error)) {
        whole->missing--;
        goto failed;
    }
    Py_DECREF(single);
    return 1;

failed:
    PyErr_Clear(); /* the reply itself is the result then */
    if (single != NULL) {
        single->status = AR_CLOSED;
        Py_DECREF(single);
    }
    return 0;
}

static int
start_transaction(ArCluster *self, ArCommand *command)
{
    int slot = queued_slot(self, command->batch, 0);
    for (Py_ssize_t i = 1; slot >= 0 && i < command->batch->count; i++) {
        int other = queued_slot(self, command->batch, i);
        if (other >= 0 && other != slot) {
            PyErr_SetString(self->state->CrossSlotError,
                            "All keys involved in a cluster transaction must map to the same slot");
            return -1;
        }
        slot = other;
    }
    if (slot < 0) {
        return -1;
    }
    command->slot = (uint16_t)slot;
    command->routed = 1;
    return ar_cluster_submit(self, command);
}

/* The commands of one node. */
typedef struct {
    const ar_node *node;
    uint16_t slot; /* of its first command */
    ArQueue *queue;
    Py_ssize_t *positions;
    Py_ssize_t count;
} bundle;

static int
add_to_bundle(bundle *self, ArCommand *whole, Py_ssize_t number)
{
    const ArQueue *queue = whole->batch;
    PyObject **argv = ar_queue_argv(queue, number);
    Py_ssize_t argc = ar_queue_argc(queue, number);
    if (self->queue == NULL) {
        self->queue = ar_queue_new(whole->state);
        self->positions = PyMem_Malloc((size_t)queue->count * sizeof(*self->positions));
        if (self->positions == NULL) {
            PyErr_NoMemory();
        }
        if (self->queue == NULL || self->positions == NULL) {
            return -1;
        }
    }
    self->positions[self->count++] = number;
    return ar_queue_append(self->queue, argv[0], argv + 1, argc - 1,
                           queue->commands[number].options, ar_lanes_properties(argv, argc));
}

/* Sends a bundle as a pipeline of its own; -1 with an exception set. */
static int
send_bundle(ArCluster *self, ArCommand *whole, bundle *bundled)
{
    ArCommand *part =
        ar_scatter_part(whole, whole->argv[0], NULL, 0, bundled->positions, bundled->count);
    if (part == NULL) {
        return -1;
    }
    part->batch = (ArQueue *)Py_NewRef((PyObject *)bundled->queue);
    part->batch_mode = AR_BATCH_RAW;
    part->properties = (bundled->queue->all & (AR_REPLAYABLE | AR_READ)) |
                       (bundled->queue->any & (AR_STATEFUL | AR_BLOCKING));
    part->slot = bundled->slot;
    ar_scatter_send(self, part);
    return 0;
}

/* Which bundle a slot's commands belong to: its node's. NULL with an exception set. */
static bundle *
bundle_for(ArCluster *self, bundle **bundles, Py_ssize_t *count, unsigned slot)
{
    const ar_node *node = ar_cluster_route(self, slot, 0);
    for (Py_ssize_t i = 0; i < *count; i++) {
        if ((*bundles)[i].node == node && (node != NULL || (*bundles)[i].slot == slot)) {
            return &(*bundles)[i];
        }
    }
    bundle *larger = PyMem_Realloc(*bundles, (size_t)(*count + 1) * sizeof(*larger));
    if (larger == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    *bundles = larger;
    larger[*count] = (bundle){.node = node, .slot = (uint16_t)slot};
    return &larger[(*count)++];
}

static int
start_pipeline(ArCluster *self, ArCommand *command)
{
    bundle *bundles = NULL;
    Py_ssize_t count = 0, total = command->batch->count;
    int result = -1;
    for (Py_ssize_t i = 0; i < total; i++) {
        int slot = queued_slot(self, command->batch, i);
        bundle *into = slot >= 0 ? bundle_for(self, &bundles, &count, (unsigned)slot) : NULL;
        if (into == NULL || add_to_bundle(into, command, i) < 0) {
            goto done;
        }
    }
    command->replies = ar_scatter_places(total);
    if (command->replies == NULL) {
        goto done;
    }
    command->missing = count + 1; /* not completed while parts are still being sent */
    result = 0;
    for (Py_ssize_t i = 0; i < count && !ar_command_finished(command); i++) {
        if (send_bundle(self, command, &bundles[i]) < 0) {
            result = -1;
            break;
        }
    }
    if (result == 0 && --command->missing == 0 && !ar_command_finished(command)) {
        ar_scatter_complete(command);
    }
done:
    for (Py_ssize_t i = 0; i < count; i++) {
        Py_XDECREF(bundles[i].queue);
        PyMem_Free(bundles[i].positions);
    }
    PyMem_Free(bundles);
    return result;
}

int
ar_bundle_start(ArCluster *self, ArCommand *command)
{
    if (command->batch_mode == AR_BATCH_TRANSACTION) {
        return start_transaction(self, command);
    }
    if (self->shard_count > 0) {
        return start_pipeline(self, command);
    }
    /* Until it is known which slots share a node, it waits as a whole. */
    ar_router *router = ar_router_of(self, command);
    if (router == NULL) {
        return -1;
    }
    ar_router_want_refresh(router, 0.0);
    return ar_router_wait(router, command, NULL, -1.0);
}
