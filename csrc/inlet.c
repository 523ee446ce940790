/* hiredis moves the rest of its buffer to the front for every kilobyte it has consumed, so a backlog is kept here
 * and given to it in slices. */
#include "inlet.h"

#include <string.h>

#define FEED_SLICE (16 * 1024)
#define CAPACITY_MIN (16 * 1024)
/* An empty buffer larger than this is given back. */
#define CAPACITY_KEEP (1024 * 1024)

int
ar_inlet_init(ar_inlet *inlet, ar_state *state, const char *encoding, const char *errors)
{
    inlet->sink.state = state;
    inlet->sink.encoding = encoding;
    inlet->sink.errors = errors;
    inlet->reader = ar_reply_reader_new(&inlet->sink);
    return inlet->reader == NULL ? -1 : 0;
}

void
ar_inlet_clear(ar_inlet *inlet)
{
    if (inlet->reader != NULL) {
        redisReaderFree(inlet->reader);
        inlet->reader = NULL;
    }
    ar_reply_sink_clear(&inlet->sink);
    PyMem_Free(inlet->data);
    inlet->data = NULL;
    inlet->start = inlet->end = inlet->capacity = 0;
}

int
ar_inlet_reset(ar_inlet *inlet)
{
    redisReader *reader = ar_reply_reader_new(&inlet->sink);
    if (reader == NULL) {
        return -1;
    }
    ar_inlet_clear(inlet);
    inlet->reader = reader;
    return 0;
}

static int
make_room(ar_inlet *inlet, size_t length)
{
    size_t held = inlet->end - inlet->start;
    if (inlet->start > 0 && inlet->start >= held) {
        memcpy(inlet->data, inlet->data + inlet->start, held);
        inlet->start = 0;
        inlet->end = held;
    }
    if (inlet->capacity - inlet->end >= length) {
        return 0;
    }
    size_t capacity = inlet->capacity ? inlet->capacity : CAPACITY_MIN;
    while (capacity - inlet->end < length) {
        if (capacity > SIZE_MAX / 4) {
            PyErr_NoMemory();
            return -1;
        }
        capacity *= 2;
    }
    char *data = PyMem_Realloc(inlet->data, capacity);
    if (data == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    inlet->data = data;
    inlet->capacity = capacity;
    return 0;
}

int
ar_inlet_append(ar_inlet *inlet, const char *data, size_t length)
{
    if (length == 0) { /* there may be no buffer yet */
        return 0;
    }
    if (make_room(inlet, length) < 0) {
        return -1;
    }
    memcpy(inlet->data + inlet->end, data, length);
    inlet->end += length;
    return 0;
}

/* Gives the reader some more. 0: there is nothing; -1 with an exception set. */
static int
feed(ar_inlet *inlet)
{
    redisReader *reader = inlet->reader;
    size_t length = inlet->end - inlet->start;
    if (length == 0) {
        return 0;
    }
    /* In the middle of something large, slices would only make hiredis look in vain. */
    if (length > FEED_SLICE && reader->len - reader->pos < FEED_SLICE) {
        length = FEED_SLICE;
    }
    if (redisReaderFeed(reader, inlet->data + inlet->start, length) != REDIS_OK) {
        ar_reply_set_reader_error(inlet->sink.state, reader);
        return -1;
    }
    inlet->start += length;
    if (inlet->start == inlet->end) {
        inlet->start = inlet->end = 0;
        if (inlet->capacity > CAPACITY_KEEP) {
            PyMem_Free(inlet->data);
            inlet->data = NULL;
            inlet->capacity = 0;
        }
    }
    return 1;
}

static ar_read_result
next_reply(ar_inlet *inlet, int decode, PyObject **reply, int *failed)
{
    for (;;) {
        inlet->sink.decode = decode;
        ar_read_result result = ar_reply_next(inlet->reader, reply, failed);
        if (result == AR_READ_REPLY && inlet->sink.kind == AR_REPLY_ATTRIBUTE) {
            Py_DECREF(*reply);
            continue;
        }
        if (result != AR_READ_INCOMPLETE) {
            return result;
        }
        int fed = feed(inlet);
        if (fed <= 0) {
            return fed < 0 ? AR_READ_FAILED : AR_READ_INCOMPLETE;
        }
    }
}

/* Decoding runs codecs, and making objects finalizers: they cannot use the reader at the same time. */
ar_read_result
ar_inlet_next(ar_inlet *inlet, int decode, PyObject **reply, int *failed)
{
    inlet->busy = 1;
    ar_read_result result = next_reply(inlet, decode, reply, failed);
    inlet->busy = 0;
    return result;
}

size_t
ar_inlet_pending(const ar_inlet *inlet)
{
    size_t pending = inlet->end - inlet->start;
    return inlet->reader != NULL ? pending + inlet->reader->len - inlet->reader->pos : pending;
}
