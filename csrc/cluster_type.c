/* The Python type of a cluster: how the topology comes in. */
#include "cluster.h"

#include <string.h>

/* ---- life ---- */

static PyObject *
cluster_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"refresh",  "locate",    "encoding", "errors",
                               "patience", "read_from", NULL};
    ar_state *state = PyType_GetModuleState(type);
    PyObject *refresh, *locate;
    const char *encoding, *errors;
    double patience;
    int read_from;
    if (state == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "OOzzdi:Cluster", keywords, &refresh, &locate,
                                     &encoding, &errors, &patience, &read_from)) {
        return NULL;
    }
    if (read_from < AR_READ_PRIMARY || read_from > AR_READ_ZONE) {
        return PyErr_Format(PyExc_ValueError, "read_from=%d is no way of reading", read_from);
    }
    ArCluster *self = (ArCluster *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->state = state;
    self->refresh = Py_NewRef(refresh);
    self->locate = Py_NewRef(locate);
    self->patience = patience;
    self->read_from = (ar_read_from)read_from;
    memset(self->slots, -1, sizeof(self->slots));
    self->codec_owner = Py_BuildValue("(zz)", encoding, errors);
    if (self->codec_owner == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    if (encoding != NULL) {
        self->codec.encoding = PyUnicode_AsUTF8(PyTuple_GET_ITEM(self->codec_owner, 0));
    }
    if (errors != NULL) {
        self->codec.errors = PyUnicode_AsUTF8(PyTuple_GET_ITEM(self->codec_owner, 1));
    }
    return (PyObject *)self;
}

static int
cluster_traverse(ArCluster *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->refresh);
    Py_VISIT(self->locate);
    for (int i = 0; i < self->node_count; i++) {
        Py_VISIT(self->nodes[i]->transport);
    }
    for (ar_router *router = self->routers; router != NULL; router = router->next) {
        int result = ar_router_traverse(router, visit, arg);
        if (result != 0) {
            return result;
        }
    }
    return 0;
}

static void
free_node(ar_node *node)
{
    ar_transport_oversee(node->transport, NULL, NULL);
    Py_DECREF(node->transport);
    Py_DECREF(node->name);
    PyMem_Free(node);
}

static int
cluster_clear(ArCluster *self)
{
    self->closed = 1;
    self->shard_count = 0;
    memset(self->slots, -1, sizeof(self->slots));
    ar_router_close_all(self, NULL);
    while (self->node_count > 0) {
        free_node(self->nodes[--self->node_count]);
    }
    Py_CLEAR(self->refresh);
    Py_CLEAR(self->locate);
    return 0;
}

static void
cluster_dealloc(ArCluster *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    PyObject *pending = ar_exception_take();
    (void)cluster_clear(self);
    PyMem_Free(self->nodes);
    PyMem_Free(self->shards);
    Py_CLEAR(self->codec_owner);
    if (pending != NULL) {
        ar_exception_restore(pending);
    }
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---- the topology ---- */

/* The router of the running loop: a new reference, or NULL. */
static ar_router *
router_here(ArCluster *self)
{
    PyObject *loop = PyObject_CallNoArgs(self->state->get_running_loop);
    ArCore *core = loop != NULL ? ar_core_find(self->state, loop) : NULL;
    Py_XDECREF(loop);
    PyErr_Clear(); /* no loop runs */
    return core != NULL ? ar_router_on(self, core) : NULL;
}

PyDoc_STRVAR(
    update_doc,
    "update($self, nodes, shards, /)\n--\n\n"
    "The topology has come. `nodes`: list of (name, Transport, preferred); `shards`: list\n"
    "of ([(first slot, last slot), ...], [index of the primary, of replicas...]).\n"
    "Commands that waited for it are sent.");

static int
take_nodes(ArCluster *self, PyObject *nodes, ar_node **found)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(nodes); i++) {
        PyObject *name;
        ArTransport *transport;
        int preferred;
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(nodes, i), "UO!p:update", &name,
                              self->state->TransportType, &transport, &preferred)) {
            return -1;
        }
        found[i] = ar_cluster_add_node(self, name, transport);
        if (found[i] == NULL) {
            return -1;
        }
        found[i]->preferred = preferred;
    }
    return 0;
}

