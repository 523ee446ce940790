/* _native.Config: keyword arguments to a C struct. aiecs_redis._options has validated them. */
#include "config.h"

static int
config_traverse(ArConfig *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->kwargs_owner);
    return 0;
}

static int
config_clear(ArConfig *self)
{
    Py_CLEAR(self->kwargs_owner);
    self->credentials = self->client_name = self->lib_name = self->lib_version = NULL;
    self->socket_options = self->backoff = self->locate = NULL;
    return 0;
}

static void
config_dealloc(ArConfig *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    ar_tls_free(self->tls);
    (void)config_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
config_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"host",
                               "port",
                               "path",
                               "db",
                               "credentials",
                               "client_name",
                               "lib_name",
                               "lib_version",
                               "protocol",
                               "encoding",
                               "errors",
                               "decode_responses",
                               "timeout",
                               "connect_timeout",
                               "keepalive",
                               "socket_options",
                               "max_connections",
                               "pool_timeout",
                               "max_pending_bytes",
                               "tls",
                               "retries",
                               "backoff",
                               "replay",
                               "retry_on_timeout",
                               "health_check_interval",
                               "introduce",
                               "operation_timeout",
                               "breaker_failures",
                               "breaker_recovery",
                               "breaker_jitter",
                               "locate",
                               "read_only_moves",
                               "readonly",
                               NULL};
    ar_state *state = PyType_GetModuleState(type);
    PyObject *tls = Py_None;
    ArConfig *self = (ArConfig *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->state = state;
    self->credentials = self->client_name = self->lib_name = self->lib_version = Py_None;
    self->backoff = self->locate = Py_None;
    self->protocol = 3;
    self->introduce = 1;
    self->max_connections = 1;
    self->max_pending_bytes = 64 * 1024 * 1024;
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "|$zizLOOOOizzpddpO!idLOiOppdpdiddOpp:Config", keywords,
            &self->endpoint.host, &self->endpoint.port, &self->endpoint.path, &self->db,
            &self->credentials, &self->client_name, &self->lib_name, &self->lib_version,
            &self->protocol, &self->codec.encoding, &self->codec.errors, &self->decode,
            &self->timeout, &self->connect_timeout, &self->keepalive, &PyTuple_Type,
            &self->socket_options, &self->max_connections, &self->pool_timeout,
            &self->max_pending_bytes, &tls, &self->retries, &self->backoff, &self->replay,
            &self->retry_on_timeout, &self->health_check_interval, &self->introduce,
            &self->operation_timeout, &self->breaker_failures, &self->breaker_recovery,
            &self->breaker_jitter, &self->locate, &self->read_only_moves, &self->readonly)) {
        goto error;
    }
    if ((self->endpoint.host == NULL) == (self->endpoint.path == NULL)) {
        PyErr_SetString(PyExc_ValueError, "give either host and port, or path");
        goto error;
    }
    /* The strings above are borrowed from the keyword arguments. */
    self->kwargs_owner = PyDict_Copy(kwargs);
    if (self->kwargs_owner == NULL) {
        goto error;
    }
    if (tls != Py_None) {
        self->tls = ar_tls_new(state, tls);
        if (self->tls == NULL) {
            goto error;
        }
    }
    return (PyObject *)self;

error:
    Py_DECREF(self);
    return NULL;
}

static PyObject *
config_repr(ArConfig *self)
{
    if (self->endpoint.path != NULL) {
        return PyUnicode_FromFormat("<Config unix://%s db=%lld>", self->endpoint.path, self->db);
    }
    return PyUnicode_FromFormat("<Config %s:%d db=%lld>", self->endpoint.host, self->endpoint.port,
                                self->db);
}

static PyType_Slot config_slots[] = {
    {Py_tp_doc, (void *)"Settings of a client, immutable. Made by aiecs_redis only."},
    {Py_tp_new, config_new},
    {Py_tp_dealloc, config_dealloc},
    {Py_tp_traverse, config_traverse},
    {Py_tp_clear, config_clear},
    {Py_tp_repr, config_repr},
    {0, NULL},
};

static PyType_Spec config_spec = {
    .name = "aiecs_redis._native.Config",
    .basicsize = sizeof(ArConfig),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = config_slots,
};

int
ar_config_setup(PyObject *module, ar_state *state)
{
    state->ConfigType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &config_spec, NULL);
    if (state->ConfigType == NULL) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "Config", (PyObject *)state->ConfigType);
}
