/* A large bulk string on its way from the socket straight into its final object: hiredis would gather it in a
 * buffer of its own, and the factory copy it out of there. */
#ifndef AR_BULK_H
#define AR_BULK_H

#include "reply.h"

typedef struct {
    PyObject *value; /* bytes, with the room asked for so far; NULL: nobody waits for it */
    size_t length;   /* as announced, without CRLF; 0: no transfer is under way */
    size_t received; /* CRLF included */
    char ending[2];
} ar_bulk;

/* Takes over from a reader that is in the middle of a large top-level bulk string. 1: taken over;
 * 0: there is no such thing; -1 with MemoryError set. */
int ar_bulk_take_over(ar_bulk *bulk, redisReader *reader);
/* Where the next bytes belong, and how many at most. *size is 0 when they may be read anywhere and are to be
 * fed. NULL with MemoryError set. */
char *ar_bulk_room(ar_bulk *bulk, size_t *size);
/* So many bytes have been read into that room. */
void ar_bulk_received(ar_bulk *bulk, size_t size);
/* Takes what belongs to it from the front of `data`; returns how much, or -1 with MemoryError set. */
Py_ssize_t ar_bulk_feed(ar_bulk *bulk, const char *data, size_t length);
/* The reply, once ar_bulk_left() is 0; see ar_reply_next(). NULL with an exception set: the stream is out of
 * step. None when nobody waits for it. */
PyObject *ar_bulk_finish(ar_bulk *bulk, ar_reply_sink *sink, int *failed);
/* Nobody waits for it any more: the rest is read and forgotten. */
void ar_bulk_forget(ar_bulk *bulk);
void ar_bulk_clear(ar_bulk *bulk);

static inline int
ar_bulk_active(const ar_bulk *bulk)
{
    return bulk->length != 0;
}

/* Bytes still to come, CRLF included. */
static inline size_t
ar_bulk_left(const ar_bulk *bulk)
{
    return ar_bulk_active(bulk) ? bulk->length + 2 - bulk->received : 0;
}

#endif
