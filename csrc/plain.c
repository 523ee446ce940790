/* Replies of the common kinds that have come whole, read without hiredis' state machine. Whatever is unusual about
 * one (a rare kind, an error, a fault in the protocol, text that cannot be decoded) is left to hiredis untouched. */
#include "reply.h"

#include "sds.h"

#include <string.h>

/* A reply that is not whole is looked at from its start again when more has come: so many times, and if it is not
 * longer than this so far. Any other hiredis reads as it comes. */
#define PARTIAL_MAX (16 * 1024)
#define PARTIAL_TIMES 3
#define ELEMENTS_MAX 4096
#define DEPTH_MAX 8
/* The shortest element: "_\r\n". */
#define ELEMENT_MIN 3
#define STATUS_MAX 64
/* Longer numbers could overflow. */
#define DIGITS_MAX 18

typedef struct {
    ar_reply_sink *sink;
    const char *at, *end;
    ar_plain_result result; /* why there is no value, when there is none */
} plain_reader;

static PyObject *read_value(plain_reader *self, int depth);

static PyObject *
give_up(plain_reader *self, ar_plain_result result)
{
    self->result = result;
    return NULL;
}

/* A value that could not be made. Without memory that is final; anything else (text that is no UTF-8, a key without
 * a hash) hiredis comes upon again, and reports. */
static PyObject *
made(plain_reader *self, PyObject *value)
{
    if (value == NULL) {
        if (PyErr_ExceptionMatches(PyExc_MemoryError)) {
            return give_up(self, AR_PLAIN_FAILED);
        }
        PyErr_Clear();
        return give_up(self, AR_PLAIN_UNUSUAL);
    }
    return value;
}

/* Whether CRLF is at `at`; if not, `result` says why. A fault is one as soon as its first byte is there. */
static inline int
read_line_end(plain_reader *self, const char *at)
{
    Py_ssize_t left = self->end - at;
    if (left >= 2 && at[0] == '\r' && at[1] == '\n') {
        return 1;
    }
    self->result = left == 0 || (left == 1 && at[0] == '\r') ? AR_PLAIN_PARTIAL : AR_PLAIN_UNUSUAL;
    return 0;
}

/* Digits up to CRLF. 0: there is no number, and `result` says why. */
static inline int
read_number(plain_reader *self, unsigned long long *number)
{
    const char *start = self->at, *at = start;
    unsigned long long value = 0;
    while (at < self->end && *at >= '0' && *at <= '9' && at - start < DIGITS_MAX) {
        value = value * 10 + (unsigned long long)(*at++ - '0');
    }
    if (!read_line_end(self, at)) {
        return 0;
    }
    if (at > start && (*start != '0' || at - start == 1)) {
        self->at = at + 2;
        *number = value;
        return 1;
    }
    self->result = AR_PLAIN_UNUSUAL;
    return 0;
}

/* Exactly this text, behind the type byte. */
static PyObject *
read_constant(plain_reader *self, const char *text, size_t length, PyObject *value)
{
    size_t left = (size_t)(self->end - self->at);
    if (memcmp(self->at, text, left < length ? left : length) != 0) {
        return give_up(self, AR_PLAIN_UNUSUAL);
    }
    if (left < length) {
        return give_up(self, AR_PLAIN_PARTIAL);
    }
    self->at += length;
    return Py_NewRef(value);
}

static PyObject *
read_bulk(plain_reader *self)
{
    unsigned long long length;
    if (self->at < self->end && *self->at == '-') {
        return read_constant(self, "-1\r\n", 4, Py_None);
    }
    if (!read_number(self, &length)) {
        return NULL;
    }
    if (length > PARTIAL_MAX) {
        return give_up(self, AR_PLAIN_UNUSUAL);
    }
    const char *text = self->at;
    if ((size_t)(self->end - text) < length + 2) {
        return give_up(self, AR_PLAIN_PARTIAL);
    }
    if (text[length] != '\r' || text[length + 1] != '\n') {
        return give_up(self, AR_PLAIN_UNUSUAL);
    }
    self->at = text + length + 2;
    return made(self, ar_reply_text_value(self->sink, text, (size_t)length));
}

static PyObject *
read_integer(plain_reader *self)
{
    unsigned long long magnitude;
    int negative = self->at < self->end && *self->at == '-';
    self->at += negative;
    if (!read_number(self, &magnitude)) {
        return NULL;
    }
    if (negative && magnitude == 0) {
        return give_up(self, AR_PLAIN_UNUSUAL);
    }
    long long number = (long long)magnitude;
    return made(self, PyLong_FromLongLong(negative ? -number : number));
}

