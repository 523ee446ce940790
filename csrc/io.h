/* Writing a queue of chunks to a hiredis context, plain or TLS; reading goes through its own vtable. */
#ifndef AR_IO_H
#define AR_IO_H

#include "outq.h"

#include "hiredis.h"

/* Writes what the socket takes, no more than about `limit` bytes. Returns 0, or -1 with the context's err set. */
int ar_io_write(redisContext *context, ar_outq *queue, size_t limit);

/* Reads up to `size` bytes: > 0, 0 when there is nothing now, -1 with the context's err set. */
static inline ssize_t
ar_io_read(redisContext *context, char *buffer, size_t size)
{
    return context->funcs->read(context, buffer, size);
}

/* The same into two buffers, the first of them first; TLS fills the first one only. Neither is empty. */
ssize_t ar_io_read_two(redisContext *context, char *first, size_t first_size, char *second,
                       size_t second_size);

/* Closes and frees it; what it has not sent is wiped. */
void ar_io_free(redisContext *context);

static inline int
ar_io_is_tls(const redisContext *context)
{
    return context->privctx != NULL;
}

#endif
