/* A command whose keys are in several slots, and a pipeline, in parts: each part is a command of its own, sent to one
 * node; the last one to be answered completes the whole. Parts own the whole, which knows only how many are missing. */
#include "cluster.h"

#include "lanes.h"

#include <string.h>

/* ---- putting the replies together ---- */

static PyObject *
sum_of(PyObject *replies)
{
    long long total = 0;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(replies); i++) {
        PyObject *reply = PyList_GET_ITEM(replies, i);
        if (reply == Py_None) {
            continue; /* of a key whose part has it all in its first one's place */
        }
        long long number = PyLong_AsLongLong(reply);
        if (number == -1 && PyErr_Occurred()) {
            return NULL;
        }
        total += number;
    }
    return PyLong_FromLongLong(total);
}

/* The first error among the replies (borrowed), or NULL. */
static PyObject *
first_error(PyObject *replies)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(replies); i++) {
        PyObject *reply = PyList_GET_ITEM(replies, i);
        if (reply != NULL && PyExceptionInstance_Check(reply)) {
            return reply;
        }
    }
    return NULL;
}

static void
complete(ArCommand *whole)
{
    PyObject *replies = whole->replies;
    whole->replies = NULL;
    if (whole->batch != NULL) {
        ar_command_reply(whole, replies);
        return;
    }
    ar_join join = ar_keyspec_join(whole->argv[0]);
    PyObject *error = first_error(replies);
    if (error != NULL) {
        ar_command_fail(whole, Py_NewRef(error));
    } else if (join == AR_JOIN_LIST) {
        ar_command_reply(whole, Py_NewRef(replies));
    } else {
        PyObject *joined =
            join == AR_JOIN_SUM ? sum_of(replies) : Py_NewRef(PyList_GET_ITEM(replies, 0));
        if (joined != NULL) {
            ar_command_reply(whole, joined);
        } else {
            ar_command_fail_pending_exception(whole);
        }
    }
    Py_DECREF(replies);
}

/* ---- parts ---- */

/* Where the replies of a part belong: a bytes object full of Py_ssize_t. */
static const Py_ssize_t *
positions_of(const ArCommand *part, Py_ssize_t *count)
{
    *count = PyBytes_GET_SIZE(part->options) / (Py_ssize_t)sizeof(Py_ssize_t);
    return (const Py_ssize_t *)PyBytes_AS_STRING(part->options);
}

static PyObject *
keep_reply(ArCommand *Py_UNUSED(part), PyObject *reply)
{
    if (!PyExceptionInstance_Check(reply)) {
        return reply;
    }
    PyErr_SetObject((PyObject *)Py_TYPE(reply), reply);
    Py_DECREF(reply);
    return NULL;
}

static int resend(ArCommand *part, ArCommand *whole, Py_ssize_t number, PyObject *error);

/* Steals `reply`. */
static void
place(ArCommand *whole, Py_ssize_t position, PyObject *reply)
{
    PyObject *old = PyList_GET_ITEM(whole->replies, position);
    PyList_SET_ITEM(whole->replies, position, reply);
    Py_XDECREF(old);
}

static void
place_batch(ArCommand *part, ArCommand *whole, const Py_ssize_t *positions, Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count && i < PyList_GET_SIZE(part->result); i++) {
        PyObject *reply = PyList_GET_ITEM(part->result, i);
        if (!PyExceptionInstance_Check(reply) || !resend(part, whole, i, reply)) {
            place(whole, positions[i], Py_NewRef(reply));
        }
    }
}

/* MGET's values, one for each key. */
static void
place_values(ArCommand *part, ArCommand *whole, const Py_ssize_t *positions, Py_ssize_t count)
{
    if (!PyList_CheckExact(part->result) || PyList_GET_SIZE(part->result) != count) {
        PyObject *error = ar_error_format(part->state->InvalidResponse,
                                          "Protocol error: as many values as keys were expected");
        place(whole, positions[0], error != NULL ? error : ar_exception_take());
        return;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        place(whole, positions[i], Py_NewRef(PyList_GET_ITEM(part->result, i)));
    }
}