static int
take_members(ar_shard *shard, PyObject *members, ar_node **found, Py_ssize_t found_count)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(members); i++) {
        Py_ssize_t index = PyLong_AsSsize_t(PyList_GET_ITEM(members, i));
        if (index < 0 || index >= found_count) {
            if (!PyErr_Occurred()) {
                PyErr_Format(PyExc_ValueError, "no node %zd", index);
            }
            return -1;
        }
        if (i == 0) {
            shard->primary = found[index];
            found[index]->primary = 1;
        } else if (shard->replica_count < AR_REPLICAS_MAX) {
            shard->replicas[shard->replica_count++] = found[index];
        }
    }
    if (shard->primary == NULL) {
        PyErr_SetString(PyExc_ValueError, "a shard without a primary");
        return -1;
    }
    return 0;
}

static int
take_slots(int16_t *slots, int index, PyObject *ranges)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(ranges); i++) {
        int first, last;
        if (!PyArg_ParseTuple(PyList_GET_ITEM(ranges, i), "ii:update", &first, &last)) {
            return -1;
        }
        if (first < 0 || last >= AR_SLOTS || first > last) {
            PyErr_Format(PyExc_ValueError, "no slots: %d to %d", first, last);
            return -1;
        }
        for (int slot = first; slot <= last; slot++) {
            slots[slot] = (int16_t)index;
        }
    }
    return 0;
}

