/* RESP to Python objects: hiredis' reader with an object factory that builds the final values. */
#ifndef AR_REPLY_H
#define AR_REPLY_H

#include "errors.h"
#include "state.h"

#include "read.h"

typedef enum {
    AR_REPLY_VALUE,     /* answers a command */
    AR_REPLY_PUSH,      /* out of band (RESP3 '>') */
    AR_REPLY_ATTRIBUTE, /* metadata in front of the next reply (RESP3 '|') */
} ar_reply_kind;

/* Where replies of one connection are built; hiredis hands it to the factory as privdata. */
typedef struct {
    ar_state *state;
    const char *encoding; /* how to decode strings; NULL: UTF-8 */
    const char *errors;   /* NULL: strict */
    int decode;           /* whether to decode the reply being read */
    ar_reply_kind kind;   /* of the reply read last */
    int partial;          /* times the reply at the front was found not to be whole (plain.c) */
    PyObject *error;      /* first value of the reply being read that had no Python form */
    PyObject **keys;      /* keys of maps whose values have not arrived: one per open map */
    size_t key_count, key_capacity;
} ar_reply_sink;

typedef enum {
    AR_READ_REPLY,      /* *reply is a new reference */
    AR_READ_INCOMPLETE, /* feed more */
    AR_READ_FAILED,     /* an exception is set and the reader is of no further use */
} ar_read_result;

redisReader *ar_reply_reader_new(ar_reply_sink *sink);

/* The next whole reply. A value that could not be converted (bad UTF-8, say) is returned as the
 * exception in *reply with *failed set; the stream stays in step. */
ar_read_result ar_reply_next(redisReader *reader, PyObject **reply, int *failed);

/* A bulk string that was read as bytes (stolen), decoded if replies are; see ar_reply_next() for *failed.
 * NULL with MemoryError set. */
PyObject *ar_reply_text(ar_reply_sink *sink, PyObject *bytes, int *failed);

/* The same for a whole reply (borrowed) that was read as bytes: None, a number, bytes, or a list of these. */
PyObject *ar_reply_decoded(ar_reply_sink *sink, PyObject *reply, int *failed);

/* Between the files of the unit. */
PyObject *ar_reply_text_value(ar_reply_sink *sink, const char *text, size_t length);
PyObject *ar_reply_status_value(ar_reply_sink *sink, const char *text, size_t length);

typedef enum {
    AR_PLAIN_REPLY,
    AR_PLAIN_PARTIAL, /* feed more */
    AR_PLAIN_UNUSUAL, /* for hiredis; nothing has been consumed */
    AR_PLAIN_FAILED,  /* MemoryError is set */
} ar_plain_result;

/* plain.c: the reply at the front of the reader's buffer, while hiredis is between two replies. */
ar_plain_result ar_plain_next(redisReader *reader, PyObject **reply);

/* Sets InvalidResponse: the stream is out of step. */
void ar_reply_set_missing_crlf(ar_state *state);

/* Forgets what belongs to a half-read reply. */
void ar_reply_sink_clear(ar_reply_sink *sink);

/* Sets InvalidResponse (or MemoryError) for what the reader reports. */
void ar_reply_set_reader_error(ar_state *state, redisReader *reader);

#endif
