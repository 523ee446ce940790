/* aiecs_redis._native: module state, functions, and the chain of type set-ups. */
#include "module.h"

#include "awaitable.h"
#include "client_type.h"
#include "forward.h"
#include "hot.h"
#include "link.h"
#include "pipeline.h"
#include "reader.h"
#include "scope.h"

#include <string.h>

static ar_state *
state_of(PyObject *module)
{
    return PyModule_GetState(module);
}

PyDoc_STRVAR(configure_doc,
             "configure($module, /, **bound)\n--\n\n"
             "Hand over what the core must not import: exception classes, redis-py's\n"
             "classes and helpers. Called once by aiecs_redis._bind.");

static PyObject *
module_configure(PyObject *module, PyObject *args, PyObject *kwargs)
{
    ar_state *state = state_of(module);
    if (PyTuple_GET_SIZE(args) != 0 || kwargs == NULL) {
        PyErr_SetString(PyExc_TypeError, "configure() takes keyword arguments");
        return NULL;
    }
#define X(type, name)                                                                              \
    {                                                                                              \
        PyObject *value = PyDict_GetItemString(kwargs, #name);                                     \
        if (value == NULL) {                                                                       \
            PyErr_SetString(PyExc_TypeError, "configure() needs " #name);                          \
            return NULL;                                                                           \
        }                                                                                          \
        Py_XSETREF(state->name, Py_NewRef(value));                                                 \
    }
    AR_STATE_BOUND(X)
#undef X
    Py_RETURN_NONE;
}

PyDoc_STRVAR(encode_doc, "encode($module, args, encoding='utf-8', errors='strict')\n--\n\n"
                         "The RESP form of one command. Raises redis.exceptions.DataError for an\n"
                         "argument that is no bytes, str, int or float.");

static PyObject *
module_encode(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"args", "encoding", "errors", NULL};
    ar_outq queue = {0};
    ar_text_codec codec = {0};
    PyObject *words, *result = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!|zz:encode", keywords, &PyTuple_Type, &words,
                                     &codec.encoding, &codec.errors)) {
        return NULL;
    }
    if (PyTuple_GET_SIZE(words) == 0) {
        PyErr_SetString(PyExc_ValueError, "a command has at least its name");
        return NULL;
    }
    if (ar_encode_command(state_of(module), &queue, &codec, &PyTuple_GET_ITEM(words, 0),
                          PyTuple_GET_SIZE(words)) == 0) {
        result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)ar_outq_pending(&queue));
    }
    char *out = result != NULL ? PyBytes_AS_STRING(result) : NULL;
    for (const ar_chunk *chunk = queue.head; result != NULL && chunk != NULL; chunk = chunk->next) {
        memcpy(out, chunk->data, chunk->length);
        out += chunk->length;
    }
    ar_outq_clear(&queue);
    return result;
}

PyDoc_STRVAR(guard_doc, "guard($module, awaitable, on_error, key, /)\n--\n\n"
                        "Attach an error policy: on an Exception, the value of on_error(key,\n"
                        "exception) is the result.");

static PyObject *
module_guard(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    ar_state *state = state_of(module);
    if (nargs != 3) {
        PyErr_SetString(PyExc_TypeError, "guard() takes awaitable, on_error and key");
        return NULL;
    }
    if (!Py_IS_TYPE(args[0], state->CommandType)) {
        return PyObject_CallFunctionObjArgs(state->guard_awaitable, args[0], args[1], args[2],
                                            NULL);
    }
    ArCommand *command = (ArCommand *)args[0];
    if (command->status != AR_NEW || command->inner != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "an error policy comes before the start of a command");
        return NULL;
    }
    Py_XSETREF(command->on_error, Py_NewRef(args[1]));
    Py_XSETREF(command->error_key, Py_NewRef(args[2]));
    return Py_NewRef(args[0]);
}

PyDoc_STRVAR(truth_doc, "truth($module, awaitable, /)\n--\n\n"
                        "The awaitable with bool() of its result as its result.");

