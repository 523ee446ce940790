/* A growable ring of pointers: the FIFO of commands in flight and of commands that wait. */
#ifndef AR_RING_H
#define AR_RING_H

#include <stddef.h>
#include <stdlib.h>

typedef struct {
    void **items;
    size_t head;     /* index of the first item */
    size_t count;    /* items held */
    size_t capacity; /* a power of two, or 0 before the first push */
} ar_ring;

static inline size_t
ar_ring_index(const ar_ring *ring, size_t position)
{
    return (ring->head + position) & (ring->capacity - 1);
}

static inline int
ar_ring_grow(ar_ring *ring)
{
    size_t capacity = ring->capacity ? ring->capacity * 2 : 16;
    void **items = malloc(capacity * sizeof(*items));
    if (items == NULL) {
        return -1;
    }
    for (size_t i = 0; i < ring->count; i++) {
        items[i] = ring->items[ar_ring_index(ring, i)];
    }
    free(ring->items);
    ring->items = items;
    ring->head = 0;
    ring->capacity = capacity;
    return 0;
}

/* Room for one more item, so that the next push cannot fail. Returns -1 without memory. */
static inline int
ar_ring_reserve(ar_ring *ring)
{
    return ring->count < ring->capacity ? 0 : ar_ring_grow(ring);
}

/* After a successful ar_ring_reserve(). */
static inline void
ar_ring_push(ar_ring *ring, void *item)
{
    ring->items[ar_ring_index(ring, ring->count)] = item;
    ring->count++;
}

/* After a successful ar_ring_reserve(). */
static inline void
ar_ring_push_front(ar_ring *ring, void *item)
{
    ring->head = (ring->head + ring->capacity - 1) & (ring->capacity - 1);
    ring->items[ring->head] = item;
    ring->count++;
}

static inline void *
ar_ring_at(const ar_ring *ring, size_t position)
{
    return ring->items[ar_ring_index(ring, position)];
}

static inline void *
ar_ring_peek(const ar_ring *ring)
{
    return ring->count ? ring->items[ring->head] : NULL;
}

static inline void *
ar_ring_pop(ar_ring *ring)
{
    if (ring->count == 0) {
        return NULL;
    }
    void *item = ring->items[ring->head];
    ring->head = (ring->head + 1) & (ring->capacity - 1);
    ring->count--;
    return item;
}

/* Gives back the memory; the items are the caller's. */
static inline void
ar_ring_free(ar_ring *ring)
{
    free(ring->items);
    *ring = (ar_ring){0};
}

/* Moves the content out, leaving the ring empty: iterate the copy while call-outs may push anew. */
static inline ar_ring
ar_ring_take(ar_ring *ring)
{
    ar_ring taken = *ring;
    *ring = (ar_ring){0};
    return taken;
}

#endif
