/* The object factory. Every child is attached to its parent as soon as it exists, because hiredis frees
 * only the root when it gives up; a map's key waits in the sink until its value is there. */
#include "reply.h"

#include <string.h>

/* Lists longer than this grow as their elements arrive: an announced length is only a promise. */
#define PREALLOCATE_MAX 4096
/* Unused buffer the reader may keep, in bytes. */
#define READER_KEEP (1024 * 1024)
#define DEPTH_MAX 512

static ar_reply_sink *
sink_of(const redisReadTask *task)
{
    return task->privdata;
}

/* Keeps the stream in step: a value that fails becomes None here and an exception in the end. */
static PyObject *
value_or_none(ar_reply_sink *sink, PyObject *value)
{
    if (value != NULL) {
        return value;
    }
    if (PyErr_ExceptionMatches(PyExc_MemoryError)) {
        return NULL;
    }
    PyObject *error = ar_exception_take();
    if (sink->error == NULL) {
        sink->error = error;
    } else {
        Py_XDECREF(error);
    }
    return Py_NewRef(Py_None);
}

static int
push_key(ar_reply_sink *sink, PyObject *key)
{
    if (sink->key_count == sink->key_capacity) {
        size_t capacity = sink->key_capacity ? sink->key_capacity * 2 : 8;
        PyObject **keys = PyMem_Realloc(sink->keys, capacity * sizeof(*keys));
        if (keys == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        sink->keys = keys;
        sink->key_capacity = capacity;
    }
    sink->keys[sink->key_count++] = Py_NewRef(key);
    return 0;
}

static int
attach_to_map(ar_reply_sink *sink, const redisReadTask *task, PyObject *map, PyObject *value)
{
    if (task->idx % 2 == 0) {
        return push_key(sink, value);
    }
    PyObject *key = sink->keys[--sink->key_count];
    int result = PyDict_SetItem(map, key, value);
    Py_DECREF(key);
    if (result == 0 || PyErr_ExceptionMatches(PyExc_MemoryError)) {
        return result;
    }
    /* An aggregate as a key has no hash: the reply as a whole reports it. The value stays, because
     * hiredis goes on filling it. */
    PyObject *none = value_or_none(sink, NULL);
    Py_XDECREF(none);
    PyObject *placeholder = PyObject_CallNoArgs((PyObject *)&PyBaseObject_Type);
    if (placeholder == NULL) {
        return -1;
    }
    result = PyDict_SetItem(map, placeholder, value);
    Py_DECREF(placeholder);
    return result;
}

/* Steals `value` into its parent; returns it (now borrowed from there, or owned as the root). */
static PyObject *
attach(const redisReadTask *task, PyObject *value)
{
    if (value == NULL || task->parent == NULL) {
        return value;
    }
    PyObject *parent = task->parent->obj;
    int result;
    if (PyDict_CheckExact(parent)) {
        result = attach_to_map(sink_of(task), task, parent, value);
        Py_DECREF(value);
    } else if (task->idx < PyList_GET_SIZE(parent)) {
        PyList_SET_ITEM(parent, task->idx, value);
        result = 0;
    } else {
        result = PyList_Append(parent, value);
        Py_DECREF(value);
    }
    /* hiredis wants a non-NULL token only; the parent keeps the value alive. */
    return result < 0 ? NULL : value;
}

static void
note_kind(const redisReadTask *task)
{
    if (task->parent == NULL) {
        sink_of(task)->kind = task->type == REDIS_REPLY_PUSH   ? AR_REPLY_PUSH
                              : task->type == REDIS_REPLY_ATTR ? AR_REPLY_ATTRIBUTE
                                                               : AR_REPLY_VALUE;
    }
}

PyObject *
ar_reply_text_value(ar_reply_sink *sink, const char *text, size_t length)
{
    if (!sink->decode) {
        return PyBytes_FromStringAndSize(text, (Py_ssize_t)length);
    }
    if (sink->encoding == NULL) {
        return PyUnicode_DecodeUTF8(text, (Py_ssize_t)length, sink->errors);
    }
    return PyUnicode_Decode(text, (Py_ssize_t)length, sink->encoding,
                            sink->errors ? sink->errors : "strict");
}

PyObject *
ar_reply_status_value(ar_reply_sink *sink, const char *text, size_t length)
{
    if (!sink->decode || sink->encoding == NULL) {
        if (length == 2 && memcmp(text, "OK", 2) == 0) {
            return Py_NewRef(sink->decode ? sink->state->str_ok : sink->state->bytes_ok);
        }
        if (length == 6 && memcmp(text, "QUEUED", 6) == 0) {
            return Py_NewRef(sink->decode ? sink->state->str_queued : sink->state->bytes_queued);
        }
    }
    return ar_reply_text_value(sink, text, length);
}

/* hiredis takes the two bytes behind a bulk string for CRLF unseen. */
static int
ends_in_crlf(const char *text, size_t length)
{
    return text[length] == '\r' && text[length + 1] == '\n';
}

void
ar_reply_set_missing_crlf(ar_state *state)
{
    PyErr_SetString(state->InvalidResponse, "Protocol error: a bulk string does not end in CRLF");
}

static PyObject *
big_number_value(const char *digits, size_t length)
{
    PyObject *text = PyUnicode_FromStringAndSize(digits, (Py_ssize_t)length);
    if (text == NULL) {
        return NULL;
    }
    /* Longer than sys.set_int_max_str_digits() allows, or no digit at all: ValueError. */
    PyObject *value = PyLong_FromUnicodeObject(text, 10);
    Py_DECREF(text);
    return value;
}

static void *
create_string(const redisReadTask *task, char *text, size_t length)
{
    ar_reply_sink *sink = sink_of(task);
    PyObject *value;
    note_kind(task);
    if (!ends_in_crlf(text, length)) {
        ar_reply_set_missing_crlf(sink->state);
        return NULL;
    }
    switch (task->type) {
    case REDIS_REPLY_ERROR:
        value = ar_error_from_reply(sink->state, text, length);
        break;
    case REDIS_REPLY_STATUS:
        value = ar_reply_status_value(sink, text, length);
        break;
    case REDIS_REPLY_BIGNUM:
        value = big_number_value(text, length);
        break;
    case REDIS_REPLY_VERB:
        /* "txt:" names the format; hiredis has checked that it is there. */
        value = ar_reply_text_value(sink, text + 4, length - 4);
        break;
    default:
        value = ar_reply_text_value(sink, text, length);
    }
    return attach(task, value_or_none(sink, value));
}

static void *
create_array(const redisReadTask *task, size_t elements)
{
    PyObject *value;
    note_kind(task);
    if (task->type == REDIS_REPLY_ATTR && task->parent != NULL) {
        /* hiredis would count it as an element, and every later reply would be out of step. */
        PyErr_SetString(sink_of(task)->state->InvalidResponse,
                        "Protocol error: attributes inside of a reply are not supported");
        return NULL;
    }
    if (task->type == REDIS_REPLY_MAP || task->type == REDIS_REPLY_ATTR) {
        value = PyDict_New();
    } else {
        /* Sets become lists, as with redis-py: their members need not be hashable. */
        value = PyList_New(elements <= PREALLOCATE_MAX ? (Py_ssize_t)elements : 0);
    }
    return attach(task, value);
}

static void *
create_integer(const redisReadTask *task, long long number)
{
    note_kind(task);
    return attach(task, PyLong_FromLongLong(number));
}

static void *
create_double(const redisReadTask *task, double number, char *text, size_t length)
{
    (void)text;
    (void)length;
    note_kind(task);
    return attach(task, PyFloat_FromDouble(number));
}

static void *
create_nil(const redisReadTask *task)
{
    note_kind(task);
    return attach(task, Py_NewRef(Py_None));
}

static void *
create_bool(const redisReadTask *task, int truth)
{
    note_kind(task);
    return attach(task, PyBool_FromLong(truth));
}

static void
free_object(void *object)
{
    Py_DECREF((PyObject *)object);
}

static redisReplyObjectFunctions factory = {
    .createString = create_string,
    .createArray = create_array,
    .createInteger = create_integer,
    .createDouble = create_double,
    .createNil = create_nil,
    .createBool = create_bool,
    .freeObject = free_object,
};

redisReader *
ar_reply_reader_new(ar_reply_sink *sink)
{
    redisReader *reader = redisReaderCreateWithFunctions(&factory);
    if (reader == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    reader->privdata = sink;
    reader->maxbuf = READER_KEEP;
    reader->maxdepth = DEPTH_MAX;
    return reader;
}

void
ar_reply_set_reader_error(ar_state *state, redisReader *reader)
{
    if (PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_MemoryError)) {
            /* hiredis takes every NULL of the factory for a lack of memory. */
            reader->err = REDIS_ERR_PROTOCOL;
            strcpy(reader->errstr, "malformed reply before");
        }
        return;
    }
    if (reader->err == REDIS_ERR_OOM) {
        PyErr_NoMemory();
        return;
    }
    PyErr_Format(state->InvalidResponse, "Protocol error: %s", reader->errstr);
}

