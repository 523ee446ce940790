/* Plain sockets take all chunks in one system call; TLS is fed through hiredis' output buffer. */
#include "io.h"

#include "sds.h"

#include <openssl/crypto.h>

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

#define CHUNKS_PER_WRITE 16
/* One TLS record's worth: more would only be copied without being sent any sooner. */
#define TLS_PIECE (16 * 1024)

static int
set_io_error(redisContext *context)
{
    context->err = REDIS_ERR_IO;
    snprintf(context->errstr, sizeof(context->errstr), "%s", strerror(errno));
    return -1;
}

static int
write_plain(redisContext *context, ar_outq *queue, size_t limit)
{
    while (queue->head != NULL && limit > 0) {
        struct iovec pieces[CHUNKS_PER_WRITE];
        size_t total = 0;
        int count = 0;
        for (ar_chunk *chunk = queue->head;
             chunk != NULL && count < CHUNKS_PER_WRITE && total < limit; chunk = chunk->next) {
            size_t length = chunk->length - chunk->offset;
            pieces[count].iov_base = (void *)(chunk->data + chunk->offset);
            pieces[count].iov_len = length < limit - total ? length : limit - total;
            total += pieces[count++].iov_len;
        }
        struct msghdr message = {.msg_iov = pieces, .msg_iovlen = (size_t)count};
        ssize_t written = sendmsg(context->fd, &message, MSG_NOSIGNAL);
        if (written < 0) {
            if (errno == EINTR) {
                continue;
            }
            return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : set_io_error(context);
        }
        ar_outq_consume(queue, (size_t)written);
        if ((size_t)written < total) {
            return 0;
        }
        limit -= total;
    }
    return 0;
}

/* Moves the next piece into hiredis' buffer, which must stay as it is until OpenSSL has taken it. */
static int
fill_tls_piece(redisContext *context, const ar_outq *queue)
{
    /* All the room at once: growing would leave copies behind. */
    sds piece = sdsMakeRoomFor(context->obuf, TLS_PIECE);
    if (piece == NULL) {
        context->err = REDIS_ERR_OOM;
        snprintf(context->errstr, sizeof(context->errstr), "Out of memory");
        return -1;
    }
    context->obuf = piece;
    for (const ar_chunk *chunk = queue->head; chunk != NULL && sdslen(piece) < TLS_PIECE;
         chunk = chunk->next) {
        size_t room = TLS_PIECE - sdslen(piece), left = chunk->length - chunk->offset;
        piece = sdscatlen(piece, chunk->data + chunk->offset, left < room ? left : room);
    }
    context->obuf = piece;
    return 0;
}

static int
write_tls(redisContext *context, ar_outq *queue, size_t limit)
{
    /* What OpenSSL has begun to take must be offered again: a piece is never cut short by the limit. */
    for (size_t done = 0; queue->head != NULL && done < limit;) {
        if (sdslen(context->obuf) == 0 && fill_tls_piece(context, queue) < 0) {
            return -1;
        }
        size_t length = sdslen(context->obuf);
        ssize_t written = context->funcs->write(context);
        if (written < 0) {
            return -1;
        }
        if (written == 0) {
            return 0;
        }
        ar_outq_consume(queue, (size_t)written);
        done += (size_t)written;
        if ((size_t)written < length) {
            sdsrange(context->obuf, written, -1);
        } else {
            sdsclear(context->obuf);
        }
        /* It may have been a password. */
        size_t left = length - (size_t)written;
        OPENSSL_cleanse(context->obuf + left, length - left);
    }
    return 0;
}

int
ar_io_write(redisContext *context, ar_outq *queue, size_t limit)
{
    return ar_io_is_tls(context) ? write_tls(context, queue, limit)
                                 : write_plain(context, queue, limit);
}

void
ar_io_free(redisContext *context)
{
    if (context->obuf != NULL) {
        OPENSSL_cleanse(context->obuf, sdslen(context->obuf));
    }
    redisFree(context);
}

ssize_t
ar_io_read_two(redisContext *context, char *first, size_t first_size, char *second,
               size_t second_size)
{
    if (ar_io_is_tls(context)) {
        return ar_io_read(context, first, first_size);
    }
    struct iovec pieces[] = {{.iov_base = first, .iov_len = first_size},
                             {.iov_base = second, .iov_len = second_size}};
    ssize_t length = readv(context->fd, pieces, 2);
    if (length > 0) {
        return length;
    }
    if (length < 0) {
        int later = errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
        return later ? 0 : set_io_error(context);
    }
    context->err = REDIS_ERR_EOF;
    snprintf(context->errstr, sizeof(context->errstr), "Server closed the connection");
    return -1;
}