static PyObject *
read_status(plain_reader *self)
{
    const char *text = self->at, *at = text;
    while (at < self->end && *at != '\r' && *at != '\n' && at - text < STATUS_MAX) {
        at++;
    }
    if (!read_line_end(self, at)) {
        return NULL;
    }
    self->at = at + 2;
    return made(self, ar_reply_status_value(self->sink, text, (size_t)(at - text)));
}

/* How many elements follow. If they cannot all have come, hiredis has to read them as they come. */
static int
read_count(plain_reader *self, int depth, unsigned each, unsigned long long *count)
{
    if (!read_number(self, count)) {
        return 0;
    }
    if (*count > ELEMENTS_MAX || depth >= DEPTH_MAX ||
        (size_t)(self->end - self->at) < *count * each * ELEMENT_MIN) {
        self->result = AR_PLAIN_UNUSUAL;
        return 0;
    }
    return 1;
}

static PyObject *
read_list(plain_reader *self, int depth)
{
    unsigned long long count;
    if (!read_count(self, depth, 1, &count)) {
        return NULL;
    }
    PyObject *list = made(self, PyList_New((Py_ssize_t)count));
    for (Py_ssize_t i = 0; list != NULL && i < (Py_ssize_t)count; i++) {
        PyObject *value = read_value(self, depth + 1);
        if (value == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, i, value);
        }
    }
    return list;
}

static PyObject *
read_map(plain_reader *self, int depth)
{
    unsigned long long count;
    if (!read_count(self, depth, 2, &count)) {
        return NULL;
    }
    PyObject *map = made(self, PyDict_New());
    for (Py_ssize_t i = 0; map != NULL && i < (Py_ssize_t)count; i++) {
        PyObject *key = read_value(self, depth + 1);
        PyObject *value = key != NULL ? read_value(self, depth + 1) : NULL;
        if (value == NULL) {
            Py_CLEAR(map);
        } else if (PyDict_SetItem(map, key, value) < 0) { /* a key without a hash */
            (void)made(self, NULL);
            Py_CLEAR(map);
        }
        Py_XDECREF(key);
        Py_XDECREF(value);
    }
    return map;
}

static PyObject *
read_value(plain_reader *self, int depth)
{
    if (self->at >= self->end) {
        return give_up(self, AR_PLAIN_PARTIAL);
    }
    switch (*self->at++) {
    case '$':
        return read_bulk(self);
    case ':':
        return read_integer(self);
    case '+':
        return read_status(self);
    case '*':
    case '~':
        return read_list(self, depth);
    case '%':
        return read_map(self, depth);
    case '_':
        return read_constant(self, "\r\n", 2, Py_None);
    case '#':
        return self->at < self->end && *self->at == 't' ? read_constant(self, "t\r\n", 3, Py_True)
                                                        : read_constant(self, "f\r\n", 3, Py_False);
    case '>':
        if (depth == 0) {
            self->sink->kind = AR_REPLY_PUSH;
            return read_list(self, depth);
        }
        break;
    default:
        break;
    }
    return give_up(self, AR_PLAIN_UNUSUAL);
}

/* Moves what is left to the front of the reader's buffer, as hiredis does after a reply that it has read. */
static ar_plain_result
tidy(redisReader *reader)
{
    size_t left = reader->len - reader->pos;
    if (reader->pos > 0) {
        memmove(reader->buf, reader->buf + reader->pos, left);
        reader->buf[left] = '\0';
        sdssetlen(reader->buf, left);
        reader->pos = 0;
        reader->len = left;
    }
    return AR_PLAIN_PARTIAL;
}

/* A codec or error handler of the user's may run Python code, and is not to be asked twice. */
static int
decodes_by_itself(const ar_reply_sink *sink)
{
    return !sink->decode || (sink->encoding == NULL && sink->errors == NULL);
}

ar_plain_result
ar_plain_next(redisReader *reader, PyObject **reply)
{
    ar_reply_sink *sink = reader->privdata;
    size_t held = reader->len - reader->pos;
    const char *start = reader->buf + reader->pos;
    plain_reader self = {.sink = sink, .at = start, .end = start + held};
    if (sink->partial >= PARTIAL_TIMES || !decodes_by_itself(sink)) {
        sink->partial = 0;
        return AR_PLAIN_UNUSUAL;
    }
    sink->kind = AR_REPLY_VALUE;
    *reply = read_value(&self, 0);
    if (*reply != NULL) {
        reader->pos += (size_t)(self.at - start);
        sink->partial = 0;
        return AR_PLAIN_REPLY;
    }
    if (self.result == AR_PLAIN_PARTIAL && held <= PARTIAL_MAX) {
        sink->partial += held > 0;
        return tidy(reader);
    }
    sink->partial = 0;
    return self.result == AR_PLAIN_FAILED ? AR_PLAIN_FAILED : AR_PLAIN_UNUSUAL;
}
