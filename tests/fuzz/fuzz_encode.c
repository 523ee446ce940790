/* Fuzzes the encoder: what it writes, the parser reads back as the same arguments, a name of several words as these;
 * what it refuses leaves no byte behind.
 *
 * Input: one byte of options, then arguments: a byte of kind, a byte of length, that many bytes. The first one may be
 * the name. */
#include "harness.h"

enum { SURROGATES = 1, LATIN = 2, NAMED = 16 };
enum { ARGUMENTS_MAX = 32 };

static PyObject *
argument_of(uint8_t kind, const char *text, Py_ssize_t length)
{
    PyObject *bytes = PyBytes_FromStringAndSize(text, length), *value = NULL;
    harness_need(bytes);
    switch (kind % 11) {
    case 0:
        return bytes;
    case 1:
        value = PyUnicode_DecodeUTF8(text, length, "surrogateescape");
        break;
    case 2:
        value = PyUnicode_DecodeLatin1(text, length, NULL);
        break;
    case 3:
        value = _PyLong_FromByteArray((const unsigned char *)text, (size_t)length, 1, 1);
        break;
    case 4: {
        double number = 0;
        memcpy(&number, text, length < 8 ? (size_t)length : 8);
        value = PyFloat_FromDouble(number);
        break;
    }
    case 5:
        value = PyByteArray_FromStringAndSize(text, length);
        break;
    case 6:
        value = PyMemoryView_FromObject(bytes);
        break;
    case 7: { /* not contiguous */
        PyObject *view = harness_need(PyMemoryView_FromObject(bytes));
        PyObject *step = harness_need(PyLong_FromLong(length % 2 ? -2 : 3));
        PyObject *slice = harness_need(PySlice_New(NULL, NULL, step));
        value = PyObject_GetItem(view, slice);
        Py_DECREF(slice);
        Py_DECREF(step);
        Py_DECREF(view);
        break;
    }
    case 8: /* large enough to be borrowed */
        value = PySequence_Repeat(bytes, 3000);
        break;
    case 9:
        value = Py_NewRef(length % 2 ? Py_True : Py_None);
        break;
    default:
        value = PyList_New(0);
    }
    Py_DECREF(bytes);
    return harness_need(value);
}

/* What the server has to see; NULL for what must be refused. */
static PyObject *
expected_of(PyObject *argument, const ar_text_codec *codec)
{
    if (PyUnicode_Check(argument)) {
        return PyUnicode_AsEncodedString(argument, codec->encoding ? codec->encoding : "utf-8",
                                         codec->errors ? codec->errors : "strict");
    }
    if (PyBytes_Check(argument) || PyByteArray_Check(argument) || PyMemoryView_Check(argument)) {
        return PyBytes_FromObject(argument);
    }
    if (argument == Py_True || !(PyLong_Check(argument) || PyFloat_Check(argument))) {
        return NULL;
    }
    PyObject *text = harness_need(PyObject_Repr(argument));
    PyObject *bytes = PyUnicode_AsUTF8String(text);
    Py_DECREF(text);
    return bytes;
}

static PyObject *
name_of(uint8_t kind, const char *text, Py_ssize_t length)
{
    return harness_need(kind % 2 ? PyUnicode_DecodeUTF8(text, length, "surrogateescape")
                                 : PyBytes_FromStringAndSize(text, length));
}

/* The words that the server has to see, as Python splits them: a list, empty for what must be refused. */
static PyObject *
words_of(PyObject *name)
{
    PyObject *bytes = PyUnicode_Check(name) ? PyUnicode_AsUTF8String(name) : Py_NewRef(name);
    PyObject *words = harness_need(PyList_New(0));
    if (bytes == NULL) {
        PyErr_Clear();
    } else if (PyBytes_Check(name) &&
               memchr(PyBytes_AS_STRING(bytes), ' ', (size_t)PyBytes_GET_SIZE(bytes)) == NULL) {
        PyList_Append(words, bytes);
    } else {
        Py_SETREF(words, harness_split(bytes));
    }
    Py_XDECREF(bytes);
    return words;
}

