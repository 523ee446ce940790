/* Each method takes the common call shapes of redis-py's method of the same name; any other shape (and any
 * error in the arguments) is left to redis-py's own method, which ends in execute_command. */
#include "hot.h"

#include <string.h>

#define R (AR_REPLAYABLE | AR_READ)
/* A write whose repetition changes nothing. */
#define W AR_REPLAYABLE

/* X(method, command, shape, argument count, properties) */
#define HOT_COMMANDS(X)                                                                            \
    X(get, "GET", exact, 1, R)                                                                     \
    X(ttl, "TTL", exact, 1, R)                                                                     \
    X(hget, "HGET", exact, 2, R)                                                                   \
    X(hgetall, "HGETALL", exact, 1, R)                                                             \
    X(smembers, "SMEMBERS", exact, 1, R)                                                           \
    X(lrange, "LRANGE", exact, 3, R)                                                               \
    X(lpop, "LPOP", exact, 1, 0)                                                                   \
    X(zrange, "ZRANGE", exact, 3, R)                                                               \
    X(publish, "PUBLISH", exact, 2, 0)                                                             \
    X(ping, "PING", exact, 0, R)                                                                   \
    X(echo, "ECHO", exact, 1, R)                                                                   \
    X(incr, "INCRBY", counted, 1, 0)                                                               \
    X(incrby, "INCRBY", counted, 1, 0)                                                             \
    X(decr, "DECRBY", counted, 1, 0)                                                               \
    X(decrby, "DECRBY", counted, 1, 0)                                                             \
    X(hincrby, "HINCRBY", counted, 2, 0)                                                           \
    X(exists, "EXISTS", at_least, 1, R)                                                            \
    X(delete, "DEL", at_least, 1, W)                                                               \
    X(lpush, "LPUSH", at_least, 2, 0)                                                              \
    X(rpush, "RPUSH", at_least, 2, 0)                                                              \
    X(sadd, "SADD", at_least, 2, W)                                                                \
    X(eval, "EVAL", at_least, 2, 0)                                                                \
    X(evalsha, "EVALSHA", at_least, 2, 0)                                                          \
    X(mget, "MGET", keys_last, 1, R)                                                               \
    X(hmget, "HMGET", keys_last, 2, R)                                                             \
    X(expire, "EXPIRE", seconds_last, 2, W)                                                        \
    X(set, "SET", set_options, 2, W)                                                               \
    X(hset, "HSET", hash_fields, 1, W)                                                             \
    X(zadd, "ZADD", scores, 2, 0)

enum {
#define X(method, command, shape, count, properties) HOT_##method,
    HOT_COMMANDS(X)
#undef X
        HOT_COUNT
};

static const struct {
    const char *method, *command;
} spellings[] = {
#define X(method, command, shape, count, properties) {#method, command},
    HOT_COMMANDS(X)
#undef X
};

/* state->hot_names: tuple of (method, command, method, command, ..., then option words). */
enum { WORD_EX = 2 * HOT_COUNT, WORD_PX, WORD_NX, WORD_XX, WORD_COUNT };
static const char *const option_words[] = {"EX", "PX", "NX", "XX"};

typedef struct {
    ArTarget *self;
    int index; /* HOT_get ... */
    Py_ssize_t count;
    uint8_t properties;
    PyObject *const *args;
    Py_ssize_t nargs;
    PyObject *kwnames;
} hot_call;

static PyObject *
word(const hot_call *call, int index)
{
    return PyTuple_GET_ITEM(call->self->state->hot_names, index);
}

static PyObject *
fall_back(const hot_call *call)
{
    return ar_target_fall_back(call->self, word(call, 2 * call->index), call->args, call->nargs,
                               call->kwnames);
}

static PyObject *
dispatch_with(const hot_call *call, PyObject *const *rest, Py_ssize_t count, uint8_t properties)
{
    return call->self->dispatch(call->self, word(call, 2 * call->index + 1), rest, count, NULL,
                                properties);
}

/* ---- shapes ---- */

static PyObject *
shape_exact(const hot_call *call)
{
    if (call->nargs != call->count || call->kwnames != NULL) {
        return fall_back(call);
    }
    return dispatch_with(call, call->args, call->nargs, call->properties);
}

static PyObject *
shape_at_least(const hot_call *call)
{
    if (call->nargs < call->count || call->kwnames != NULL) {
        return fall_back(call);
    }
    return dispatch_with(call, call->args, call->nargs, call->properties);
}

