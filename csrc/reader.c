/* The parser on its own, as a Python type: what tests and tools use to look at RESP. */
#include "reader.h"

#include "reply.h"

#include <string.h>

typedef struct {
    PyObject_HEAD
    redisReader *reader;
    ar_reply_sink sink;
    char *encoding, *errors;
    int busy;
} ar_reader;

static int
reader_traverse(ar_reader *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->sink.error);
    return 0;
}

static void
reader_dealloc(ar_reader *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    redisReaderFree(self->reader);
    ar_reply_sink_clear(&self->sink);
    PyMem_Free(self->encoding);
    PyMem_Free(self->errors);
    type->tp_free(self);
    Py_DECREF(type);
}

static char *
copy_text(const char *text)
{
    char *copy = PyMem_Malloc(strlen(text) + 1);
    if (copy == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    return strcpy(copy, text);
}

static PyObject *
reader_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"encoding", "errors", "max_depth", NULL};
    const char *encoding = NULL, *errors = NULL;
    int max_depth = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|zzi:Reader", keywords, &encoding, &errors,
                                     &max_depth)) {
        return NULL;
    }
    ar_reader *self = (ar_reader *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->sink.state = PyType_GetModuleState(type);
    self->sink.decode = encoding != NULL;
    if ((encoding != NULL && (self->encoding = copy_text(encoding)) == NULL) ||
        (errors != NULL && (self->errors = copy_text(errors)) == NULL)) {
        goto error;
    }
    self->sink.encoding = self->encoding;
    self->sink.errors = self->errors;
    self->reader = ar_reply_reader_new(&self->sink);
    if (self->reader == NULL) {
        goto error;
    }
    if (max_depth > 0) {
        self->reader->maxdepth = max_depth;
    }
    return (PyObject *)self;

error:
    Py_DECREF(self);
    return NULL;
}

PyDoc_STRVAR(reader_feed_doc, "feed($self, data, /)\n--\n\n"
                              "Append bytes as they came from a server.\n\n"
                              "Raises redis.exceptions.InvalidResponse after malformed input.");

static PyObject *
reader_feed(ar_reader *self, PyObject *data)
{
    Py_buffer view;
    if (self->busy) {
        PyErr_SetString(PyExc_RuntimeError, "Reader.feed() called while a reply is being read");
        return NULL;
    }
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    int result = redisReaderFeed(self->reader, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    if (result != 0) {
        ar_reply_set_reader_error(self->sink.state, self->reader);
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(reader_gets_doc,
             "gets($self, /)\n--\n\n"
             "Return the next whole reply, or Reader.NOTHING when more bytes are needed.\n\n"
             "Error replies are returned as exception instances. Raises\n"
             "redis.exceptions.InvalidResponse for malformed input, and what decoding raised\n"
             "(the reader stays usable then).");

static PyObject *
reader_gets(ar_reader *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *reply = NULL;
    int failed = 0;
    if (self->busy) {
        PyErr_SetString(PyExc_RuntimeError, "Reader.gets() called while a reply is being read");
        return NULL;
    }
    for (;;) {
        self->busy = 1;
        ar_read_result result = ar_reply_next(self->reader, &reply, &failed);
        self->busy = 0;
        switch (result) {
        case AR_READ_INCOMPLETE:
            return PyObject_GetAttrString((PyObject *)Py_TYPE(self), "NOTHING");
        case AR_READ_FAILED:
            return NULL;
        case AR_READ_REPLY:
            if (failed) {
                ar_exception_restore(reply);
                return NULL;
            }
            if (self->sink.kind != AR_REPLY_ATTRIBUTE) {
                return reply;
            }
            Py_DECREF(reply);
        }
    }
}

static PyMethodDef reader_methods[] = {
    {"feed", (PyCFunction)reader_feed, METH_O, reader_feed_doc},
    {"gets", (PyCFunction)reader_gets, METH_NOARGS, reader_gets_doc},
    {NULL},
};

PyDoc_STRVAR(reader_doc, "Reader(encoding=None, errors='strict', max_depth=512)\n--\n\n"
                         "RESP2 and RESP3 parser. Strings are bytes, or str when `encoding` is\n"
                         "given; replies nested deeper than `max_depth` are malformed.");

static PyType_Slot reader_slots[] = {
    {Py_tp_doc, (void *)reader_doc}, {Py_tp_new, reader_new},
    {Py_tp_dealloc, reader_dealloc}, {Py_tp_traverse, reader_traverse},
    {Py_tp_methods, reader_methods}, {0, NULL},
};

static PyType_Spec reader_spec = {
    .name = "aiecs_redis._native.Reader",
    .basicsize = sizeof(ar_reader),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = reader_slots,
};

int
ar_reader_setup(PyObject *module, ar_state *state)
{
    state->ReaderType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &reader_spec, NULL);
    if (state->ReaderType == NULL) {
        return -1;
    }
    PyObject *nothing = PyObject_CallNoArgs((PyObject *)&PyBaseObject_Type);
    if (nothing == NULL) {
        return -1;
    }
    int result = PyObject_SetAttrString((PyObject *)state->ReaderType, "NOTHING", nothing);
    Py_DECREF(nothing);
    if (result < 0) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "Reader", (PyObject *)state->ReaderType);
}