static PyObject *
module_truth(PyObject *module, PyObject *awaitable)
{
    ar_state *state = state_of(module);
    if (!Py_IS_TYPE(awaitable, state->CommandType)) {
        return PyObject_CallOneArg(state->truth_awaitable, awaitable);
    }
    ((ArCommand *)awaitable)->as_bool = 1;
    return Py_NewRef(awaitable);
}

PyDoc_STRVAR(after_fork_doc,
             "after_fork($module, /)\n--\n\n"
             "To be called in the child after os.fork(): connections of the parent\n"
             "are not used there.");

static PyObject *
module_after_fork(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    ar_core_after_fork();
    Py_RETURN_NONE;
}

PyDoc_STRVAR(set_busy_poll_doc,
             "set_busy_poll($module, seconds, /)\n--\n\n"
             "How long a loop polls for a reply before it sleeps, at most; 0: not at all. Loops\n"
             "that have a client already stay as they are. ValueError outside of 0 to 0.001.");

static PyObject *
module_set_busy_poll(PyObject *module, PyObject *argument)
{
    double seconds = PyFloat_AsDouble(argument);
    if (seconds == -1.0 && PyErr_Occurred()) {
        return NULL;
    }
    if (!(seconds >= 0.0 && seconds <= AR_BUSYPOLL_MAX)) {
        return PyErr_Format(PyExc_ValueError, "seconds of polling are 0 to 0.001, not %R",
                            argument);
    }
    state_of(module)->busy_poll = seconds;
    Py_RETURN_NONE;
}

static PyMethodDef module_methods[] = {
    {"configure", (PyCFunction)(void (*)(void))module_configure, METH_VARARGS | METH_KEYWORDS,
     configure_doc},
    {"encode", (PyCFunction)(void (*)(void))module_encode, METH_VARARGS | METH_KEYWORDS,
     encode_doc},
    {"guard", (PyCFunction)(void (*)(void))module_guard, METH_FASTCALL, guard_doc},
    {"truth", module_truth, METH_O, truth_doc},
    {"set_busy_poll", module_set_busy_poll, METH_O, set_busy_poll_doc},
    {"after_fork", module_after_fork, METH_NOARGS, after_fork_doc},
    {NULL},
};

static PyObject *
import_attribute(const char *module_name, const char *name)
{
    PyObject *module = PyImport_ImportModule(module_name);
    if (module == NULL) {
        return NULL;
    }
    if (name == NULL) {
        return module;
    }
    PyObject *value = PyObject_GetAttrString(module, name);
    Py_DECREF(module);
    return value;
}

static int
import_names(ar_state *state)
{
    struct {
        PyObject **slot;
        const char *module, *name;
    } imports[] = {
        {&state->get_running_loop, "asyncio", "get_running_loop"},
        {&state->running_loop_or_none, "asyncio", "_get_running_loop"},
        {&state->CancelledError, "asyncio", "CancelledError"},
        {&state->InvalidStateError, "asyncio", "InvalidStateError"},
        {&state->socket_module, "socket", NULL},
    };
    for (size_t i = 0; i < sizeof(imports) / sizeof(*imports); i++) {
        *imports[i].slot = import_attribute(imports[i].module, imports[i].name);
        if (*imports[i].slot == NULL) {
            return -1;
        }
    }
    return 0;
}

