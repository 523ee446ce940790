/* The queue of outgoing chunks. */
#include "outq.h"

#include <openssl/crypto.h>

#include <string.h>

#define CHUNK_SIZE (16 * 1024 - sizeof(ar_chunk))

static ar_chunk *
chunk_new(ar_outq *queue, size_t size)
{
    ar_chunk *chunk = queue->spare;
    if (chunk != NULL && chunk->capacity >= size) {
        queue->spare = NULL;
    } else {
        size_t capacity = size > CHUNK_SIZE ? size : CHUNK_SIZE;
        chunk = PyMem_Malloc(sizeof(*chunk) + capacity);
        if (chunk == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        chunk->capacity = capacity;
    }
    chunk->next = NULL;
    chunk->owner = NULL;
    chunk->data = chunk->room;
    chunk->length = chunk->offset = 0;
    chunk->secret = 0;
    return chunk;
}

static void
wipe(ar_chunk *chunk)
{
    if (chunk->secret && chunk->owner == NULL) {
        OPENSSL_cleanse(chunk->room, chunk->length);
    }
}

static void
chunk_free(ar_outq *queue, ar_chunk *chunk)
{
    wipe(chunk);
    if (chunk->owner == NULL && queue->spare == NULL && chunk->capacity == CHUNK_SIZE) {
        queue->spare = chunk;
        return;
    }
    Py_XDECREF(chunk->owner);
    PyMem_Free(chunk);
}

static void
link_tail(ar_outq *queue, ar_chunk *chunk)
{
    if (queue->tail != NULL) {
        queue->tail->next = chunk;
    } else {
        queue->head = chunk;
    }
    queue->tail = chunk;
}

char *
ar_outq_reserve_slow(ar_outq *queue, size_t size)
{
    ar_chunk *chunk = chunk_new(queue, size);
    if (chunk == NULL) {
        return NULL;
    }
    link_tail(queue, chunk);
    return chunk->room;
}

int
ar_outq_append(ar_outq *queue, const char *data, size_t length)
{
    char *room = ar_outq_reserve(queue, length);
    if (room == NULL) {
        return -1;
    }
    memcpy(room, data, length);
    ar_outq_commit(queue, length);
    return 0;
}

int
ar_outq_append_borrowed(ar_outq *queue, PyObject *owner, const char *data, size_t length)
{
    ar_chunk *chunk = PyMem_Malloc(sizeof(*chunk));
    if (chunk == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    *chunk = (ar_chunk){.owner = Py_NewRef(owner), .data = data, .length = length};
    link_tail(queue, chunk);
    queue->enqueued += chunk->length;
    return 0;
}

ar_outq_mark
ar_outq_get_mark(const ar_outq *queue)
{
    return (ar_outq_mark){.tail = queue->tail,
                          .length = queue->tail != NULL ? queue->tail->length : 0,
                          .enqueued = queue->enqueued};
}

void
ar_outq_rollback(ar_outq *queue, ar_outq_mark mark)
{
    ar_chunk *chunk = mark.tail != NULL ? mark.tail->next : queue->head;
    queue->tail = mark.tail;
    if (mark.tail != NULL) {
        mark.tail->next = NULL;
        mark.tail->length = mark.length;
    } else {
        queue->head = NULL;
    }
    queue->enqueued = mark.enqueued;
    while (chunk != NULL) {
        ar_chunk *next = chunk->next;
        chunk_free(queue, chunk);
        chunk = next;
    }
}

void
ar_outq_keep_secret(ar_outq *queue, ar_outq_mark mark)
{
    for (ar_chunk *chunk = mark.tail != NULL ? mark.tail : queue->head; chunk != NULL;
         chunk = chunk->next) {
        chunk->secret = 1;
    }
}

void
ar_outq_consume(ar_outq *queue, size_t size)
{
    queue->written += size;
    while (queue->head != NULL) {
        ar_chunk *chunk = queue->head;
        size_t left = chunk->length - chunk->offset;
        if (size < left) {
            chunk->offset += size;
            return;
        }
        size -= left;
        queue->head = chunk->next;
        if (queue->head == NULL) {
            queue->tail = NULL;
        }
        chunk_free(queue, chunk);
    }
}

void
ar_outq_clear(ar_outq *queue)
{
    while (queue->head != NULL) {
        ar_chunk *chunk = queue->head;
        queue->head = chunk->next;
        wipe(chunk);
        Py_XDECREF(chunk->owner);
        PyMem_Free(chunk);
    }
    PyMem_Free(queue->spare);
    queue->tail = queue->spare = NULL;
    queue->written = queue->enqueued;
}