/* An amount follows; it is 1 when it is left out. */
static PyObject *
shape_counted(const hot_call *call)
{
    if (call->kwnames != NULL || call->nargs < call->count || call->nargs > call->count + 1) {
        return fall_back(call);
    }
    if (call->nargs == call->count + 1) {
        return dispatch_with(call, call->args, call->nargs, call->properties);
    }
    PyObject *one = PyLong_FromLong(1);
    if (one == NULL) {
        return NULL;
    }
    PyObject *rest[3] = {call->args[0], call->count == 2 ? call->args[1] : one, one};
    PyObject *result = dispatch_with(call, rest, call->count + 1, call->properties);
    Py_DECREF(one);
    return result;
}

static PyObject *
shape_seconds_last(const hot_call *call)
{
    if (call->kwnames != NULL || call->nargs != call->count ||
        !PyLong_CheckExact(call->args[call->nargs - 1])) {
        return fall_back(call);
    }
    return dispatch_with(call, call->args, call->nargs, call->properties);
}

/* With what was in a list or dict, which finalizers may change while the command is made. Takes over the references,
 * and the memory. */
static PyObject *
dispatch_held(const hot_call *call, PyObject **rest, Py_ssize_t count)
{
    PyObject *result = dispatch_with(call, rest, count, call->properties);
    while (count > 0) {
        Py_DECREF(rest[--count]);
    }
    PyMem_Free(rest);
    return result;
}

/* The last argument is a list or tuple of keys. */
static PyObject *
shape_keys_last(const hot_call *call)
{
    PyObject *keys = call->nargs > 0 ? call->args[call->nargs - 1] : NULL;
    if (call->kwnames != NULL || call->nargs != call->count ||
        !(PyList_CheckExact(keys) || PyTuple_CheckExact(keys)) ||
        PySequence_Fast_GET_SIZE(keys) == 0) {
        return fall_back(call);
    }
    Py_ssize_t size = PySequence_Fast_GET_SIZE(keys), before = call->nargs - 1;
    if (before == 0 && PyTuple_CheckExact(keys)) {
        return dispatch_with(call, &PyTuple_GET_ITEM(keys, 0), size, call->properties);
    }
    PyObject **rest = PyMem_New(PyObject *, before + size);
    if (rest == NULL) {
        return PyErr_NoMemory();
    }
    if (before == 1) {
        rest[0] = Py_NewRef(call->args[0]);
    }
    for (Py_ssize_t i = 0; i < size; i++) {
        rest[before + i] = Py_NewRef(PySequence_Fast_GET_ITEM(keys, i));
    }
    return dispatch_held(call, rest, before + size);
}

typedef struct {
    PyObject *ex, *px;
    int nx, xx;
} set_options;

/* 0 when one keyword of SET is understood, -1 when the call is for redis-py's method. */
static int
read_set_option(set_options *options, PyObject *name, PyObject *value)
{
    PyObject **seconds = PyUnicode_CompareWithASCIIString(name, "ex") == 0   ? &options->ex
                         : PyUnicode_CompareWithASCIIString(name, "px") == 0 ? &options->px
                                                                             : NULL;
    if (seconds != NULL) {
        if (*seconds != NULL || (value != Py_None && !PyLong_CheckExact(value))) {
            return -1;
        }
        *seconds = value != Py_None ? value : NULL;
        return 0;
    }
    int *flag = PyUnicode_CompareWithASCIIString(name, "nx") == 0   ? &options->nx
                : PyUnicode_CompareWithASCIIString(name, "xx") == 0 ? &options->xx
                                                                    : NULL;
    if (flag == NULL || !PyBool_Check(value)) {
        return -1;
    }
    *flag = value == Py_True;
    return 0;
}

static PyObject *
shape_set_options(const hot_call *call)
{
    set_options options = {0};
    Py_ssize_t keywords = call->kwnames != NULL ? PyTuple_GET_SIZE(call->kwnames) : 0;
    if (call->nargs < 2 || call->nargs > 3) {
        return fall_back(call);
    }
    if (call->nargs == 3 && call->args[2] != Py_None) {
        if (!PyLong_CheckExact(call->args[2])) {
            return fall_back(call);
        }
        options.ex = call->args[2];
    }
    for (Py_ssize_t i = 0; i < keywords; i++) {
        if (read_set_option(&options, PyTuple_GET_ITEM(call->kwnames, i),
                            call->args[call->nargs + i]) < 0) {
            return fall_back(call);
        }
    }
    if ((options.ex != NULL && options.px != NULL) || (options.nx && options.xx)) {
        return fall_back(call);
    }
    PyObject *rest[5] = {call->args[0], call->args[1]};
    Py_ssize_t count = 2;
    if (options.ex != NULL || options.px != NULL) {
        rest[count++] = word(call, options.ex != NULL ? WORD_EX : WORD_PX);
        rest[count++] = options.ex != NULL ? options.ex : options.px;
    }
    if (options.nx || options.xx) {
        rest[count++] = word(call, options.nx ? WORD_NX : WORD_XX);
    }
    return dispatch_with(call, rest, count, options.nx || options.xx ? 0 : call->properties);
}

