/* Bytes that have come from a server, and the replies in them for whoever asks: nothing is parsed before. */
#ifndef AR_INLET_H
#define AR_INLET_H

#include "reply.h"

typedef struct {
    redisReader *reader;
    ar_reply_sink sink;
    int busy;   /* a reply is being read */
    char *data; /* what the reader has not been given yet: start to end */
    size_t start, end, capacity;
} ar_inlet;

/* -1 with MemoryError set. `encoding` and `errors` are borrowed. */
int ar_inlet_init(ar_inlet *inlet, ar_state *state, const char *encoding, const char *errors);
/* For a new stream of bytes. -1 with MemoryError set: it is as it was. */
int ar_inlet_reset(ar_inlet *inlet);
void ar_inlet_clear(ar_inlet *inlet);

int ar_inlet_append(ar_inlet *inlet, const char *data, size_t length);

/* The next whole reply, as ar_reply_next(); `decode`: strings instead of bytes. inlet->sink.kind tells a
 * push from an answer; attributes are left out. */
ar_read_result ar_inlet_next(ar_inlet *inlet, int decode, PyObject **reply, int *failed);

/* Bytes held. */
size_t ar_inlet_pending(const ar_inlet *inlet);

/* Of these, bytes that nobody has asked for yet: the reader may hold half of a large reply. */
static inline size_t
ar_inlet_backlog(const ar_inlet *inlet)
{
    return inlet->end - inlet->start;
}

#endif
