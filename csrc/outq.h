/* Bytes on their way out: a queue of chunks. Small commands share a chunk, a large bytes or str
 * argument is a chunk of its own that borrows the Python object's memory. */
#ifndef AR_OUTQ_H
#define AR_OUTQ_H

#include "compat.h"

#include <stdint.h>

typedef struct ar_chunk {
    struct ar_chunk *next;
    PyObject *owner;  /* the object that holds the data, or NULL when it follows the struct */
    const char *data; /* first byte */
    size_t length;    /* bytes held */
    size_t offset;    /* bytes written to the socket */
    size_t capacity;  /* room behind the struct; 0 with an owner */
    int secret;       /* a password is among it: wiped before it is used otherwise */
    char room[];
} ar_chunk;

typedef struct {
    ar_chunk *head, *tail;
    ar_chunk *spare;   /* one emptied chunk, kept for the next command */
    uint64_t enqueued; /* bytes ever appended */
    uint64_t written;  /* bytes ever taken by the socket */
} ar_outq;

/* A point to return to when the rest of a command turns out to be invalid. */
typedef struct {
    ar_chunk *tail;
    size_t length;
    uint64_t enqueued;
} ar_outq_mark;

static inline size_t
ar_outq_pending(const ar_outq *queue)
{
    return (size_t)(queue->enqueued - queue->written);
}

/* `size` contiguous writable bytes behind the tail, or NULL with MemoryError set. */
char *ar_outq_reserve_slow(ar_outq *queue, size_t size);

static inline char *
ar_outq_reserve(ar_outq *queue, size_t size)
{
    ar_chunk *tail = queue->tail;
    if (tail != NULL && tail->capacity - tail->length >= size && tail->owner == NULL) {
        return tail->room + tail->length;
    }
    return ar_outq_reserve_slow(queue, size);
}

/* The first `size` reserved bytes have been filled. */
static inline void
ar_outq_commit(ar_outq *queue, size_t size)
{
    queue->tail->length += size;
    queue->enqueued += size;
}

int ar_outq_append(ar_outq *queue, const char *data, size_t length);
/* Without copying: `data` is memory of `owner`, a bytes or str object, which is never written to. */
int ar_outq_append_borrowed(ar_outq *queue, PyObject *owner, const char *data, size_t length);

ar_outq_mark ar_outq_get_mark(const ar_outq *queue);
void ar_outq_rollback(ar_outq *queue, ar_outq_mark mark);

/* What was appended since the mark is nobody's business once it has been sent. */
void ar_outq_keep_secret(ar_outq *queue, ar_outq_mark mark);

/* The socket took `size` bytes. */
void ar_outq_consume(ar_outq *queue, size_t size);
void ar_outq_clear(ar_outq *queue);

#endif