/* name, then the pairs of the mapping: field and value, or score and member. */
static PyObject *
dispatch_mapping(const hot_call *call, PyObject *mapping, int value_first)
{
    Py_ssize_t size = PyDict_GET_SIZE(mapping), position = 0, count = 0;
    PyObject *key, *value;
    PyObject **rest = PyMem_New(PyObject *, 1 + 2 * size);
    if (rest == NULL) {
        return PyErr_NoMemory();
    }
    rest[count++] = Py_NewRef(call->args[0]);
    while (PyDict_Next(mapping, &position, &key, &value)) {
        rest[count++] = Py_NewRef(value_first ? value : key);
        rest[count++] = Py_NewRef(value_first ? key : value);
    }
    return dispatch_held(call, rest, count);
}

static int
is_filled_dict(PyObject *object)
{
    return PyDict_CheckExact(object) && PyDict_GET_SIZE(object) > 0;
}

static PyObject *
shape_hash_fields(const hot_call *call)
{
    if (call->kwnames == NULL && call->nargs == 3 && call->args[1] != Py_None) {
        return dispatch_with(call, call->args, 3, call->properties);
    }
    if (call->nargs == 1 && call->kwnames != NULL && PyTuple_GET_SIZE(call->kwnames) == 1 &&
        PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(call->kwnames, 0), "mapping") == 0 &&
        is_filled_dict(call->args[1])) {
        return dispatch_mapping(call, call->args[1], 0);
    }
    return fall_back(call);
}

static PyObject *
shape_scores(const hot_call *call)
{
    if (call->kwnames != NULL || call->nargs != 2 || !is_filled_dict(call->args[1])) {
        return fall_back(call);
    }
    return dispatch_mapping(call, call->args[1], 1);
}

/* ---- methods ---- */

#define X(method, command, shape, count_, properties_)                                             \
    static PyObject *hot_##method(ArTarget *self, PyObject *const *args, Py_ssize_t nargs,         \
                                  PyObject *kwnames)                                               \
    {                                                                                              \
        hot_call call = {.self = self,                                                             \
                         .index = HOT_##method,                                                    \
                         .count = count_,                                                          \
                         .properties = properties_,                                                \
                         .args = args,                                                             \
                         .nargs = nargs,                                                           \
                         .kwnames = kwnames};                                                      \
        return ar_target_is_direct(self) ? shape_##shape(&call) : fall_back(&call);                \
    }
HOT_COMMANDS(X)
#undef X

static PyMethodDef hot_methods[] = {
#define X(method, command, shape, count, properties)                                               \
    {#method, (PyCFunction)(void (*)(void))hot_##method, METH_FASTCALL | METH_KEYWORDS,            \
     #method "($self, /, *args, **kwargs)\n--\n\nredis-py's " #method "(), natively."},
    HOT_COMMANDS(X)
#undef X
        {NULL},
};

int
ar_hot_add_methods(PyTypeObject *type)
{
    for (PyMethodDef *method = hot_methods; method->ml_name != NULL; method++) {
        PyObject *descriptor = PyDescr_NewMethod(type, method);
        int result = descriptor == NULL
                         ? -1
                         : PyObject_SetAttrString((PyObject *)type, method->ml_name, descriptor);
        Py_XDECREF(descriptor);
        if (result < 0) {
            return -1;
        }
    }
    return 0;
}

int
ar_hot_add_names(PyObject *module)
{
    PyObject *names = PyTuple_New(HOT_COUNT);
    for (int i = 0; names != NULL && i < HOT_COUNT; i++) {
        PyObject *name = PyUnicode_InternFromString(spellings[i].method);
        if (name == NULL) {
            Py_CLEAR(names);
        } else {
            PyTuple_SET_ITEM(names, i, name);
        }
    }
    int result = names != NULL ? PyModule_AddObjectRef(module, "HOT_METHODS", names) : -1;
    Py_XDECREF(names);
    return result;
}

int
ar_hot_setup(ar_state *state)
{
    state->hot_names = PyTuple_New(WORD_COUNT);
    if (state->hot_names == NULL) {
        return -1;
    }
    for (int i = 0; i < WORD_COUNT; i++) {
        const char *text = i >= WORD_EX ? option_words[i - WORD_EX]
                           : i % 2 == 0 ? spellings[i / 2].method
                                        : spellings[i / 2].command;
        PyObject *name = PyUnicode_InternFromString(text);
        if (name == NULL) {
            return -1;
        }
        PyTuple_SET_ITEM(state->hot_names, i, name);
    }
    return 0;
}
