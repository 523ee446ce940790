/* A client without its Python face: its pools, one for each asyncio loop, and its rules for replies. */
#include "client.h"

#include "convert.h"

/* ---- the pool of the running loop ---- */

/* Drops the pools whose loop was closed under them, or that belong to the parent process. */
static int
forget_dead_pools(ArClient *self)
{
    PyObject *pools = PyDict_Values(self->pools);
    if (pools == NULL) {
        return -1;
    }
    int result = 0;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(pools); i++) {
        ArPool *pool = (ArPool *)PyList_GET_ITEM(pools, i);
        if (ar_pool_usable(pool)) {
            continue;
        }
        ar_pool_discard(pool);
        if (PyDict_DelItem(self->pools, (PyObject *)pool->core) < 0) {
            result = -1;
            break;
        }
    }
    Py_DECREF(pools);
    return result;
}

static int
switch_pool(ArClient *self, ArCore *core)
{
    Py_CLEAR(self->pool);
    ArPool *pool = (ArPool *)PyDict_GetItemWithError(self->pools, (PyObject *)core);
    if (pool != NULL && !pool->closed) {
        self->pool = (ArPool *)Py_NewRef((PyObject *)pool);
        return 0;
    }
    if (PyErr_Occurred() || forget_dead_pools(self) < 0) {
        return -1;
    }
    pool = ar_pool_new(core, self->config);
    if (pool == NULL) {
        return -1;
    }
    if (PyDict_SetItem(self->pools, (PyObject *)core, (PyObject *)pool) < 0) {
        Py_DECREF(pool);
        return -1;
    }
    self->pool = pool;
    return 0;
}

int
ar_client_start(ArCommand *command)
{
    ArClient *self = (ArClient *)command->owner;
    /* A core is closed with its last pool; the loop gets another one. */
    if (command->core == NULL || command->core->ev == NULL) {
        ArPool *last = self->pool;
        Py_CLEAR(command->core);
        if (last != NULL && !last->closed && ar_core_draining_here(last->core)) {
            command->core = (ArCore *)Py_NewRef((PyObject *)last->core);
        } else if ((command->core = ar_core_get(command->state)) == NULL) {
            return -1;
        }
    }
    if (self->config == NULL) {
        PyErr_SetString(command->state->ConnectionError, "The client has been closed.");
        return -1;
    }
    if ((self->pool == NULL || self->pool->core != command->core || self->pool->closed) &&
        switch_pool(self, command->core) < 0) {
        return -1;
    }
    return ar_pool_submit(self->pool, command);
}

int
ar_client_close_pools(ArClient *self)
{
    Py_CLEAR(self->pool);
    if (self->pools == NULL) {
        return 0;
    }
    PyObject *pools = PyDict_Values(self->pools);
    if (pools == NULL) {
        return -1;
    }
    PyDict_Clear(self->pools);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(pools); i++) {
        ArPool *pool = (ArPool *)PyList_GET_ITEM(pools, i);
        if (ar_pool_usable(pool)) {
            ar_pool_close(pool);
        } else {
            ar_pool_discard(pool);
        }
    }
    Py_DECREF(pools);
    return 0;
}

/* ---- replies ---- */

/* The first connection that had to fall back to RESP2 changes the client's response callbacks. */
static int
note_protocol(ArClient *self)
{
    if (self->downgraded || self->pool == NULL || self->pool->protocol != 2 ||
        self->config->protocol != 3) {
        return 0;
    }
    self->downgraded = 1;
    PyObject *result = PyObject_CallMethod((PyObject *)self, "_on_resp2_fallback", NULL);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

PyObject *
ar_client_convert(ArClient *self, PyObject *name, PyObject *options, PyObject *reply)
{
    ar_state *state = self->target.state;
    PyObject *empty =
        options != NULL ? PyDict_GetItemWithError(options, state->str_EMPTY_RESPONSE) : NULL;
    if (PyExceptionInstance_Check(reply)) {
        if (empty != NULL) {
            Py_DECREF(reply);
            return Py_NewRef(empty);
        }
        PyErr_SetObject((PyObject *)Py_TYPE(reply), reply);
        Py_DECREF(reply);
        return NULL;
    }
    if (note_protocol(self) < 0) {
        Py_DECREF(reply);
        return NULL;
    }
    if (empty == NULL) {
        return ar_convert(state, self->callbacks, name, options, reply);
    }
    PyObject *rest = PyDict_Copy(options);
    PyObject *result = NULL;
    if (rest != NULL && PyDict_DelItem(rest, state->str_EMPTY_RESPONSE) == 0) {
        result = ar_convert(state, self->callbacks, name, rest, reply);
    } else {
        Py_DECREF(reply);
    }
    Py_XDECREF(rest);
    return result;
}
