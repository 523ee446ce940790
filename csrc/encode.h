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

/* Makes sure that encoding the argument runs no Python code and finds nothing wrong with it: what has
 * a repr(), a codec or a buffer of its own becomes bytes now. A new reference to the argument or to what
 * takes its place; NULL with an exception set. Python code may run. */
PyObject *ar_encode_settle(ar_state *state, const ar_text_codec *codec, PyObject *argument,
                           int is_name);

/* Hands over the bytes as which an argument is sent. -1 with an exception set: it has no such form. */
int ar_encode_visit(ar_state *state, const ar_text_codec *codec, PyObject *argument,
                    void (*visit)(void *context, const char *data, size_t length), void *context);

/* Whether ar_encode_settle() would leave the argument as it is, whatever the errors: for the commonest
 * ones of a client without an encoding of its own. */
static inline int
ar_encode_is_plain(PyObject *argument)
{
    if (PyUnicode_CheckExact(argument)) {
        return PyUnicode_IS_COMPACT_ASCII(argument);
    }
    return PyBytes_CheckExact(argument);
}

#endif