static PyObject *
read_back(const ar_outq *queue)
{
    ar_reply_sink sink = {.state = &harness_state};
    redisReader *reader = ar_reply_reader_new(&sink);
    PyObject *reply = NULL, *second = NULL;
    int failed = 0;
    for (const ar_chunk *chunk = queue->head; chunk != NULL; chunk = chunk->next) {
        if (redisReaderFeed(reader, chunk->data, chunk->length) != REDIS_OK) {
            harness_fail("feeding failed");
        }
    }
    if (ar_reply_next(reader, &reply, &failed) != AR_READ_REPLY || failed ||
        ar_reply_next(reader, &second, &failed) != AR_READ_INCOMPLETE) {
        harness_fail("not exactly one command was written");
    }
    redisReaderFree(reader);
    ar_reply_sink_clear(&sink);
    return reply;
}

static void
once(const uint8_t *data, size_t size)
{
    ar_text_codec codec = {.encoding = data[0] & LATIN ? "latin-1" : NULL,
                           .errors = data[0] & SURROGATES ? "surrogateescape" : NULL};
    PyObject *arguments[ARGUMENTS_MAX + 1];
    Py_ssize_t count = 0;
    int named = data[0] & NAMED && size >= 3;
    data++, size--;
    if (named) {
        Py_ssize_t length = data[1] <= size - 2 ? data[1] : (Py_ssize_t)size - 2;
        arguments[count++] = name_of(data[0], (const char *)data + 2, length);
        data += 2 + length;
        size -= 2 + (size_t)length;
    } else {
        arguments[count++] = harness_need(PyBytes_FromString("SET"));
    }
    PyObject *expected = words_of(arguments[0]);
    int nameless = PyList_GET_SIZE(expected) == 0, refused = nameless;
    for (; size >= 2 && count < ARGUMENTS_MAX;) {
        Py_ssize_t length = data[1] <= size - 2 ? data[1] : (Py_ssize_t)size - 2;
        PyObject *argument = argument_of(data[0], (const char *)data + 2, length);
        PyObject *wanted = expected_of(argument, &codec);
        if (wanted == NULL || PyList_Append(expected, wanted) < 0) {
            PyErr_Clear();
            refused = 1;
        }
        Py_XDECREF(wanted);
        arguments[count++] = argument;
        data += 2 + length;
        size -= 2 + (size_t)length;
    }
    ar_outq queue = {0};
    if (ar_outq_append(&queue, "before", 6) < 0) {
        harness_fail("no memory");
    }
    ar_outq_consume(&queue, 6);
    int checked = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *settled = ar_encode_settle(&harness_state, &codec, arguments[i], i == 0);
        if (settled == NULL) {
            checked = -1;
            PyErr_Clear();
        } else if (codec.encoding == NULL && ar_encode_is_plain(arguments[i]) &&
                   settled != arguments[i]) {
            harness_fail("plain, and changed");
        } else {
            Py_SETREF(arguments[i], settled);
        }
    }
    int result = ar_encode_command(&harness_state, &queue, &codec, arguments, count);
    if ((result < 0) != refused || (result != checked && !nameless) ||
        (PyErr_Occurred() != NULL) != refused) {
        harness_fail("taken for the wrong kind of arguments");
    }
    PyErr_Clear();
    if (refused) {
        if (ar_outq_pending(&queue) != 0) {
            harness_fail("a refused command left bytes");
        }
    } else {
        PyObject *reply = read_back(&queue);
        if (PyObject_RichCompareBool(reply, expected, Py_EQ) != 1) {
            harness_fail("other arguments came out");
        }
        Py_DECREF(reply);
    }
    ar_outq_clear(&queue);
    Py_DECREF(expected);
    while (count > 0) {
        Py_DECREF(arguments[--count]);
    }
}