ar_read_result
ar_reply_next(redisReader *reader, PyObject **reply, int *failed)
{
    ar_reply_sink *sink = reader->privdata;
    void *object = NULL;
    *failed = 0;
    switch (reader->ridx == -1 && reader->err == 0 ? ar_plain_next(reader, reply)
                                                   : AR_PLAIN_UNUSUAL) {
    case AR_PLAIN_REPLY:
        return AR_READ_REPLY;
    case AR_PLAIN_PARTIAL:
        return AR_READ_INCOMPLETE;
    case AR_PLAIN_FAILED:
        reader->err = REDIS_ERR_OOM;
        return AR_READ_FAILED;
    case AR_PLAIN_UNUSUAL:
        break;
    }
    if (redisReaderGetReply(reader, &object) != 0) {
        ar_reply_set_reader_error(sink->state, reader);
        ar_reply_sink_clear(sink);
        return AR_READ_FAILED;
    }
    if (object == NULL) {
        return AR_READ_INCOMPLETE;
    }
    *failed = sink->error != NULL;
    if (*failed) {
        Py_DECREF((PyObject *)object);
        object = sink->error;
        sink->error = NULL;
    }
    *reply = object;
    return AR_READ_REPLY;
}

PyObject *
ar_reply_text(ar_reply_sink *sink, PyObject *bytes, int *failed)
{
    *failed = 0;
    if (!sink->decode) {
        return bytes;
    }
    PyObject *value =
        ar_reply_text_value(sink, PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
    Py_DECREF(bytes);
    if (value == NULL && !PyErr_ExceptionMatches(PyExc_MemoryError)) {
        *failed = 1;
        return ar_exception_take();
    }
    return value;
}

static PyObject *
decoded_list(ar_reply_sink *sink, PyObject *list)
{
    PyObject *result = PyList_New(PyList_GET_SIZE(list));
    for (Py_ssize_t i = 0; result != NULL && i < PyList_GET_SIZE(list); i++) {
        PyObject *item = PyList_GET_ITEM(list, i), *value;
        if (PyBytes_CheckExact(item)) {
            value =
                ar_reply_text_value(sink, PyBytes_AS_STRING(item), (size_t)PyBytes_GET_SIZE(item));
            value = value_or_none(sink, value);
        } else {
            value = PyList_CheckExact(item) ? decoded_list(sink, item) : Py_NewRef(item);
        }
        if (value == NULL) {
            Py_CLEAR(result);
        } else {
            PyList_SET_ITEM(result, i, value);
        }
    }
    return result;
}

PyObject *
ar_reply_decoded(ar_reply_sink *sink, PyObject *reply, int *failed)
{
    sink->decode = 1;
    *failed = 0;
    if (PyBytes_CheckExact(reply)) {
        return ar_reply_text(sink, Py_NewRef(reply), failed);
    }
    PyObject *value = PyList_CheckExact(reply) ? decoded_list(sink, reply) : Py_NewRef(reply);
    if (sink->error != NULL) {
        Py_XSETREF(value, sink->error);
        sink->error = NULL;
        *failed = 1;
    }
    return value;
}

void
ar_reply_sink_clear(ar_reply_sink *sink)
{
    while (sink->key_count > 0) {
        Py_DECREF(sink->keys[--sink->key_count]);
    }
    PyMem_Free(sink->keys);
    sink->keys = NULL;
    sink->key_capacity = 0;
    Py_CLEAR(sink->error);
}