static int
intern_strings(ar_state *state)
{
    struct {
        PyObject **slot;
        const char *text;
    } strings[] = {
        {&state->str_is_closed, "is_closed"},
        {&state->str_message, "message"},
        {&state->str_exception, "exception"},
        {&state->str_future, "future"},
        {&state->str_NEVER_DECODE, "NEVER_DECODE"},
        {&state->str_EMPTY_RESPONSE, "EMPTY_RESPONSE"},
        {&state->str_keys, "keys"},
        {&state->str_target_nodes, "target_nodes"},
        {&state->str_execute_command, "execute_command"},
        {&state->str_response_callbacks, "response_callbacks"},
        {&state->str_connection, "connection"},
        {&state->str_type, "type"},
        {&state->str_pattern, "pattern"},
        {&state->str_channel, "channel"},
        {&state->str_data, "data"},
        {&state->str_pmessage, "pmessage"},
        {&state->str_smessage, "smessage"},
        {&state->str_watching, "watching"},
        {&state->str_pipeline_execute_command, "pipeline_execute_command"},
        {&state->str_ok, "OK"},
        {&state->str_queued, "QUEUED"},
    };
    for (size_t i = 0; i < sizeof(strings) / sizeof(*strings); i++) {
        *strings[i].slot = PyUnicode_InternFromString(strings[i].text);
        if (*strings[i].slot == NULL) {
            return -1;
        }
    }
    state->bytes_ok = PyBytes_FromString("OK");
    state->bytes_queued = PyBytes_FromString("QUEUED");
    return state->bytes_ok == NULL || state->bytes_queued == NULL ? -1 : 0;
}

static int
add_versions(PyObject *module)
{
    char hiredis[32], libev[32];
    PyOS_snprintf(hiredis, sizeof(hiredis), "%d.%d.%d", HIREDIS_MAJOR, HIREDIS_MINOR,
                  HIREDIS_PATCH);
    PyOS_snprintf(libev, sizeof(libev), "%d.%d", ev_version_major(), ev_version_minor());
    return PyModule_AddStringConstant(module, "HIREDIS_VERSION", hiredis) < 0 ||
                   PyModule_AddStringConstant(module, "LIBEV_VERSION", libev) < 0 ||
                   PyModule_AddStringConstant(module, "OPENSSL_VERSION", ar_tls_library_version()) <
                       0
               ? -1
               : 0;
}

static int
module_exec(PyObject *module)
{
    ar_state *state = state_of(module);
    state->busy_poll = AR_BUSYPOLL_DEFAULT;
    if (import_names(state) < 0 || intern_strings(state) < 0 || add_versions(module) < 0 ||
        ar_hot_setup(state) < 0 || ar_hot_add_names(module) < 0 ||
        ar_queue_setup(module, state) < 0 || ar_reader_setup(module, state) < 0 ||
        ar_core_setup(module, state) < 0 || ar_scope_setup(module, state) < 0 ||
        ar_coroutine_setup(module, state) < 0 || ar_future_setup(module, state) < 0 ||
        ar_config_setup(module, state) < 0 || ar_pool_setup(module, state) < 0 ||
        ar_link_setup(module, state) < 0 || ar_transport_setup(module, state) < 0 ||
        ar_cluster_setup(module, state) < 0 || ar_forward_setup(module, state) < 0 ||
        ar_client_type_setup(module, state) < 0 || ar_pipeline_setup(module, state) < 0) {
        return -1;
    }
    return 0;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    ar_state *state = state_of(module);
#define X(type, name) Py_VISIT(state->name);
    AR_STATE_TYPES(X)
    AR_STATE_BOUND(X)
    AR_STATE_OWN(X)
#undef X
    return 0;
}

/* There is no m_clear: the collector would call it while connections still live, whose end needs the state.
 * Cycles are broken by the types, which let go of the module; it is kept by each core until then. */
static void
module_free(void *module)
{
    ar_state *state = state_of(module);
    ar_command_free_spares(state);
    ar_keyspec_forget(state);
#define X(type, name) Py_CLEAR(state->name);
    AR_STATE_TYPES(X)
    AR_STATE_BOUND(X)
    AR_STATE_OWN(X)
#undef X
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

PyModuleDef ar_module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "aiecs_redis._native",
    .m_doc = "The C core: libev and hiredis inside asyncio.",
    .m_size = sizeof(ar_state),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__native(void)
{
    return PyModuleDef_Init(&ar_module_definition);
}
