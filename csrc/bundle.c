/* A pipeline on a cluster: the commands of each node are one part. What a node refuses is sent on by itself. */
#include "scatter.h"

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
    Py_INCREF(self); /* the whole, given up by what runs here, lets go of it */
    PyObject **argv = ar_queue_argv(part->batch, number);
    Py_ssize_t argc = ar_queue_argc(part->batch, number);
    ArCommand *single = ar_scatter_part(whole, argv[0], argv + 1, argc - 1, &positions[number], 1);
    int slot = single != NULL ? queued_slot(self, part->batch, number) : -1;
    if (slot < 0 || ar_command_finished(whole)) {
        goto failed;
    }
    single->slot = (uint16_t)slot;
    single->properties = part->batch->commands[number].properties;
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
    Py_DECREF(self);
    return 1;

failed:
    PyErr_Clear(); /* the reply itself is the result then */
    if (single != NULL) {
        single->status = AR_CLOSED;
        Py_DECREF(single);
    }
    Py_DECREF(self);
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
    uint16_t slot;           /* of its first command */
    Py_ssize_t first, count; /* where their numbers are in `numbers` */
} bundle;

/* A pipeline divided among nodes. */
typedef struct {
    bundle *bundles;
    Py_ssize_t count;
    Py_ssize_t *owner;   /* of each command: the index of its bundle */
    Py_ssize_t *numbers; /* of all commands, bundle by bundle, each in order */
} division;

static void
free_division(division *self)
{
    PyMem_Free(self->bundles);
    PyMem_Free(self->owner);
    PyMem_Free(self->numbers);
}

/* The index of the bundle that a slot's commands belong to: its node's. -1 with an exception set. */
static Py_ssize_t
bundle_of(ArCluster *cluster, division *self, unsigned slot)
{
    const ar_node *node = ar_cluster_route(cluster, slot, 0);
    for (Py_ssize_t i = 0; i < self->count; i++) {
        if (self->bundles[i].node == node && (node != NULL || self->bundles[i].slot == slot)) {
            return i;
        }
    }
    bundle *larger = PyMem_Realloc(self->bundles, (size_t)(self->count + 1) * sizeof(*larger));
    if (larger == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    self->bundles = larger;
    larger[self->count] = (bundle){.node = node, .slot = (uint16_t)slot};
    return self->count++;
}

static int
divide(ArCluster *cluster, division *self, const ArQueue *queue)
{
    self->owner = PyMem_Malloc((size_t)queue->count * sizeof(*self->owner));
    self->numbers = PyMem_Malloc((size_t)queue->count * sizeof(*self->numbers));
    if (self->owner == NULL || self->numbers == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < queue->count; i++) {
        int slot = queued_slot(cluster, queue, i);
        Py_ssize_t index = slot >= 0 ? bundle_of(cluster, self, (unsigned)slot) : -1;
        if (index < 0) {
            return -1;
        }
        self->owner[i] = index;
        self->bundles[index].count++;
    }
    Py_ssize_t first = 0;
    for (Py_ssize_t i = 0; i < self->count; i++) {
        self->bundles[i].first = first;
        first += self->bundles[i].count;
        self->bundles[i].count = 0;
    }
    for (Py_ssize_t i = 0; i < queue->count; i++) {
        bundle *into = &self->bundles[self->owner[i]];
        self->numbers[into->first + into->count++] = i;
    }
    return 0;
}

/* Sends a bundle of the queue as a pipeline of its own; -1 with an exception set. */
static int
send_bundle(ArCluster *self, ArCommand *whole, PyObject *name, const ArQueue *queue,
            const bundle *bundled, const Py_ssize_t *numbers)
{
    ArCommand *part = ar_scatter_part(whole, name, NULL, 0, numbers, bundled->count);
    if (part == NULL) {
        return -1;
    }
    part->batch = ar_queue_pick(queue, numbers, bundled->count);
    if (part->batch == NULL) {
        part->status = AR_CLOSED;
        Py_DECREF(part);
        return -1;
    }
    part->batch_mode = AR_BATCH_RAW;
    part->properties = (part->batch->all & (AR_REPLAYABLE | AR_READ)) |
                       (part->batch->any & (AR_STATEFUL | AR_BLOCKING));
    part->slot = bundled->slot;
    ar_scatter_send(self, part);
    return 0;
}

static int
start_pipeline(ArCluster *self, ArCommand *command)
{
    division divided = {0};
    /* Making objects may run finalizers, and they may give the command up: what is used is held. */
    ArQueue *queue = (ArQueue *)Py_NewRef((PyObject *)command->batch);
    PyObject *name = Py_NewRef(command->argv[0]);
    int result = -1;
    Py_INCREF(self);
    PyObject *replies = ar_scatter_places(queue->count);
    if (replies == NULL || divide(self, &divided, queue) < 0) {
        goto done;
    }
    result = 0;
    if (ar_command_finished(command)) {
        goto done;
    }
    Py_XSETREF(command->replies, Py_NewRef(replies));
    command->missing = divided.count + 1; /* not completed while parts are still being sent */
    for (Py_ssize_t i = 0; i < divided.count && !ar_command_finished(command); i++) {
        const bundle *next = &divided.bundles[i];
        if (send_bundle(self, command, name, queue, next, divided.numbers + next->first) < 0) {
            result = -1;
            break;
        }
    }
    if (result == 0 && --command->missing == 0 && !ar_command_finished(command)) {
        ar_scatter_complete(command);
    }
done:
    free_division(&divided);
    Py_XDECREF(replies);
    Py_DECREF(self);
    Py_DECREF(name);
    Py_DECREF(queue);
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
    return ar_router_await_topology(self, command);
}