static void
part_finished(ArCommand *part)
{
    ArCommand *whole = (ArCommand *)part->owner;
    if (ar_command_finished(whole) || whole->replies == NULL) {
        return;
    }
    Py_ssize_t count;
    const Py_ssize_t *positions = positions_of(part, &count);
    Py_INCREF(whole);
    if (part->status != AR_DONE) {
        PyObject *reason = part->result;
        for (Py_ssize_t i = 0; i < count; i++) {
            place(whole, positions[i], reason != NULL ? ar_error_copy(reason) : Py_NewRef(Py_None));
        }
        part->unretrieved = 0; /* the whole has it */
    } else if (part->batch != NULL) {
        place_batch(part, whole, positions, count);
    } else if (whole->batch == NULL && ar_keyspec_join(part->argv[0]) == AR_JOIN_LIST) {
        place_values(part, whole, positions, count);
    } else {
        place(whole, positions[0], Py_NewRef(part->result));
    }
    if (--whole->missing == 0 && !ar_command_finished(whole)) {
        complete(whole);
    }
    Py_DECREF(whole);
}

static const ar_command_ops part_ops = {
    .convert = keep_reply,
    .bequeath = ar_pool_bequeath,
    .abandoned = ar_pool_abandon,
    .finished = part_finished,
};

/* A part that gives the replies at these positions of the whole, started but not sent. */
static ArCommand *
new_part(ArCommand *whole, PyObject *name, PyObject *const *rest, Py_ssize_t rest_count,
         const Py_ssize_t *positions, Py_ssize_t count)
{
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)positions,
                                                count * (Py_ssize_t)sizeof(Py_ssize_t));
    ArCommand *part = bytes != NULL ? ar_command_new(whole->state, &part_ops, (PyObject *)whole,
                                                     name, rest, rest_count)
                                    : NULL;
    if (part == NULL) {
        Py_XDECREF(bytes);
        return NULL;
    }
    part->options = bytes;
    part->core = (ArCore *)Py_XNewRef((PyObject *)whole->core);
    part->properties = whole->properties;
    part->timeout = whole->timeout;
    part->expires = whole->expires;
    part->routed = 1;
    part->status = AR_STARTED;
    return part;
}

/* Sends a part; steals the reference. One that cannot be sent has failed. */
static void
send_part(ArCluster *self, ArCommand *part)
{
    if (ar_cluster_submit(self, part) < 0) {
        ar_command_fail_pending_exception(part);
    }
    Py_DECREF(part);
}

/* ---- keys ---- */

typedef struct {
    uint16_t slot;
    Py_ssize_t index;
} slotted;

static int
compare_slotted(const void *left, const void *right)
{
    const slotted *a = left, *b = right;
    if (a->slot != b->slot) {
        return a->slot < b->slot ? -1 : 1;
    }
    return a->index < b->index ? -1 : a->index > b->index;
}

static slotted *
sort_by_slot(ArCluster *self, const ArCommand *command, const ar_keys *keys, Py_ssize_t count)
{
    slotted *items = PyMem_Malloc((size_t)count * sizeof(*items));
    if (items == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        int slot = ar_cluster_slot(self, command->argv[1 + keys->first + i * keys->step]);
        if (slot < 0) {
            PyMem_Free(items);
            return NULL;
        }
        items[i] = (slotted){(uint16_t)slot, i};
    }
    qsort(items, (size_t)count, sizeof(*items), compare_slotted);
    return items;
}

