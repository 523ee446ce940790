/* A command whose keys are in several slots, and a pipeline, in parts: each part is a command of its own, sent to one
 * node; the last one to be answered completes the whole. Parts own the whole, which knows only how many are missing. */
#include "scatter.h"

#include <stdlib.h>

/* ---- putting the replies together ---- */

static PyObject *
sum_of(PyObject *replies)
{
    PyObject *total = PyLong_FromLong(0);
    for (Py_ssize_t i = 0; total != NULL && i < PyList_GET_SIZE(replies); i++) {
        PyObject *reply = PyList_GET_ITEM(replies, i);
        if (reply != Py_None) { /* of a key whose part has it all in its first one's place */
            Py_SETREF(total, PyNumber_Add(total, reply));
        }
    }
    return total;
}

void
ar_scatter_complete(ArCommand *whole)
{
    PyObject *replies = whole->replies;
    whole->replies = NULL;
    if (whole->batch != NULL) {
        ar_command_reply(whole, replies);
        return;
    }
    ar_join join = ar_keyspec_join(whole->argv[0]);
    PyObject *error = ar_error_first(replies, PyList_GET_SIZE(replies));
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

const Py_ssize_t *
ar_scatter_positions(const ArCommand *part, Py_ssize_t *count)
{
    *count = PyBytes_GET_SIZE(part->options) / (Py_ssize_t)sizeof(Py_ssize_t);
    return (const Py_ssize_t *)PyBytes_AS_STRING(part->options);
}

/* Steals `reply`. */
static void
place(ArCommand *whole, Py_ssize_t position, PyObject *reply)
{
    if (whole->replies == NULL) { /* it was given up by what sending a part on has run */
        Py_DECREF(reply);
        return;
    }
    PyObject *old = PyList_GET_ITEM(whole->replies, position);
    PyList_SET_ITEM(whole->replies, position, reply);
    Py_XDECREF(old);
}

/* Ends when the whole is given up by what sending a command on runs: it has let go of its client then. */
static void
place_batch(ArCommand *part, ArCommand *whole, const Py_ssize_t *positions, Py_ssize_t count)
{
    for (Py_ssize_t i = 0;
         i < count && i < PyList_GET_SIZE(part->result) && !ar_command_finished(whole); i++) {
        PyObject *reply = PyList_GET_ITEM(part->result, i);
        if (!PyExceptionInstance_Check(reply) || !ar_bundle_resend(part, whole, i, reply)) {
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
    const Py_ssize_t *positions = ar_scatter_positions(part, &count);
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
        ar_scatter_complete(whole);
    }
    Py_DECREF(whole);
}

static const ar_command_ops part_ops = {
    .convert = ar_command_pass_reply,
    .bequeath = ar_pool_bequeath,
    .abandoned = ar_pool_abandon,
    .finished = part_finished,
};

ArCommand *
ar_scatter_part(ArCommand *whole, PyObject *name, PyObject *const *rest, Py_ssize_t rest_count,
                const Py_ssize_t *positions, Py_ssize_t count)
{
    PyObject *bytes =
        PyBytes_FromStringAndSize((const char *)positions, count * (Py_ssize_t)sizeof(Py_ssize_t));
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

void
ar_scatter_send(ArCluster *self, ArCommand *part)
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
sort_by_slot(ArCluster *self, PyObject *const *argv, const ar_keys *keys, Py_ssize_t count)
{
    slotted *items = PyMem_Malloc((size_t)count * sizeof(*items));
    if (items == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        int slot = ar_cluster_slot(self, argv[1 + keys->first + i * keys->step]);
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
send_keys(ArCluster *self, ArCommand *whole, PyObject *const *argv, const slotted *items,
          Py_ssize_t count, Py_ssize_t step)
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
                rest[(end - begin) * step + i] = argv[1 + items[end].index * step + i];
            }
        }
        ArCommand *part = NULL;
        if (ar_ring_reserve(&parts) == 0) {
            part =
                ar_scatter_part(whole, argv[0], rest, (end - begin) * step, positions, end - begin);
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
    for (ArCommand *part; !ar_command_finished(whole) && (part = ar_ring_pop(&parts)) != NULL;) {
        ar_scatter_send(self, part);
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

PyObject *
ar_scatter_places(Py_ssize_t count)
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
        ar_cluster_set_slots_differ(self, command->argv[0]);
        return -1;
    }
    if (keys->last + keys->step != command->argc - 1) {
        PyErr_Format(self->state->ClusterError, "wrong number of arguments for %S",
                     command->argv[0]);
        return -1;
    }
    Py_ssize_t count = (keys->last - keys->first) / keys->step + 1;
    /* Making objects may run finalizers, and they may give the command up: what is used is held. */
    PyObject *replies = ar_scatter_places(count);
    PyObject *arguments = replies != NULL ? ar_command_hold_arguments(command) : NULL;
    int result = PyErr_Occurred() ? -1 : 0;
    if (arguments != NULL) {
        PyObject **argv = &PyTuple_GET_ITEM(arguments, 0);
        Py_XSETREF(command->replies, Py_NewRef(replies));
        Py_INCREF(self);
        slotted *items = sort_by_slot(self, argv, keys, count);
        result = items != NULL ? send_keys(self, command, argv, items, count, keys->step) : -1;
        PyMem_Free(items);
        Py_DECREF(self);
    }
    Py_XDECREF(arguments);
    Py_XDECREF(replies);
    return result;
}