static PyObject *
cluster_update(ArCluster *self, PyObject *args)
{
    PyObject *nodes, *shards;
    if (!PyArg_ParseTuple(args, "O!O!:update", &PyList_Type, &nodes, &PyList_Type, &shards)) {
        return NULL;
    }
    if (self->closed) {
        Py_RETURN_NONE;
    }
    /* A copy: adding a node may run finalizers, and they may change the list. */
    nodes = PyList_AsTuple(nodes);
    if (nodes == NULL) {
        return NULL;
    }
    Py_ssize_t count = PyTuple_GET_SIZE(nodes);
    ar_node **found = PyMem_Calloc((size_t)count + 1, sizeof(*found));
    int16_t *slots = PyMem_Malloc(sizeof(self->slots));
    int result = -1;
    if (found == NULL || slots == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    memset(slots, -1, sizeof(self->slots));
    for (int i = 0; i < self->node_count; i++) {
        self->nodes[i]->primary = 0;
    }
    if (take_nodes(self, nodes, found) < 0) {
        goto done;
    }
    /* From here on nothing runs Python code: the table is never seen half-made. */
    self->shard_count = 0;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(shards); i++) {
        PyObject *ranges, *members;
        ar_shard *shard = ar_cluster_add_shard(self);
        if (shard == NULL ||
            !PyArg_ParseTuple(PyList_GET_ITEM(shards, i), "O!O!:update", &PyList_Type, &ranges,
                              &PyList_Type, &members) ||
            take_members(shard, members, found, count) < 0 ||
            take_slots(slots, (int)i, ranges) < 0) {
            self->shard_count = 0; /* with a bad topology nothing is sent anywhere */
            memset(self->slots, -1, sizeof(self->slots));
            goto done;
        }
    }
    memcpy(self->slots, slots, sizeof(self->slots));
    result = 0;
done:
    PyMem_Free(found);
    PyMem_Free(slots);
    Py_DECREF(nodes);
    if (result < 0) {
        return NULL;
    }
    ar_router *router = router_here(self);
    if (router != NULL) {
        ar_router_updated(router);
        ar_router_unref(router);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(failed_doc, "failed($self, reason, /)\n--\n\n"
                         "There is no topology to be had now: commands that waited for the first\n"
                         "one fail with this exception, others go on waiting.");

static PyObject *
cluster_failed(ArCluster *self, PyObject *reason)
{
    if (!PyExceptionInstance_Check(reason)) {
        PyErr_Format(PyExc_TypeError, "reason must be an exception, not %s",
                     Py_TYPE(reason)->tp_name);
        return NULL;
    }
    ar_router *router = router_here(self);
    if (router != NULL) {
        ar_router_failed(router, reason);
        ar_router_unref(router);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(want_refresh_doc, "want_refresh($self, /)\n--\n\n"
                               "Have the topology asked for soon, on the running loop.");

static PyObject *
cluster_want_refresh(ArCluster *self, PyObject *Py_UNUSED(ignored))
{
    ar_router *router = router_here(self);
    if (router != NULL) {
        ar_router_want_refresh(router, 0.0);
        ar_router_unref(router);
    }
    Py_RETURN_NONE;
}

/* ---- looking at it ---- */

PyDoc_STRVAR(slot_doc, "slot($self, key, /)\n--\n\nThe hash slot of a key, 0 to 16383.");

static PyObject *
cluster_slot(ArCluster *self, PyObject *key)
{
    int slot = ar_cluster_slot(self, key);
    return slot < 0 ? NULL : PyLong_FromLong(slot);
}

PyDoc_STRVAR(slots_doc,
             "slots($self, arguments, /)\n--\n\n"
             "The hash slots of the keys of a command (a tuple of its name and arguments),\n"
             "one for each key; None when it has none, or is not known.");

static PyObject *
cluster_slots(ArCluster *self, PyObject *arguments)
{
    if (!PyTuple_Check(arguments) || PyTuple_GET_SIZE(arguments) == 0) {
        return PyErr_Format(PyExc_TypeError, "arguments must be a tuple that begins with a name");
    }
    PyObject *const *rest = &PyTuple_GET_ITEM(arguments, 0) + 1;
    ar_keys keys;
    if (!ar_keyspec_find(self->state, PyTuple_GET_ITEM(arguments, 0), rest,
                         PyTuple_GET_SIZE(arguments) - 1, &keys)) {
        Py_RETURN_NONE;
    }
    PyObject *list = PyList_New(0);
    for (Py_ssize_t position = ar_keys_first(&keys); list != NULL && position >= 0;
         position = ar_keys_next(&keys, position)) {
        int slot = ar_cluster_slot(self, rest[position]);
        PyObject *number = slot >= 0 ? PyLong_FromLong(slot) : NULL;
        if (number == NULL || PyList_Append(list, number) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(number);
    }
    return list;
}

PyDoc_STRVAR(owner_doc, "owner($self, slot, /)\n--\n\n"
                        "The name of the node to which writes to a slot go, or None.");

static PyObject *
cluster_owner(ArCluster *self, PyObject *number)
{
    long slot = PyLong_AsLong(number);
    if (slot < 0 || slot >= AR_SLOTS) {
        return PyErr_Occurred() ? NULL
                                : PyErr_Format(PyExc_ValueError, "no slot: %ld (0 to 16383)", slot);
    }
    const ar_node *node = ar_cluster_route(self, (unsigned)slot, 0);
    return Py_NewRef(node != NULL ? node->name : Py_None);
}

PyDoc_STRVAR(note_latency_doc, "note_latency($self, name, seconds, /)\n--\n\n"
                               "How long the node of this name takes to answer.");

static PyObject *
cluster_note_latency(ArCluster *self, PyObject *args)
{
    PyObject *name;
    double seconds;
    if (!PyArg_ParseTuple(args, "Ud:note_latency", &name, &seconds)) {
        return NULL;
    }
    ar_node *node = ar_cluster_find_node(self, name);
    if (node != NULL) {
        /* Half of it is news: one slow answer does not move all reads. */
        node->latency = node->latency > 0.0 ? (node->latency + seconds) / 2.0 : seconds;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stats_doc,
             "stats($self, /)\n--\n\n"
             "Figures: moved, asked, again (TRYAGAIN), down (CLUSTERDOWN and nodes that\n"
             "refuse for now), refreshes, waiting, protocol, ready.");

static PyObject *
cluster_stats(ArCluster *self, PyObject *Py_UNUSED(ignored))
{
    Py_ssize_t waiting = 0;
    for (const ar_router *router = self->routers; router != NULL; router = router->next) {
        waiting += (Py_ssize_t)router->count;
    }
    return Py_BuildValue("{sKsKsKsKsKsnsisO}", "moved", self->moved, "asked", self->asked, "again",
                         self->again, "down", self->down, "refreshes", self->refreshes, "waiting",
                         waiting, "protocol", self->protocol, "ready",
                         self->shard_count > 0 ? Py_True : Py_False);
}

PyDoc_STRVAR(reset_doc,
             "reset($self, /)\n--\n\n"
             "Forget the topology: the next command has it asked for. Commands that wait\n"
             "for a node fail with ConnectionError.");

static PyObject *
cluster_reset(ArCluster *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *reason =
        ar_error_format(self->state->ConnectionError, "Connection closed by the client.");
    if (reason == NULL) {
        return NULL;
    }
    self->shard_count = 0;
    memset(self->slots, -1, sizeof(self->slots));
    ar_router_close_all(self, reason);
    Py_DECREF(reason);
    Py_RETURN_NONE;
}

static PyMethodDef cluster_methods[] = {
    {"update", (PyCFunction)cluster_update, METH_VARARGS, update_doc},
    {"failed", (PyCFunction)cluster_failed, METH_O, failed_doc},
    {"want_refresh", (PyCFunction)cluster_want_refresh, METH_NOARGS, want_refresh_doc},
    {"slot", (PyCFunction)cluster_slot, METH_O, slot_doc},
    {"slots", (PyCFunction)cluster_slots, METH_O, slots_doc},
    {"owner", (PyCFunction)cluster_owner, METH_O, owner_doc},
    {"note_latency", (PyCFunction)cluster_note_latency, METH_VARARGS, note_latency_doc},
    {"stats", (PyCFunction)cluster_stats, METH_NOARGS, stats_doc},
    {"reset", (PyCFunction)cluster_reset, METH_NOARGS, reset_doc},
    {NULL},
};

static PyType_Slot cluster_type_slots[] = {
    {Py_tp_doc, (void *)"Cluster(refresh, locate, encoding, errors, patience, read_from)\n--\n\n"
                        "Which node has which slot, and how commands get there."},
    {Py_tp_new, cluster_new},
    {Py_tp_dealloc, cluster_dealloc},
    {Py_tp_traverse, cluster_traverse},
    {Py_tp_clear, cluster_clear},
    {Py_tp_methods, cluster_methods},
    {0, NULL},
};

static PyType_Spec cluster_spec = {
    .name = "aiecs_redis._native.Cluster",
    .basicsize = sizeof(ArCluster),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = cluster_type_slots,
};

int
ar_cluster_setup(PyObject *module, ar_state *state)
{
    static const struct {
        const char *name;
        int value;
    } ways[] = {
        {"READ_PRIMARY", AR_READ_PRIMARY},
        {"READ_ROUND_ROBIN", AR_READ_ROUND_ROBIN},
        {"READ_ROUND_ROBIN_REPLICAS", AR_READ_ROUND_ROBIN_REPLICAS},
        {"READ_RANDOM_REPLICA", AR_READ_RANDOM_REPLICA},
        {"READ_NEAREST", AR_READ_NEAREST},
        {"READ_ZONE", AR_READ_ZONE},
    };
    for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
        if (PyModule_AddIntConstant(module, ways[i].name, ways[i].value) < 0) {
            return -1;
        }
    }
    state->ClusterType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &cluster_spec, NULL);
    if (state->ClusterType == NULL) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "Cluster", (PyObject *)state->ClusterType);
}