static int
send_keys(ArCluster *self, ArCommand *whole, const slotted *items, Py_ssize_t count,
          Py_ssize_t step)
{
    PyObject **rest = PyMem_Malloc((size_t)(count * step) * sizeof(*rest));
    Py_ssize_t *positions = PyMem_Malloc((size_t)count * sizeof(*positions));
    ar_ring parts = {0};
    int result = -1;
    if (rest == NULL || positions == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    for (Py_ssize_t begin = 0, end; begin < count; begin = end) {
        for (end = begin; end < count && items[end].slot == items[begin].slot; end++) {
            positions[end - begin] = items[end].index;
            for (Py_ssize_t i = 0; i < step; i++) {
                rest[(end - begin) * step + i] = whole->argv[1 + items[end].index * step + i];
            }
        }
        ArCommand *part = NULL;
        if (ar_ring_reserve(&parts) == 0) {
            part = new_part(whole, whole->argv[0], rest, (end - begin) * step, positions,
                            end - begin);
        } else {
            PyErr_NoMemory();
        }
        if (part == NULL) {
            goto done;
        }
        part->slot = items[begin].slot;
        ar_ring_push(&parts, part);
    }
    whole->missing = (Py_ssize_t)parts.count;
    for (ArCommand *part; (part = ar_ring_pop(&parts)) != NULL;) {
        send_part(self, part);
    }
    result = 0;
done:
    for (ArCommand *part; (part = ar_ring_pop(&parts)) != NULL;) {
        part->status = AR_CLOSED;
        Py_DECREF(part);
    }
    ar_ring_free(&parts);
    PyMem_Free(rest);
    PyMem_Free(positions);
    return result;
}

static PyObject *
list_of_none(Py_ssize_t count)
{
    PyObject *list = PyList_New(count);
    for (Py_ssize_t i = 0; list != NULL && i < count; i++) {
        PyList_SET_ITEM(list, i, Py_NewRef(Py_None));
    }
    return list;
}

int
ar_scatter_keys(ArCluster *self, ArCommand *command, const ar_keys *keys)
{
    if (ar_keyspec_join(command->argv[0]) == AR_JOIN_NONE) {
        PyErr_Format(self->state->ClusterError, "%S - all keys must map to the same key slot",
                     command->argv[0]);
        return -1;
    }
    if (keys->last + keys->step != command->argc - 1) {
        PyErr_Format(self->state->ClusterError, "wrong number of arguments for %S",
                     command->argv[0]);
        return -1;
    }
    Py_ssize_t count = (keys->last - keys->first) / keys->step + 1;
    command->replies = list_of_none(count);
    slotted *items =
        command->replies != NULL ? sort_by_slot(self, command, keys, count) : NULL;
    int result = items != NULL ? send_keys(self, command, items, count, keys->step) : -1;
    PyMem_Free(items);
    return result;
}

/* ---- pipelines ---- */

/* Sends on alone what a node has refused for now, or for another node. 1: it is under way. */
static int
resend(ArCommand *part, ArCommand *whole, Py_ssize_t number, PyObject *error)
{
    ArCluster *self = whole->cluster;
    Py_ssize_t count;
    const Py_ssize_t *positions = positions_of(part, &count);
    if (self == NULL || !ar_redirect_applies(self, error)) {
        return 0;
    }
    PyObject **argv = ar_queue_argv(part->batch, number);
    Py_ssize_t argc = ar_queue_argc(part->batch, number);
    ArCommand *single = new_part(whole, argv[0], argv + 1, argc - 1, &positions[number], 1);
    ar_keys keys;
    if (single == NULL || !ar_keyspec_find(argv[0], argv + 1, argc - 1, &keys)) {
        goto failed;
    }
    int slot = ar_cluster_slot(self, argv[1 + keys.first]);
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

/* The slot of a pipeline's command; -1 with an exception set. */
static int
queued_slot(ArCluster *self, const ArQueue *queue, Py_ssize_t number)
{
    PyObject **argv = ar_queue_argv(queue, number);
    ar_keys keys;
    if (!ar_keyspec_find(argv[0], argv + 1, ar_queue_argc(queue, number) - 1, &keys)) {
        PyErr_Format(self->state->ClusterError,
                     "No way to dispatch this command to Redis Cluster. Missing key: %R", argv[0]);
        return -1;
    }
    int slot = ar_cluster_slot(self, argv[1 + keys.first]);
    for (Py_ssize_t i = keys.first + keys.step; slot >= 0 && i <= keys.last; i += keys.step) {
        int other = ar_cluster_slot(self, argv[1 + i]);
        if (other >= 0 && other != slot) {
            PyErr_Format(self->state->ClusterError, "%S - all keys must map to the same key slot",
                         argv[0]);
            return -1;
        }
        slot = other;
    }
    return slot;
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
    ArCommand *part = new_part(whole, whole->argv[0], NULL, 0, bundled->positions, bundled->count);
    if (part == NULL) {
        return -1;
    }
    part->batch = (ArQueue *)Py_NewRef((PyObject *)bundled->queue);
    part->batch_mode = AR_BATCH_RAW;
    part->properties = (bundled->queue->all & (AR_REPLAYABLE | AR_READ)) |
                       (bundled->queue->any & (AR_STATEFUL | AR_BLOCKING));
    part->slot = bundled->slot;
    send_part(self, part);
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
    command->replies = list_of_none(total);
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
        complete(command);
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
ar_scatter_batch(ArCluster *self, ArCommand *command)
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
