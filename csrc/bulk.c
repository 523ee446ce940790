/* The object grows as bytes come: an announced length is only a promise. */
#include "bulk.h"

#include "sds.h"

#include <string.h>

/* Bulk strings up to this length are left to hiredis. */
#define DIRECT_MIN (16 * 1024)
/* Room at first. From here on the allocator maps pages, which cost nothing before they are written to and
 * are moved without copying. */
#define FIRST_ROOM ((size_t)32 * 1024 * 1024)
/* Longer ones are hiredis' to judge. */
#define DIGITS_MAX (sizeof(size_t) > 4 ? 12 : 9)

/* The announced length at the front of `text`, or 0. *used: bytes up to behind its CRLF. */
static size_t
parse_length(const char *text, size_t held, size_t *used)
{
    size_t length = 0, i = 0;
    for (; i < held && i < DIGITS_MAX && text[i] >= '0' && text[i] <= '9'; i++) {
        length = length * 10 + (size_t)(text[i] - '0');
    }
    if (i + 1 >= held || text[i] != '\r' || text[i + 1] != '\n') {
        return 0;
    }
    *used = i + 2;
    return length;
}

int
ar_bulk_take_over(ar_bulk *bulk, redisReader *reader)
{
    /* Behind the type byte; the length is not consumed before the whole string is there. */
    if (reader->ridx != 0 || reader->task[0]->type != REDIS_REPLY_STRING) {
        return 0;
    }
    const char *text = reader->buf + reader->pos;
    size_t held = reader->len - reader->pos, used = 0;
    size_t length = parse_length(text, held, &used);
    if (length <= DIRECT_MIN || held - used >= length) {
        return 0;
    }
    size_t room = length < FIRST_ROOM ? length : FIRST_ROOM;
    PyObject *value = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)room);
    if (value == NULL) {
        return -1;
    }
    *bulk = (ar_bulk){.value = value, .length = length};
    if (ar_bulk_feed(bulk, text + used, held - used) < 0) {
        return -1;
    }
    sdsclear(reader->buf);
    reader->pos = reader->len = 0;
    reader->ridx = -1;
    return 1;
}

char *
ar_bulk_room(ar_bulk *bulk, size_t *size)
{
    *size = 0;
    if (bulk->value == NULL || bulk->received >= bulk->length) {
        return bulk->ending;
    }
    size_t room = (size_t)PyBytes_GET_SIZE(bulk->value);
    if (bulk->received == room) {
        room = room < bulk->length / 2 ? room * 2 : bulk->length;
        if (_PyBytes_Resize(&bulk->value, (Py_ssize_t)room) < 0) {
            return NULL;
        }
    }
    *size = room - bulk->received;
    return PyBytes_AS_STRING(bulk->value) + bulk->received;
}

void
ar_bulk_received(ar_bulk *bulk, size_t size)
{
    bulk->received += size;
}

Py_ssize_t
ar_bulk_feed(ar_bulk *bulk, const char *data, size_t length)
{
    size_t used = 0;
    while (used < length && ar_bulk_left(bulk) > 0) {
        size_t size, left = length - used;
        char *room = ar_bulk_room(bulk, &size);
        if (room == NULL) {
            return -1;
        }
        if (size > 0) {
            size = size < left ? size : left;
            memcpy(room, data + used, size);
        } else if (bulk->received >= bulk->length) {
            size = 1;
            bulk->ending[bulk->received - bulk->length] = data[used];
        } else {
            size = bulk->length - bulk->received;
            size = size < left ? size : left;
        }
        ar_bulk_received(bulk, size);
        used += size;
    }
    return (Py_ssize_t)used;
}

PyObject *
ar_bulk_finish(ar_bulk *bulk, ar_reply_sink *sink, int *failed)
{
    PyObject *value = bulk->value;
    int in_step = memcmp(bulk->ending, "\r\n", 2) == 0;
    *bulk = (ar_bulk){0};
    *failed = 0;
    if (!in_step) {
        Py_XDECREF(value);
        ar_reply_set_missing_crlf(sink->state);
        return NULL;
    }
    sink->kind = AR_REPLY_VALUE;
    return value != NULL ? ar_reply_text(sink, value, failed) : Py_NewRef(Py_None);
}

void
ar_bulk_forget(ar_bulk *bulk)
{
    Py_CLEAR(bulk->value);
}

void
ar_bulk_clear(ar_bulk *bulk)
{
    Py_CLEAR(bulk->value);
    *bulk = (ar_bulk){0};
}
