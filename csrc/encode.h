/* Python arguments to RESP. */
#ifndef AR_ENCODE_H
#define AR_ENCODE_H

#include "errors.h"
#include "outq.h"
#include "state.h"

/* How str arguments become bytes; NULL errors mean "strict". */
typedef struct {
    const char *encoding; /* NULL: UTF-8 */
    const char *errors;   /* NULL: strict */
} ar_text_codec;

/* Appends one command. A name with spaces ("CLIENT LIST") is sent as several arguments, as redis-py
 * does. On a bad argument nothing is appended, and DataError (or UnicodeEncodeError) is set. */
int ar_encode_command(ar_state *state, ar_outq *queue, const ar_text_codec *codec,
                      PyObject *const *argv, Py_ssize_t argc);

/* 0 when ar_encode_command() would accept the arguments, without the cost of encoding them. */
int ar_encode_check(ar_state *state, const ar_text_codec *codec, PyObject *const *argv,
                    Py_ssize_t argc);

#endif
